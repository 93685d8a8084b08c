"""The programs of docs/own-gan.md run as they stand there, and do what the page says."""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from gan_builders import tiny_gan
from torch import nn

from memgan import MemoryGAN, VMFMemory
from memgan.presets import PRESETS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "own-gan.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def names():
    torch.manual_seed(0)
    found = {}
    for example in EXAMPLES:
        exec(example, found)  # one of them trains a model of vectors
    return found


def test_the_last_layer_spreads_what_positive_features_do_not(names):
    torch.manual_seed(0)
    images = torch.rand(200, 1, 8, 8) * 2 - 1
    encoder = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 64))
    assert names["mean_cosine"](encoder, images) > 0.9
    assert abs(names["mean_cosine"](names["with_spread_queries"](encoder, 64), images)) < 0.05


@pytest.mark.parametrize(("correct_in_top", "says_one_half"), [(1, False), (16, True)])
def test_a_memory_given_the_same_queries_under_both_labels(correct_in_top, says_one_half):
    torch.manual_seed(0)
    memory = VMFMemory(256, 64, 16, kappa=15, correct_in_top=correct_in_top)
    centre = torch.randn(64)

    def queries(number):
        return F.normalize(centre + 0.5 * torch.randn(number, 64), dim=1)

    for _ in range(100):
        memory.write(queries(64), torch.arange(64) < 32)
    probability = float(memory.read(queries(500)).mean())
    assert (0.4 < probability < 0.6) if says_one_half else (probability < 0.1 or probability > 0.9)


def test_accumulated_batches_have_the_gradient_and_the_write_of_one(names):
    torch.manual_seed(0)
    real, fake, slots = torch.randn(8, 5), torch.randn(8, 5), torch.arange(8)
    halves = [(real[:4], fake[:4], slots[:4]), (real[4:], fake[4:], slots[4:])]
    found = []
    for parts in ([(real, fake, slots)], halves):
        torch.manual_seed(1)
        encoder, memory = nn.Linear(5, 4), VMFMemory(64, 4, 8)
        names["accumulate"](memory, encoder, torch.optim.SGD(encoder.parameters(), 0.1), parts)
        found.append((encoder.weight.grad, encoder.weight.detach(), memory.keys, memory.histogram))
    for one, several in zip(*found, strict=True):
        torch.testing.assert_close(several, one)


def test_counting_anew_draws_slots_as_often_as_the_images_are_from_them(names):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5))  # which counts only what it sees in evaluation mode
    memory, images = VMFMemory(64, 4, 8, kappa=5), torch.randn(40, 5)
    names["count_anew"](memory, encoder, images.split(8))
    scores = 5 * F.normalize(encoder[0](images), dim=1) @ memory.keys[:32].T  # the real slots, whose counts are equal
    torch.testing.assert_close(memory.slot_probabilities()[:32].float(), scores.softmax(dim=1).mean(dim=0))


def test_the_model_of_vectors_draws_vectors(names):
    assert names["gan"].generate(7).images.shape == (7, 16)


def test_only_the_chosen_slots_are_drawn(names):
    memory = VMFMemory(64, 4, 8)
    chosen = torch.arange(64) % 5 == 0
    keys, slots = names["sample_among"](memory, chosen, 200)
    assert bool((slots % 5 == 0).all()) and len(slots.unique()) == 7  # 0, 5, ..., 30: half of the slots are real
    assert torch.equal(keys, memory.keys[slots])


def test_a_run_of_own_networks_is_loaded_by_what_makes_them_and_by_nothing_else(names, tmp_path):
    settings = PRESETS["digits"].changed(["memory.num_slots=64", "memory.top_k=4"])

    def networks():
        return nn.Sequential(nn.Flatten(), nn.Linear(256, 64)), tiny_decoder()

    gan = MemoryGAN(VMFMemory.from_settings(settings.memory), *networks(), noise_dim=4)
    names["save_own"](tmp_path, gan)
    loaded, _ = names["load_own"](tmp_path, *networks(), noise_dim=4)
    assert torch.equal(loaded.memory.keys, gan.memory.keys)
    assert torch.equal(loaded.inference[1].weight, gan.inference[1].weight)
    with pytest.raises(ValueError, match=r"does not hold the model of settings.json.*build="):
        names["load_run"](tmp_path)


def tiny_decoder():
    return nn.Bilinear(64, 4, 256)


def test_an_average_of_the_weights_leaves_the_memory_as_it_is():
    gan = tiny_gan()
    averaged = torch.optim.swa_utils.AveragedModel(gan, use_buffers=False)
    averaged.update_parameters(gan)
    averaged.update_parameters(gan)
    assert torch.equal(averaged.module.memory.keys, gan.memory.keys)
