"""Every notebook is stored as a reader should meet it. (`pytest --nbval notebooks/` tests its outputs.)"""

import re
import statistics

import nbformat
import pytest

from scripts.notebooks import NOTEBOOKS, WIDGET_STATE, code_cells, out_of_sync, sources

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

each_notebook = pytest.mark.parametrize("source", sources(), ids=lambda path: path.stem)


def read(source):
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def compared_texts(cell):
    """The outputs of a cell that say something and that nbval compares."""
    for output in cell.outputs:
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        if text.strip() and not text.startswith("<Figure") and WIDGET_VIEW not in output.get("data", {}):
            yield text


def test_every_half_has_its_other_half():
    halves = {path.stem for path in sources()}
    assert halves == {path.stem for path in NOTEBOOKS.glob("*.ipynb")}
    assert halves, "there is no notebook at all"


@each_notebook
def test_pair_is_in_sync(source):
    assert out_of_sync(source) == ""


@each_notebook
def test_was_executed_from_top_to_bottom(source):
    counts = [cell.execution_count for cell in code_cells(read(source))]
    assert counts == list(range(1, len(counts) + 1))


@each_notebook
def test_stored_no_error_and_nothing_on_stderr(source):
    outputs = [output for cell in code_cells(read(source)) for output in cell.outputs]
    assert not [output for output in outputs if "error" in output.output_type or output.get("name") == "stderr"]


@each_notebook
def test_prints_results_worth_comparing(source):
    """Pictures are never compared, so at least one code cell in four says its result in text."""
    cells = code_cells(read(source))
    assert sum(any(compared_texts(cell)) for cell in cells) >= len(cells) / 4


@each_notebook
def test_stored_no_address_of_an_object(source):
    texts = [text for cell in code_cells(read(source)) for text in compared_texts(cell)]
    assert not [text for text in texts if re.search(r"\bat 0x[0-9a-f]+", text)]


@each_notebook
def test_teaches_the_package_and_not_a_copy_of_it(source):
    assert re.search(r"^(from|import) memgan\b", source.read_text(encoding="utf-8"), re.MULTILINE)


@each_notebook
def test_cells_are_short(source):
    lengths = [len(cell.source.splitlines()) for cell in code_cells(read(source))]
    assert max(lengths) <= 20
    assert statistics.median(lengths) <= 6


@each_notebook
def test_widgets_are_stored_where_viewers_look_for_them(source):
    widgets = read(source).metadata.get("widgets", {WIDGET_STATE: {"state": {}}})
    assert "state" in widgets[WIDGET_STATE]
