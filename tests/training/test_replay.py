"""Old fakes that are kept: an equal sample of all, byte for byte that of a plain loop, and shown to D again."""

import copy
import itertools
from collections import Counter

import pytest
import torch
from gan_builders import TINY_TRAINING, random_images, same_state, state_of, tiny_gan
from scipy import stats
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.data import DataLoader

from memgan.data import as_bytes
from memgan.replay import ReplayBuffer
from memgan.training import (
    Trainer,
    TrainingSettings,
    adam_optimisers,
    discriminator_loss,
    old_fakes_in,
    prepare,
    running_averages_kept,
    training_step,
)

BATCH = TINY_TRAINING["batch_size"]


def grey(*levels):
    """Images [n, 1, 2, 2] that are one level of 0..255 each."""
    return (torch.tensor(levels, dtype=torch.float32) / 127.5 - 1).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def kept_in(buffer):
    return buffer.images[:, 0, 0, 0].tolist()


# ---------------------------------------------------------------- the reservoir


def by_plain_loop(capacity, levels, uniforms):
    """Vitter's algorithm R, an image at a time."""
    kept = [0] * capacity
    for before, (level, uniform) in enumerate(zip(levels, uniforms, strict=True)):
        place = before if before < capacity else int(uniform * (before + 1))
        if place < capacity:
            kept[place] = level
    return kept


@pytest.mark.parametrize("capacity", [1, 3, 7, 40])
@pytest.mark.parametrize("batch", [1, 4, 16])
def test_batches_leave_what_a_plain_loop_leaves(capacity, batch, monkeypatch):
    generator = torch.Generator().manual_seed(capacity * 100 + batch)
    levels = torch.randperm(96, generator=generator).tolist()
    uniforms = torch.rand(96, generator=generator, dtype=torch.float64)
    buffer = ReplayBuffer(capacity, (1, 2, 2))
    for start in range(0, 96, batch):
        monkeypatch.setattr(buffer, "_uniform", lambda number, start=start: uniforms[start : start + number])
        buffer.add(grey(*levels[start : start + batch]))
        assert kept_in(buffer) == by_plain_loop(capacity, levels[: start + batch], uniforms[: start + batch].tolist())
    assert int(buffer.seen) == 96


@pytest.mark.thorough
def test_every_image_is_kept_with_the_same_probability():
    torch.manual_seed(0)
    times = Counter()
    for _ in range(400):
        buffer = ReplayBuffer(8, (1, 2, 2))
        for start in range(0, 48, 6):
            buffer.add(grey(*range(start, start + 6)))
        kept = kept_in(buffer)
        assert len(set(kept)) == 8  # no image twice
        times.update(kept)
    # Eight of 48 without repetition: counts have a variance of n p (1 - p) and lean against each other
    assert stats.chisquare([times[level] for level in range(48)]).pvalue > 1e-3


def test_images_are_drawn_from_all_that_are_kept_and_from_nothing_else():
    torch.manual_seed(0)
    buffer = ReplayBuffer(50, (1, 2, 2))
    buffer.add(grey(10, 20, 30))  # there is room for more
    drawn = buffer.draw(3000)
    times = Counter(as_bytes(drawn)[:, 0, 0, 0].tolist())
    assert set(times) == {10, 20, 30}
    assert stats.chisquare(list(times.values())).pvalue > 1e-3
    assert drawn.dtype == torch.float32


def test_images_come_back_to_the_nearest_byte():
    images = random_images(5)
    buffer = ReplayBuffer(5, (3, 4, 4))
    buffer.add(images)
    distances = (buffer.draw(200).unsqueeze(1) - images).abs().amax(dim=(2, 3, 4))
    assert distances.amin(dim=1).max() <= 1 / 255 + 1e-6


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: ReplayBuffer(0, (1, 2, 2)), "at least 1 image, got capacity 0"),
        (lambda: ReplayBuffer(3, (2, 2)), r"\[C, H, W\], got \[2, 2\]"),
        (lambda: ReplayBuffer(3, (1, 2, 2)).add(random_images(2)), r"\[B, 1, 2, 2\], got \[2, 3, 4, 4\]"),
    ],
)
def test_what_cannot_be_kept_is_refused(attempt, message):
    with pytest.raises(ValueError, match=message):
        attempt()


