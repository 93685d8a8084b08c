"""The memory that readers put together: with right parts it is the package's."""

import copy

import pytest
import torch
import torch.nn.functional as F

from memgan import VMFMemory
from memgan.gan import MemoryGAN
from memgan.memory import MemorySettings
from memgan.networks import Generator, InferenceNetwork, NetworkSettings
from walkthrough.own_memory import OwnGAN, OwnMemory, Parts

SETTINGS = MemorySettings(num_slots=23, key_dim=5, top_k=3, kappa=7.0, alpha=0.8)


def read(keys, values, histogram, queries, kappa, k):
    best, slots = (kappa * queries @ keys.T + (histogram + 1e-8).log()).topk(k, dim=1)
    return (best.softmax(dim=1) * values[slots]).sum(dim=1).clamp(1e-3, 1 - 1e-3)


def replace(memory, query, label):
    mean = memory.histogram.mean()
    oldest = max(range(23), key=lambda slot: (int(memory.values[slot]) == label, int(memory.ages[slot]), -slot))
    memory.keys[oldest] = query
    memory.values[oldest] = label
    memory.ages[oldest] = 0
    memory.histogram[oldest] = mean


def em_step(memory, queries, label):
    scores = memory.kappa * queries @ memory.keys.T + (memory.histogram + 1e-8).log()
    best, slots = scores.masked_fill(memory.values != label, -torch.inf).topk(memory.top_k, dim=1)
    gamma = torch.zeros_like(scores).scatter(1, slots, best.softmax(dim=1))
    touched = slots.unique()
    past = memory.alpha * memory.histogram[touched]
    resultant = past.unsqueeze(1) * memory.keys[touched] + gamma[:, touched].T @ queries
    memory.histogram[touched] = past + gamma[:, touched].sum(dim=0)
    memory.keys[touched] = F.normalize(resultant, dim=1)


def both():
    torch.manual_seed(3)
    own = OwnMemory(SETTINGS, Parts(read, replace, em_step)).double()
    package = VMFMemory.from_settings(SETTINGS).double()
    package.load_state_dict(own.state_dict())
    return own, package


def test_with_right_parts_it_reads_and_writes_as_the_package_does():
    own, package = both()
    for _ in range(60):
        query, label = torch.randn(1, 5, dtype=torch.float64), torch.randint(0, 2, (1,))
        torch.testing.assert_close(own.read_write(query, label), package.read_write(query, label))
    for name in ("keys", "values", "ages", "histogram"):
        torch.testing.assert_close(getattr(own, name), getattr(package, name))


def test_a_batch_in_which_nobody_replaces_is_written_as_the_package_does():
    own, package = both()
    queries = own.keys[[1, 2, 3, 15, 16]] + 0.01
    labels = own.values[[1, 2, 3, 15, 16]]
    own.write(queries, labels)
    package.write(queries, labels)
    for name in ("keys", "values", "ages", "histogram"):
        torch.testing.assert_close(getattr(own, name), getattr(package, name))


def test_a_gradient_survives_the_write():
    own, package = both()
    gradients = []
    for memory in (own, package):
        queries = torch.linspace(-1, 1, 20, dtype=torch.float64).view(4, 5).requires_grad_()
        memory.read_write(queries, torch.tensor([1, 0, 1, 0])).sum().backward()
        gradients.append(queries.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("number", [1, 7])
def test_it_draws_the_slots_that_the_reader_says(number):
    parts = Parts(read, replace, em_step, sample=lambda values, histogram, n: torch.arange(n) % 3)
    own = OwnMemory(SETTINGS, parts)
    keys, slots = copy.deepcopy(own).sample(number)
    assert slots.tolist() == [place % 3 for place in range(number)]
    torch.testing.assert_close(keys, own.keys[slots])


def test_the_readers_information_loss_is_asked_where_there_is_one():
    def loss(keys, values, histogram, slots, queries, kappa):
        scores = kappa * queries @ keys.T + (histogram + 1e-8).log()
        return F.cross_entropy(scores.masked_fill(values == 0, -torch.inf), slots)

    torch.manual_seed(0)
    networks = NetworkSettings(image_size=8, width=4, hidden=0, noise_dim=3)
    memory = OwnMemory(SETTINGS, Parts(read, replace, em_step, information=loss))
    own = OwnGAN(memory, InferenceNetwork(networks, 5), Generator(networks, 5)).eval()
    generated = own.generate(6)
    queries = own.inference(generated.images)
    for bound in ("density", "posterior"):
        expected = MemoryGAN.information(own, generated, queries, bound)
        torch.testing.assert_close(own.information(generated, queries, bound), expected, atol=1e-5, rtol=1e-5)
