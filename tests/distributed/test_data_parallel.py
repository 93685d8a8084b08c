"""Several ranks train one model: the same as one process does with the whole batch, and bitwise alike on each rank."""

import copy
import pickle
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader

from memgan import MemoryGAN, VMFMemory
from memgan.distributed import checksum, own_rows, share_of_batch
from memgan.training import Trainer, TrainingSettings
from tests.ranks import on_ranks

pytestmark = [
    pytest.mark.skipif(not dist.is_gloo_available(), reason="PyTorch has no gloo here"),
    pytest.mark.thorough,  # the ranks are processes
]

STEPS = 20
SETTINGS = TrainingSettings(
    steps=STEPS, batch_size=64, information="posterior", mi_weight=0.3, gradient_penalty=0.1, brightness=0.1
)
WITH_REPLAY = replace(SETTINGS, replay=100, replay_share=0.25)


class SmallGenerator(nn.Module):
    """Keys of 8 numbers and noise of 4 to images of 8x8 pixels; layer norm sees one image at a time."""

    noise_dim = 4

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(12, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 64), nn.Tanh())

    def forward(self, keys, noise):
        return self.layers(torch.cat([keys, noise], dim=1)).view(-1, 1, 8, 8)


def small_gan():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 8))
    memory = VMFMemory(64, 8, 8, kappa=15.0, correct_in_top=2)
    return MemoryGAN(memory, encoder, SmallGenerator(), image_shape=(1, 8, 8)).double()


def images():
    return torch.rand(256, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.double) * 2 - 1


def trained(group=None, seed=5, settings=SETTINGS):
    """A model, its losses, and the old fakes that it kept, None where it keeps none."""
    gan = small_gan().eval()  # as a loaded model is
    torch.manual_seed(seed)
    losses = []
    trainer = Trainer(gan, images(), settings, process_group=group)
    trainer.run(lambda step: losses.append(float(step.discriminator_loss)))
    return gan, losses, trainer.replay


def trained_while_frozen(group=None):
    """A model whose networks are frozen, and trained again, between steps; each rank has begun with other weights."""
    gan = small_gan()
    rank = 0 if group is None else dist.get_rank(group)
    with torch.no_grad():
        for weight in gan.parameters():
            weight.add_(0.01 * rank)
    gan.generator.requires_grad_(False)
    torch.manual_seed(5)
    for step in Trainer(gan, images(), SETTINGS, process_group=group):
        gan.generator.requires_grad_(step.number >= 4)
        gan.inference.requires_grad_(step.number < 8 or step.number >= 12)
        gan.inference[1].requires_grad_(step.number >= 16)  # one layer longer than the others
    return gan


def trained_on_loaders(group, *, recount=True):
    """A model of which each rank has a DataLoader with half of the images."""
    gan = small_gan()
    own = DataLoader(images()[dist.get_rank(group) :: 2], batch_size=32)
    Trainer(gan, own, replace(SETTINGS, steps=4, recount=recount), process_group=group).run()
    return gan


