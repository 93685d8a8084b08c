"""The widget that shows one picture of several: its state, its errors, and what viewers without a kernel get."""

import base64

import pytest
import traitlets
from matplotlib.figure import Figure

from walkthrough.lesson import png
from walkthrough.widgets import Frames

PICTURES = [png(Figure(figsize=(1 + number, 1))) for number in range(3)]


@pytest.fixture
def frames():
    return Frames(PICTURES, ["low", "middle", "high"], "kappa", index=1, width=300)


def test_state_holds_all_that_a_page_without_a_kernel_shows(frames):
    state = frames.get_state()
    assert [base64.b64decode(picture) for picture in state["pictures"]] == PICTURES
    assert (state["labels"], state["name"], state["index"]) == (["low", "middle", "high"], "kappa", 1)
    assert "export default" in state["_esm"]


def test_picture_is_driven_and_read_back_from_code(frames):
    seen = []
    frames.observe(lambda change: seen.append(change["new"]), "index")
    frames.index = 2
    assert seen == [2]
    assert repr(frames) == "Frames(kappa: 3 pictures, now 'high')"


@pytest.mark.parametrize("index", [-1, 3])
def test_index_beyond_the_pictures_is_refused_and_changes_nothing(frames, index):
    with pytest.raises(traitlets.TraitError, match=r"index must be in 0\.\.2"):
        frames.index = index
    assert frames.index == 1


def test_index_beyond_the_pictures_is_refused_at_the_start():
    with pytest.raises(traitlets.TraitError, match=r"index must be in 0\.\.2"):
        Frames(PICTURES, ["a", "b", "c"], "kappa", index=7)


def test_a_picture_that_is_taken_away_is_left_for_the_last_one(frames):
    frames.index = 2
    frames.pictures = frames.pictures[:2]
    assert frames.index == 1
    assert frames.picture() == PICTURES[1]


@pytest.mark.parametrize(("pictures", "labels"), [([], []), (PICTURES, ["one"])])
def test_pictures_without_labels_are_refused(pictures, labels):
    with pytest.raises(ValueError, match="expected a label for each picture"):
        Frames(pictures, labels, "kappa")


def test_viewers_without_javascript_get_the_present_picture_and_its_words(frames):
    data, metadata = frames._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]) == PICTURES[1]
    assert metadata["image/png"] == {"alt": repr(frames), "width": 300}
    assert data["text/plain"] == repr(frames)
    assert "application/vnd.jupyter.widget-view+json" in data
