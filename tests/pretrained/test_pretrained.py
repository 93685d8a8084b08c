"""Trained models that come with the package: what is stored is what was trained, to the precision of float16."""

import pytest
import torch
from gan_builders import random_images, tiny_settings

import memgan
import memgan.pretrained
from memgan.pretrained import PRETRAINED, load_pretrained
from memgan.runs import build, load_run, save_run
from memgan.training import train
from scripts.package_pretrained import FOLDER, MOST_BYTES, export
from walkthrough import nb07_verdict as verdict


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A trained run, and its model as the package would hold it under the name "tiny"."""
    settings = tiny_settings(networks={"hidden": 3})
    torch.manual_seed(0)
    gan = build(settings)
    for _ in train(gan, random_images(23), settings.training):
        pass
    save_run(tmp_path / "run", gan, settings, {})
    export(tmp_path / "run", "tiny", tmp_path)
    monkeypatch.setattr(memgan.pretrained, "_FOLDER", tmp_path)
    monkeypatch.setattr(memgan.pretrained, "PRETRAINED", ["tiny"])
    return load_run(tmp_path / "run")


def test_what_is_stored_is_the_run_to_within_half_precision(stored):
    gan, settings = stored
    loaded, same_settings = load_pretrained("tiny")
    assert same_settings == settings and not loaded.training
    for name, tensor in gan.state_dict().items():
        other = loaded.state_dict()[name]
        assert other.dtype == tensor.dtype
        torch.testing.assert_close(other, tensor, rtol=2**-10, atol=1e-6)  # float16 has 11 bits


def test_it_discriminates_and_generates_as_the_run_does(stored):
    gan, _ = stored
    loaded, _ = load_pretrained("tiny")
    images = random_images(7)
    torch.testing.assert_close(loaded.discriminate(images), gan.discriminate(images), rtol=0, atol=0.02)
    one, other = (model.generate(7, generator=torch.Generator().manual_seed(0)) for model in (gan, loaded))
    assert torch.equal(one.slots, other.slots)  # the histogram is kept whole, so the same slots are drawn
    torch.testing.assert_close(one.images, other.images, rtol=0, atol=5e-3)


def test_keys_are_unit_rows_again(stored):
    loaded, _ = load_pretrained("tiny")
    torch.testing.assert_close(loaded.memory.keys.norm(dim=1), torch.ones(loaded.memory.num_slots), rtol=0, atol=1e-6)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError) as error:
        load_pretrained("imagenet")
    assert "imagenet" in str(error.value) and str(PRETRAINED) in str(error.value)


@pytest.mark.gpu
def test_on_a_gpu_nothing_in_it_waits_for_the_host(stored):
    gan, _ = load_pretrained("tiny", "cuda")
    assert gan.memory.keys.is_cuda and not gan.memory.validate


def test_a_model_too_large_to_ship_is_refused(tmp_path, stored, monkeypatch):
    monkeypatch.setattr("scripts.package_pretrained.MOST_BYTES", 100)
    with pytest.raises(ValueError, match="MB"):
        export(tmp_path / "run", "large", tmp_path)
    assert not (tmp_path / "large.safetensors").exists()


@pytest.mark.parametrize("name", PRETRAINED)
def test_every_shipped_model_loads_draws_and_has_a_card(name):
    gan, settings = load_pretrained(name)
    images = gan.generate(5, generator=torch.Generator().manual_seed(0)).images
    assert images.shape == (5, *gan.image_shape) and images.abs().max() <= 1
    assert gan.discriminate(images).shape == (5,)
    assert (FOLDER / f"{name}.safetensors").stat().st_size <= MOST_BYTES
    card = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    for part in ("## Data", "## Settings", "## Scores", "## Failures", "## Licence"):
        assert part in card
    assert str(settings.training.steps) in card.replace(",", "")


def test_the_card_of_the_clothes_has_the_scores_of_the_study():
    card = (FOLDER / "fashion-mnist-slim.md").read_text(encoding="utf-8")
    runs = verdict.load_seeds()
    assert verdict.seeds_table(runs) in card
    best = max(runs, key=lambda run: run["inception_score"])
    assert f"Seed {best['seed']}," in card and f"--seed {best['seed']} " in card


def test_the_package_offers_it():
    assert memgan.load_pretrained is load_pretrained
