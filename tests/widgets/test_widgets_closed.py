"""What is left of a widget that was closed: nothing."""

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from gan_builders import random_images
from IPython.core.interactiveshell import InteractiveShell

import memgan.widgets
import walkthrough.widgets
from memgan import VMFMemory
from memgan.lab.baselines.models import build_model
from memgan.lab.evaluation.classifier import Classifier
from memgan.presets import PRESETS
from memgan.runs import build
from memgan.widgets import Interpolation, LatentExplorer, Playground, SlotExplorer
from memgan.widgets.base import sheet
from memgan.widgets.page import page

SLOTS = 12
EXPLORERS = [name for name in memgan.widgets.__all__ if name != "Playground"]  # which shows no model
ALL = [*memgan.widgets.__all__, *walkthrough.widgets.__all__]


def a_gan():
    torch.manual_seed(0)
    gan = build(PRESETS["digits"].changed([f"memory.num_slots={SLOTS}", "memory.top_k=4"]))
    gan.memory.histogram.copy_(torch.rand(SLOTS) + 0.1)
    return gan.eval()


def made(name):
    """A widget of each class, and what it was made from."""
    queries = F.normalize(torch.randn(5, 2), dim=1)
    if name == "Frames":
        return walkthrough.widgets.Frames([sheet(random_images(1), 1)], ["one"], "number"), []
    if name == "MemoryFilm":
        memory = VMFMemory(SLOTS, 2, 4)
        batches = [(queries, torch.ones(5, dtype=torch.long))]
        return walkthrough.widgets.MemoryFilm.record(memory, batches), [memory]
    if name == "PosteriorExplorer":
        memory = VMFMemory(SLOTS, 2, 4)
        return walkthrough.widgets.PosteriorExplorer(memory, queries), [memory]
    gan = a_gan()
    classifier = Classifier(1, (16, 16), 10).eval()
    if name == "LatentExplorer":
        return LatentExplorer(gan), [gan]
    if name == "SlotExplorer":
        images = random_images(7, channels=1, side=16)
        return SlotExplorer(gan, images, classifier), [gan, classifier, images]
    if name == "Interpolation":
        baseline = build_model(PRESETS["digits"].changed(["model=dcgan"])).eval()
        return Interpolation(gan, baseline, classifier), [gan, baseline, classifier]
    if name == "Playground":
        return Playground({"seed": 3}), []
    raise ValueError(f"this test does not know how to make a {name}")


def seen(widget):
    """Do with the widget what a notebook and a page do."""
    widget._repr_mimebundle_()
    page("title", "lead", {"widget": widget})
    widget._handle_custom_msg({"shown": "a"}, [])


@pytest.fixture
def shell(monkeypatch):
    shell = InteractiveShell()
    monkeypatch.setattr("memgan.widgets.base.get_ipython", lambda: shell)
    return shell


@pytest.mark.thorough
@pytest.mark.parametrize("name", ALL)
def test_nothing_holds_a_closed_widget_or_what_it_was_made_from(shell, name):
    widget, sources = made(name)
    seen(widget)
    left = [weakref.ref(widget), *(weakref.ref(source) for source in sources)]
    widget.close()
    del widget, sources
    gc.collect()
    assert [reference() for reference in left] == [None] * len(left)


@pytest.mark.parametrize("name", EXPLORERS)
def test_a_closed_explorer_that_is_still_held_lets_go_of_its_model_and_says_so(shell, name):
    """A notebook keeps every output that it has shown."""
    widget, sources = made(name)
    seen(widget)
    widget.close()
    left = [weakref.ref(source) for source in sources]
    del sources
    gc.collect()
    assert [reference() for reference in left] == [None] * len(left)
    with pytest.raises(RuntimeError, match=f"this {name} is closed"):
        widget.picture()
    with pytest.raises(RuntimeError, match=f"this {name} is closed"):
        widget.refresh()
    assert repr(widget).startswith(name)


def test_a_widget_that_nobody_saw_can_be_closed_when_python_ends(monkeypatch):
    """Nothing can be imported any more by then, which `get_ipython` does."""

    def at_the_end():
        raise ImportError("sys.meta_path is None, Python is likely shutting down")

    monkeypatch.setattr("memgan.widgets.base.get_ipython", at_the_end)
    LatentExplorer(a_gan()).close()
