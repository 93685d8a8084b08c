"""Every picture in figures/ has a generator, and a cheap one draws the same bytes twice."""

import pytest

from scripts import measure_bounds, measure_training, measure_walks
from scripts.draw_figures import FIGURES, FOLDER, draw

NEEDS_NO_TRAINING = [name for name in FIGURES if name not in ("explorer.png", "fashion-purity.png")]


def test_every_picture_has_its_generator_and_every_generator_its_picture():
    measured = {*measure_bounds.PICTURES, *measure_training.PICTURES, *measure_walks.PICTURES}
    assert {path.name for path in FOLDER.iterdir()} == set(FIGURES) | measured


@pytest.mark.thorough
def test_pictures_are_the_same_twice(tmp_path):
    for name in NEEDS_NO_TRAINING:
        first, second = draw(name, tmp_path / "a"), draw(name, tmp_path / "b")
        assert first.read_bytes() == second.read_bytes()


def test_text_of_the_dataflow_can_be_searched(tmp_path):
    assert "inference network" in draw("dataflow.svg", tmp_path).read_text(encoding="utf-8")
