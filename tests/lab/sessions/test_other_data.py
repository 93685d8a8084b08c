"""A run goes on with the images that it was begun with, wherever they lie, and with no others unless asked to."""

from dataclasses import replace

import pytest
import torch
from gan_builders import random_images, same_state, state_of, tiny_settings

from memgan.data import ImageData
from memgan.lab.sessions import Session, SessionOptions, resume
from memgan.lab.sessions.checkpoints import load
from memgan.lab.sessions.digest import digest_of
from memgan.runs import saved_checkpoints

SETTINGS = tiny_settings(training={"steps": 7})
IMAGES = ((random_images(23) + 1) * 127.5).byte()


def data_of(images=IMAGES, **parts):
    return ImageData(images, torch.zeros(len(images), dtype=torch.long), **parts)


@pytest.fixture
def begun(tmp_path):
    """A run whose only checkpoint is that of step 0."""
    Session(tmp_path, replace(SETTINGS, dataset="folder:/here"), data_of()).save()
    return tmp_path


def changed_images():
    images = IMAGES.clone()
    images[11, 2, 1, 3] ^= 1
    return images


def test_the_same_images_under_another_path_go_on(begun, tmp_path):
    again = resume(begun, replace(SETTINGS, dataset="folder:/there"), data_of(IMAGES.clone()))
    again.run()
    whole = Session(tmp_path / "whole", SETTINGS, data_of())
    whole.run()
    assert same_state(again.gan, state_of(whole.gan))
    assert load(saved_checkpoints(begun)[-1]).settings.dataset == "folder:/there"


def test_images_that_were_replaced_are_refused(begun):
    with pytest.raises(ValueError, match="some of the 23 images are others; --other-data"):
        resume(begun, SETTINGS, data_of(changed_images()))


@pytest.mark.parametrize("number", [22, 25])
def test_images_that_were_added_or_taken_away_are_counted(begun, number):
    images = torch.cat([IMAGES, IMAGES])[:number]
    with pytest.raises(ValueError, match=f"there were 23 images, now there are {number}; --other-data"):
        resume(begun, SETTINGS, data_of(images))


@pytest.mark.parametrize("images", [changed_images(), torch.cat([IMAGES, IMAGES])[:25], IMAGES[:22]], ids=len)
def test_a_run_goes_on_with_other_images_where_asked_to(begun, images):
    options = SessionOptions(other_data=True)
    again = resume(begun, SETTINGS, data_of(images), options=options)
    again.run()
    assert again.trainer.number == 7
    resume(begun, SETTINGS, data_of(images))  # from now on these are the run's images


def test_labels_do_not_count(begun):
    resume(begun, SETTINGS, ImageData(IMAGES, torch.arange(23)))


def test_a_checkpoint_of_an_older_version_goes_on_with_as_many_images_of_the_same_name(begun):
    path = saved_checkpoints(begun)[-1]
    content = torch.load(path, weights_only=True)
    del content["data"], content["init"], content["looks"], content["trainer"]["gan"]["memory._extra_state"]
    torch.save({**content, "version": 1}, path)
    named = replace(SETTINGS, dataset="folder:/here")
    resume(begun, named, data_of()).run()


def test_a_checkpoint_without_looks_at_the_memory_goes_on(begun):
    """As version 2 wrote them."""
    path = saved_checkpoints(begun)[-1]
    content = torch.load(path, weights_only=True)
    del content["looks"]
    torch.save({**content, "version": 2}, path)
    resume(begun, SETTINGS, data_of()).run()


def test_an_older_checkpoint_cannot_vouch_for_images_under_another_name(begun):
    path = saved_checkpoints(begun)[-1]
    content = torch.load(path, weights_only=True)
    torch.save({**content, "data": ""}, path)
    with pytest.raises(ValueError, match="dataset was 'folder:/here'"):
        resume(begun, SETTINGS, data_of())


def test_a_digest_tells_bytes_order_shape_and_type_apart():
    others = [
        changed_images(),
        IMAGES.flip(0),
        IMAGES.transpose(2, 3).contiguous(),
        IMAGES.view(23, 3, 2, 8),
        IMAGES.to(torch.int8),
        IMAGES.float(),
    ]
    digests = {digest_of(data_of(images)) for images in [IMAGES, *others]}
    assert len(digests) == 7


def test_a_digest_is_that_of_the_values_and_not_of_how_they_lie_in_memory():
    channels_last = IMAGES.clone(memory_format=torch.channels_last)
    assert digest_of(data_of(channels_last)) == digest_of(data_of(IMAGES.clone()))


def test_a_digest_is_that_of_the_digits_that_are_moved_anew():
    source = IMAGES[:, :1]
    assert digest_of(data_of(source=source)) == digest_of(data_of(changed_images(), source=source))
    assert digest_of(data_of(source=source)) != digest_of(data_of(source=source.flip(0)))