def test_nothing_waits_for_a_gpu_and_no_shape_depends_on_values():
    with FakeTensorMode(allow_non_fake_inputs=False):
        buffer = ReplayBuffer(9, (1, 2, 2), device="cuda")
        buffer.add(torch.empty(4, 1, 2, 2, device="cuda"))
        drawn = buffer.draw(6)
        assert drawn.shape == (6, 1, 2, 2) and drawn.device.type == "cuda"


# ---------------------------------------------------------------- in a training step


@pytest.mark.parametrize(
    ("batch", "share", "old"), [(64, 0.5, 32), (11, 0.5, 6), (8, 0.1, 1), (8, 0.99, 6), (3, 0.9, 1)]
)
def test_at_least_one_fake_is_old_and_two_are_new(batch, share, old):
    assert old_fakes_in(batch, settings_with(replay_share=share)) == old


def test_a_batch_in_which_two_new_fakes_have_no_room_is_refused_at_once():
    with pytest.raises(ValueError, match="at least 3, got 2"):
        old_fakes_in(2, settings_with())
    for data in (random_images(23), DataLoader(random_images(23), batch_size=2)):
        with pytest.raises(ValueError, match="at least 3, got 2"):
            Trainer(tiny_gan(), data, settings_with(batch_size=2))


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_the_smallest_batch_trains(share):
    """Batch normalisation refuses a batch of one."""
    Trainer(tiny_gan(), random_images(23), settings_with(batch_size=3, replay_share=share, steps=2)).run()


def settings_with(**changes):
    return TrainingSettings(**{**TINY_TRAINING, "replay": 20, **changes})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"replay": -1}, "replay is a number of images.*got -1"),
        ({"replay_share": 0.0}, r"share of the fakes in \(0, 1\), got 0.0"),
        ({"replay_share": 1.0}, r"share of the fakes in \(0, 1\), got 1.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        settings_with(**change)


class Watched:
    """Two training steps of a tiny model with a buffer, and what passed through mu, the memory and the bound."""

    def __init__(self, monkeypatch, **changes):
        torch.manual_seed(0)
        self.gan, self.settings = tiny_gan().train(), settings_with(**changes)
        self.buffer = ReplayBuffer(20, (3, 4, 4))
        self.images, self.written, self.informed = [], [], []
        self.gan.inference.register_forward_pre_hook(lambda _, given: self.images.append(given[0].detach().clone()))
        read_write, information = self.gan.read_write, self.gan.information

        def written(queries, labels):
            self.written.append((queries.detach().clone(), labels))
            return read_write(queries, labels)

        def informed(generated, queries, bound):
            self.informed.append((len(generated.images), len(queries)))
            return information(generated, queries, bound)

        monkeypatch.setattr(self.gan, "read_write", written)
        monkeypatch.setattr(self.gan, "information", informed)
        optimisers = adam_optimisers(self.gan, self.settings)
        for step in range(2):
            training_step(self.gan, random_images(BATCH, seed=step), optimisers, self.settings, self.buffer)


def test_d_is_shown_new_and_old_fakes_apart_and_keeps_the_new_ones(monkeypatch):
    """Apart, because each batch is normalised by its own statistics, and G's fakes come in a batch of their own."""
    watched = Watched(monkeypatch)
    old = old_fakes_in(BATCH, watched.settings)
    assert [len(images) for images in watched.images] == [BATCH, BATCH - old, old, BATCH] * 2  # D: three; G
    new = torch.cat([as_bytes(watched.images[1]), as_bytes(watched.images[5])])
    assert torch.equal(watched.buffer.images[: len(new)], new)
    assert int(watched.buffer.seen) == len(new)
    assert all((image == new).flatten(1).all(dim=1).any() for image in as_bytes(watched.images[6]))


def test_old_fakes_leave_the_running_averages_as_they_are():
    torch.manual_seed(0)
    gan, settings = tiny_gan(networks={"stages": 2}).train(), settings_with()
    layer = next(module for module in gan.inference.modules() if isinstance(module, torch.nn.BatchNorm2d))
    means = []
    layer.register_forward_pre_hook(lambda _, given: means.append(given[0].detach().mean(dim=(0, 2, 3))))
    expected = layer.running_mean.clone()
    training_step(gan, random_images(BATCH), adam_optimisers(gan, settings), settings, ReplayBuffer(20, (3, 4, 4)))
    real, new, _, of_generator = means
    for mean in (real, new, of_generator):
        expected = 0.9 * expected + 0.1 * mean
    torch.testing.assert_close(layer.running_mean, expected)
    assert layer.momentum == 0.1


@pytest.mark.parametrize(
    "layer",
    [
        torch.nn.BatchNorm2d(3),
        torch.nn.BatchNorm2d(3, momentum=None),  # whose averages are weighted by the number of batches
        torch.nn.BatchNorm2d(3, track_running_stats=False),
        torch.nn.InstanceNorm2d(3, track_running_stats=True),
    ],
    ids=str,
)
def test_no_layer_keeps_anything_of_images_that_are_not_to_count(layer):
    network = torch.nn.Sequential(layer)
    network(random_images(5))
    before, momentum = state_of(network), layer.momentum
    with running_averages_kept(network):
        network(random_images(7, seed=1))
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=1e-6, atol=1e-7)
    assert layer.momentum == momentum


