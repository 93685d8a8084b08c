"""Trained models that come with the package: what is stored is what was trained, to the precision of float16."""

import pytest
import torch
from gan_builders import random_images, tiny_settings

import memgan
from memgan.pretrained import PRETRAINED, load_pretrained, read_model
from memgan.runs import build, load_run, save_run
from memgan.training import train
from scripts.package_pretrained import FOLDER, MOST_BYTES, export


@pytest.fixture
def run(tmp_path):
    """The folder of a trained run."""
    settings = tiny_settings(networks={"hidden": 3})
    torch.manual_seed(0)
    gan = build(settings)
    for _ in train(gan, random_images(23), settings.training):
        pass
    save_run(tmp_path / "run", gan, settings, {})
    return tmp_path / "run"


@pytest.fixture
def packed(run, tmp_path):
    """The file that would come with the package."""
    return export(run, "tiny", tmp_path)


def test_what_is_stored_is_the_run_to_within_half_precision(run, packed):
    gan, settings = load_run(run)
    loaded, same_settings = read_model(packed)
    assert same_settings == settings and not loaded.training
    for name, tensor in gan.state_dict().items():
        other = loaded.state_dict()[name]
        assert other.dtype == tensor.dtype
        torch.testing.assert_close(other, tensor, rtol=2**-10, atol=1e-6)  # float16 has 11 bits


def test_it_discriminates_and_generates_as_the_run_does(run, packed):
    gan, _ = load_run(run)
    loaded, _ = read_model(packed)
    images = random_images(7)
    torch.testing.assert_close(loaded.discriminate(images), gan.discriminate(images), rtol=0, atol=0.02)
    one, other = (model.generate(7, generator=torch.Generator().manual_seed(0)) for model in (gan, loaded))
    assert torch.equal(one.slots, other.slots)  # the histogram is kept whole, so the same slots are drawn
    torch.testing.assert_close(one.images, other.images, rtol=0, atol=5e-3)


def test_keys_are_unit_rows_again(packed):
    loaded, _ = read_model(packed)
    torch.testing.assert_close(loaded.memory.keys.norm(dim=1), torch.ones(loaded.memory.num_slots), rtol=0, atol=1e-6)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError) as error:
        load_pretrained("imagenet")
    assert "imagenet" in str(error.value) and str(PRETRAINED) in str(error.value)


@pytest.mark.gpu
def test_on_a_gpu_nothing_in_it_waits_for_the_host(packed):
    gan, _ = read_model(packed, "cuda")
    assert gan.memory.keys.is_cuda and not gan.memory.validate


def test_a_model_too_large_to_ship_is_refused(tmp_path, run, monkeypatch):
    monkeypatch.setattr("scripts.package_pretrained.MOST_BYTES", 100)
    with pytest.raises(ValueError, match="MB"):
        export(run, "large", tmp_path)
    assert not (tmp_path / "large.safetensors").exists()


@pytest.mark.parametrize("name", PRETRAINED)
def test_every_shipped_model_loads_draws_and_has_a_card(name):
    gan, _ = load_pretrained(name)
    images = gan.generate(5, generator=torch.Generator().manual_seed(0)).images
    assert images.shape == (5, *gan.image_shape) and images.abs().max() <= 1
    assert gan.discriminate(images).shape == (5,)
    assert (FOLDER / f"{name}.safetensors").stat().st_size <= MOST_BYTES
    assert (FOLDER / f"{name}.md").is_file()


def test_the_package_offers_it():
    assert memgan.load_pretrained is load_pretrained
