"""What notebooks show stands for itself: figures with words, code as it is, checks that say what is wrong."""

import base64
import inspect
import io

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import memgan
from memgan.plots import image_grid
from memgan.vmf import log_normaliser
from walkthrough import lesson
from walkthrough.lesson import Wrong, answered, attempt, png, show, source
from walkthrough.nb00_dataflow import STAGES, alt, dataflow


@pytest.fixture
def displayed(monkeypatch):
    """What a cell would show, in order."""
    shown = []
    monkeypatch.setattr(lesson, "display", lambda thing, **options: shown.append((thing, options)))
    return shown


def test_png_has_one_and_a_half_pixels_for_each_pixel_of_the_page():
    assert Image.open(io.BytesIO(png(Figure(figsize=(2, 1))))).size == (288, 144)


def test_png_is_the_same_twice():
    assert png(dataflow("read")) == png(dataflow("read"))


def test_shown_figure_carries_its_words_and_its_size(displayed):
    show(Figure(figsize=(5, 2)), "Figure 1. Look here.", "nothing at all")
    (picture, options), (caption, _) = displayed
    assert base64.b64decode(picture["image/png"]).startswith(b"\x89PNG")
    assert picture["text/plain"] == "<Figure: nothing at all>"
    assert options["metadata"]["image/png"] == {"alt": "nothing at all", "width": 480}
    assert caption.data == "*Figure 1. Look here.*"


@pytest.mark.parametrize(("caption", "text"), [("", "alt"), ("caption", " ")])
def test_figure_without_words_is_refused(displayed, caption, text):
    with pytest.raises(ValueError, match="caption"):
        show(Figure(), caption, text)
    assert not displayed


def test_source_is_the_code_without_its_docstring():
    text = source(log_normaliser).data
    assert text.startswith("`memgan.vmf.log_normaliser`\n\n```python\ndef log_normaliser(")
    assert "Checked from" not in text
    body = inspect.getsource(log_normaliser).rstrip().splitlines()[-2:]
    assert text.endswith("\n".join(body) + "\n```")
    assert "Checked from" in source(log_normaliser, docstring=True).data


def test_source_of_a_method_stands_at_the_margin():
    assert "\ndef read(self, queries" in source(memgan.VMFMemory.read).data


def test_source_leaves_other_triple_quotes_alone():
    def quoted():
        return """not a docstring"""

    assert '"""not a docstring"""' in source(quoted).data


@attempt
def check_even(answer):
    """An answer that is even."""
    value = answered(answer(1) if callable(answer) else answer)
    if value % 2:
        raise Wrong(f"{value} is odd.")
    return f"{value} is even."


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (4, "Right. 4 is even."),
        (3, "Not yet. 3 is odd."),
        (..., "Not answered yet: put your answer in the place of the three dots."),
        (lambda n: ..., "Not answered yet: put your answer in the place of the three dots."),
        (lambda n: n / 0, "Not yet. Your code stops with ZeroDivisionError: division by zero"),
    ],
)
def test_check_of_an_exercise_says_what_is_wrong(capsys, answer, line):
    check_even(answer)
    assert capsys.readouterr().out.strip() == line


@pytest.mark.parametrize("stage", [None, *STAGES])
def test_dataflow_fits_its_boxes(stage):
    """Every text keeps off the edges of the box that it stands in, and the words name the highlighted stage."""
    figure = dataflow(stage)
    renderer = figure.canvas.get_renderer() if hasattr(figure.canvas, "get_renderer") else None
    if renderer is None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        renderer = FigureCanvasAgg(figure).get_renderer()
    axes = figure.axes[0]
    boxes = [patch.get_window_extent(renderer) for patch in axes.patches[: len(STAGES)]]
    for text in axes.texts[: 3 * len(STAGES)]:
        extent = text.get_window_extent(renderer)
        assert any(box.x0 + 5 <= extent.x0 and extent.x1 <= box.x1 - 5 for box in boxes), text.get_text()
    assert (stage is None) == ("Highlighted" not in alt(stage))


def test_dataflow_refuses_an_unknown_stage():
    with pytest.raises(ValueError, match="stage must be one of"):
        dataflow("thinking")


def test_figures_leave_the_reader_s_matplotlib_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    png(dataflow("write"))
    png(image_grid(torch.zeros(2, 1, 4, 4), columns=2))
    assert dict(matplotlib.rcParams) == before