def test_old_fakes_are_written_as_fakes_and_say_nothing_of_a_slot(monkeypatch):
    watched = Watched(monkeypatch)
    new = BATCH - old_fakes_in(BATCH, watched.settings)
    assert [labels.tolist() for _, labels in watched.written] == [[1] * BATCH + [0] * BATCH] * 2
    assert watched.informed == [(new, new), (BATCH, BATCH)] * 2  # D, G


def test_without_a_buffer_a_step_is_the_method_s_own():
    """The loss of D and its fakes, put together by hand from the model's parts."""
    torch.manual_seed(3)
    gan, settings = tiny_gan().train(), settings_with(replay=0, mi_weight=0.0)
    by_hand = copy.deepcopy(gan)
    random = torch.get_rng_state()
    numbers = training_step(gan, random_images(BATCH), adam_optimisers(gan, settings), settings)
    torch.set_rng_state(random)
    with torch.no_grad():
        fakes = by_hand.generate(BATCH).images
        queries = torch.cat([by_hand.inference(random_images(BATCH)), by_hand.inference(fakes)])
        real, generated = by_hand.read(queries).chunk(2)
    assert float(numbers.discriminator_loss) == pytest.approx(float(discriminator_loss(real, generated)), rel=1e-5)


# ---------------------------------------------------------------- in a Trainer


def trainer_of(seed=0, **changes):
    prepare(seed)
    return Trainer(tiny_gan(), random_images(23), settings_with(**changes))


def test_a_trainer_keeps_none_unless_it_is_told():
    trainer = trainer_of(replay=0)
    assert trainer.replay is None and "replay" not in trainer.state_dict()


@pytest.mark.parametrize("at", [0, 1, 5])
def test_a_trainer_goes_on_bitwise_with_what_it_kept(at):
    whole = trainer_of()
    history = list(whole)
    first = trainer_of()
    before = list(itertools.islice(first, at))
    state, again = copy.deepcopy(first.state_dict()), trainer_of(seed=99)
    again.load_state_dict(state)
    assert before + list(again) == history
    assert same_state(again.gan, state_of(whole.gan))
    assert same_state(again.replay, state_of(whole.replay))


def test_a_recording_is_made_for_the_place_of_the_buffer(monkeypatch):
    """What a CUDA graph would hold: the buffer's tensors are among those that the step changes in place."""
    trainer = trainer_of()
    states = []
    monkeypatch.setattr(trainer, "_repeated_step", lambda step, state, constants: (states.append(state), step())[1])
    next(iter(trainer))
    places = {tensor.data_ptr() for tensor in states[0]}
    assert {tensor.data_ptr() for tensor in trainer.replay.buffers()} <= places
