"""`memgan export`: numbered images of a run in a folder."""

import numpy as np
import pytest
import torch
from command_line import TINY, exits, fails
from PIL import Image

from memgan.data import load_dataset
from memgan.lab.commands.cli import main
from memgan.lab.evaluation.material import some_images
from memgan.lab.sessions import load_model


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "trained"
    networks = ["--set", "networks.image_size=16", "--set", "networks.channels=1", "--set", "networks.stages=2"]
    assert main(["train", "--out", str(folder), *TINY, *networks]) == 0
    return folder


def pixels_in(folder):
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])


def test_as_many_numbered_images_as_asked_for_are_those_that_the_generator_draws(tmp_path, trained):
    assert main(["export", str(trained), "--number", "703", "--out", str(tmp_path / "many"), "--seed", "5"]) == 0
    names = sorted(path.name for path in (tmp_path / "many").iterdir())
    assert len(names) == 703 and names[0] == "00000.png" and names[-1] == "00702.png"
    found = pixels_in(tmp_path / "many")
    gan = load_model(trained).gan
    drawn = gan.generate(500, generator=torch.Generator().manual_seed(5)).images[:, 0]
    expected = np.clip(np.round((drawn.numpy() + 1) * 127.5), 0, 255)
    np.testing.assert_allclose(found[:500], expected, atol=1)


def test_fewer_images_are_the_first_of_more(tmp_path, trained):
    for number in (3, 503):
        assert main(["export", str(trained), "--number", str(number), "--out", str(tmp_path / str(number))]) == 0
    np.testing.assert_array_equal(pixels_in(tmp_path / "3"), pixels_in(tmp_path / "503")[:3])


def test_the_training_images_are_exported_as_the_networks_see_them(tmp_path, trained):
    assert main(["export", str(trained), "--real", "--number", "20", "--out", str(tmp_path / "real")]) == 0
    real = some_images(load_dataset("digits"), 20, seed=0).images[:, 0].numpy()
    np.testing.assert_allclose(pixels_in(tmp_path / "real"), (real + 1) * 127.5, atol=0.51)


def test_some_of_the_training_images_are_of_all_classes(tmp_path, trained, monkeypatch):
    """Data may be in the order of their classes: the first ones would be of a single one."""
    data = load_dataset("digits")
    order = data.labels.argsort(stable=True)
    in_order = data._replace(images=data.images[order], labels=data.labels[order])
    monkeypatch.setattr("memgan.lab.commands.options.load_dataset", lambda *_, **__: in_order)
    assert main(["export", str(trained), "--real", "--number", "140", "--out", str(tmp_path / "real")]) == 0
    exported = torch.from_numpy(pixels_in(tmp_path / "real").copy()).flatten(1) / 127.5 - 1
    classes = in_order.labels[torch.cdist(exported, in_order.images.flatten(1)).argmin(dim=1)]
    assert classes.unique().tolist() == list(range(10))


def test_a_data_set_without_the_word_that_its_images_are_meant_is_refused(tmp_path, capsys, trained):
    assert "--real" in fails(capsys, "export", trained, "--dataset", "digits", "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path, capsys, trained):
    (tmp_path / "holiday.png").write_bytes(b"mine")
    assert str(tmp_path) in fails(capsys, "export", trained, "--number", 3, "--out", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.png"]
    assert "--number 0" in fails(capsys, "export", trained, "--number", 0, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_more_real_images_than_there_are_are_refused(tmp_path, capsys, trained):
    error = fails(capsys, "export", trained, "--real", "--number", 5000, "--out", tmp_path / "new")
    assert "1,437" in error and "5000" in error


def test_a_stop_says_how_many_images_there_are_and_leaves_no_half_of_one(tmp_path, trained, capsys, monkeypatch):
    saved = []

    def stopped(image, path, **options):
        path.write_bytes(b"half an image")
        if len(saved) == 3:
            raise KeyboardInterrupt
        saved.append(path.name)

    monkeypatch.setattr(Image.Image, "save", stopped)
    assert exits("export", trained, "--number", "7", "--out", tmp_path / "out") == 130
    assert f"stopped, {tmp_path / 'out'} holds 3 of 7 images" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == saved