def as_a_rank():
    """What one rank finds: its model after training, and what a memory of its own does with queries of all ranks."""
    rank = dist.get_rank()
    gan, losses, _ = trained(dist.group.WORLD, seed=5 + 7 * rank)  # the first rank's random numbers count
    found = {"state": gan.state_dict(), "checksum": checksum(gan), "losses": losses}
    gan, _, kept = trained(dist.group.WORLD, settings=WITH_REPLAY)
    found |= {"state with replay": gan.state_dict(), "old fakes": kept.images}
    found["counted on loaders"] = trained_on_loaders(dist.group.WORLD).state_dict()
    found["not counted on loaders"] = trained_on_loaders(dist.group.WORLD, recount=False).state_dict()
    found["state after a frost"] = trained_while_frozen(dist.group.WORLD).state_dict()

    memory, queries, labels = memory_and_batch()
    memory.process_group = dist.group.WORLD
    own = own_rows(len(labels) // dist.get_world_size(), dist.group.WORLD)
    found["read"] = memory.read_write(queries[own].requires_grad_(), labels[own]).detach()
    memory.write(queries.flip(0)[own].detach(), labels.flip(0)[own])
    found["memory"] = memory.state_dict()

    for broken in (copy.deepcopy(memory), pickle.loads(pickle.dumps(memory))):
        assert broken.process_group is None
    return found


def memory_and_batch():
    torch.manual_seed(3)
    memory = VMFMemory(48, 6, 6, kappa=20.0, correct_in_top=2).double()
    queries = torch.randn(24, 6, dtype=torch.double)
    return memory, queries, torch.randint(0, 2, (24,))


def of_ranks_that_begin_apart():
    """What a rank is told whose memory is not that of the other one, when it writes, and when it reads and writes."""
    torch.manual_seed(dist.get_rank())
    return [what_a_memory_says(name) for name in ("write", "read_write")]


def what_a_memory_says(name):
    """The message alone: an error that is kept keeps the group, and gloo aborts a process that ends with one."""
    memory = VMFMemory(48, 6, 6, process_group=dist.group.WORLD)
    before = checksum(memory)
    try:
        getattr(memory, name)(torch.randn(8, 6), torch.arange(8) % 2)
    except ValueError as error:
        said = str(error)
    else:
        said = ""
    assert checksum(memory) == before
    return said


def test_replicas_that_do_not_begin_alike_are_refused_on_every_rank():
    first, second = on_ranks(2, of_ranks_that_begin_apart)
    assert first == second
    assert all("begin with the same memory" in said for said in first)


@pytest.fixture(scope="module")
def two_ranks():
    return on_ranks(2, as_a_rank)


def test_two_ranks_train_the_model_that_one_process_trains(two_ranks):
    gan, losses, _ = trained()
    for name, expected in gan.state_dict().items():
        torch.testing.assert_close(two_ranks[0]["state"][name], expected, rtol=0, atol=1e-8)
    assert two_ranks[0]["losses"] == pytest.approx(losses, abs=1e-8)


def test_two_ranks_keep_and_replay_the_old_fakes_that_one_process_does(two_ranks):
    gan, _, kept = trained(settings=WITH_REPLAY)
    for name, expected in gan.state_dict().items():
        torch.testing.assert_close(two_ranks[0]["state with replay"][name], expected, rtol=0, atol=1e-8)
    assert all(torch.equal(rank["old fakes"], kept.images) for rank in two_ranks)


def test_two_ranks_freeze_and_train_again_the_networks_that_one_process_does(two_ranks):
    """A network that is frozen from the start begins, on every rank, with the first rank's weights."""
    first, second = (rank["state after a frost"] for rank in two_ranks)
    for name, expected in trained_while_frozen().state_dict().items():
        torch.testing.assert_close(first[name], expected, rtol=0, atol=1e-8)
        assert torch.equal(first[name], second[name])


def test_the_images_of_all_ranks_loaders_are_counted_anew(two_ranks):
    first, second = two_ranks
    assert all(
        torch.equal(value, second["counted on loaders"][name]) for name, value in first["counted on loaders"].items()
    )
    expected = small_gan()
    expected.load_state_dict(first["not counted on loaders"])
    with torch.no_grad():
        expected.memory.recount(expected.inference(images()))
    torch.testing.assert_close(first["counted on loaders"]["memory.histogram"], expected.memory.histogram)


def test_replicas_are_bitwise_alike(two_ranks):
    first, second = two_ranks
    assert first["checksum"] == second["checksum"]
    assert first["losses"] == second["losses"]
    for name, buffer in first["memory"].items():
        assert torch.equal(buffer, second["memory"][name])


def test_a_memory_reads_its_own_queries_and_writes_those_of_all(two_ranks):
    memory, queries, labels = memory_and_batch()
    expected = memory.read_write(queries, labels)
    memory.write(queries.flip(0), labels.flip(0))
    torch.testing.assert_close(torch.cat([rank["read"] for rank in two_ranks]), expected, rtol=0, atol=1e-12)
    for name, buffer in memory.state_dict().items():
        torch.testing.assert_close(two_ranks[0]["memory"][name], buffer, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_memories_are_bitwise_alike_after_a_thousand_steps():
    assert len(set(on_ranks(3, memory_after_a_thousand_steps))) == 1


def memory_after_a_thousand_steps():
    settings = TrainingSettings(steps=1000, batch_size=24)
    gan = small_gan()
    Trainer(gan, images(), settings, process_group=dist.group.WORLD).run()
    return checksum(gan.memory)


@pytest.mark.parametrize("batch_size", [63, 2])
def test_a_batch_that_cannot_be_shared_is_refused(batch_size, monkeypatch):
    monkeypatch.setattr(dist, "get_world_size", lambda group: 2)
    with pytest.raises(ValueError, match=f"multiple of 2, and at least 2 for each, got {batch_size}"):
        share_of_batch(batch_size, object())
