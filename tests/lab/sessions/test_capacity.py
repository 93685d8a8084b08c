"""What does not fit into the memory of the machine is refused with its sizes, before anything is allocated."""

import pytest
import torch
from gan_builders import random_images, tiny_settings

from memgan.data import ImageData
from memgan.lab.sessions import Session
from memgan.lab.sessions.capacity import installed_bytes, refuse_beyond_memory
from memgan.presets import PRESETS


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # 10^12 slots: seven float32, a count and two int64 each
        ({"memory": {"num_slots": 10**12}}, "48,000.0 GB for 1,000,000,000,000 slots"),
        # 61 keys of 10^12 float32
        ({"memory": {"key_dim": 10**12}}, "244,000.0 GB for 61 slots"),
        ({"networks": {"noise_dim": 10**12}}, "weights"),
        ({"training": {"batch_size": 10**11}}, "batches of 100,000,000,000 images"),
        ({"training": {"replay": 10**12}}, "48,000.0 GB for 1,000,000,000,000 old fakes"),  # 3 x 4 x 4 bytes each
    ],
)
def test_what_is_beyond_the_machine_is_refused_with_its_sizes(tmp_path, settings, expected):
    data = ImageData(random_images(23), torch.zeros(23, dtype=torch.long))
    with pytest.raises(ValueError, match=expected):
        Session(tmp_path / "run", tiny_settings(**settings), data)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("settings", [{"memory": {"num_slots": 10**30}}, {"networks": {"width": 10**20}}])
def test_sizes_that_no_number_holds_are_named(settings):
    with pytest.raises(ValueError, match="1" + "0" * 20):
        refuse_beyond_memory(tiny_settings(**settings))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_fits_into_16_gigabytes(name, monkeypatch):
    monkeypatch.setattr("memgan.lab.sessions.capacity.installed_bytes", lambda device: 16 * 10**9)
    refuse_beyond_memory(PRESETS[name])


def test_a_look_at_the_sizes_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    refuse_beyond_memory(tiny_settings())
    assert torch.equal(torch.get_rng_state(), before)


def test_the_machine_has_some_memory():
    installed = installed_bytes(torch.device("cpu"))
    assert installed is None or 10**8 < installed < 10**15
