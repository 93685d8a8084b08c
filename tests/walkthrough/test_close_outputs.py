"""A cell tagged `nbval-close` passes with numbers that are close, and fails with a wrong number or a wrong word."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from close_outputs import TOLERANCE, Tolerance, settled_text, tolerance_of
from nbformat.v4 import new_code_cell, new_notebook, new_output

from scripts.run_notebooks import as_source, read_source

ROOT = Path(__file__).resolve().parents[2]


def cell(prints, stored, *, tags=("nbval-close",), **metadata):
    """A cell that prints one text and was stored with another one."""
    output = new_output("stream", name="stdout", text=f"{stored}\n")
    found = {"tags": list(tags)} | metadata
    return new_code_cell(f"print({prints!r})", execution_count=1, outputs=[output], metadata=found)


CELLS = {
    "within the notebook's tolerance": (cell("D 0.93 of 512 slots", "D 0.90 of 512 slots"), True),
    "a planted wrong number": (cell("D 0.93 of 512 slots", "D 0.53 of 512 slots"), False),
    "a wrong word": (cell("real slots 0.93", "generated slots 0.93"), False),
    "a number too many": (cell("D 0.93 0.94", "D 0.93"), False),
    "within the cell's own tolerance": (cell("D 0.93", "D 0.53", tolerance={"relative": 0.5}), True),
    "beyond the cell's own tolerance": (cell("D 0.93", "D 0.90", tolerance={"relative": 0.01}), False),
    "not tagged": (cell("D 0.93", "D 0.90", tags=()), False),
    "another width of the column": (cell("D  9.99", "D 10.01"), True),
}


@pytest.mark.thorough
def test_nbval_fails_on_a_wrong_number_and_on_a_wrong_word(tmp_path):
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "tolerance": {"relative": 0.05}}
    notebook = new_notebook(cells=[planted for planted, _ in CELLS.values()], metadata=metadata)
    path = tmp_path / "planted.ipynb"
    nbformat.write(notebook, path)
    # -p conftest: the repository's rules, which pytest itself looks for only above the notebook
    options = ["-p", "conftest", "-p", "no:cacheprovider", "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml")]
    command = [sys.executable, "-m", "pytest", "-v", "--color=no", *options, "--nbval", str(path)]
    run = subprocess.run(command, cwd=ROOT, env=os.environ | {"COLUMNS": "200"}, capture_output=True, text=True)
    results = dict(re.findall(r"::Cell (\d+) (PASSED|FAILED)", run.stdout))
    passed = {name: results[str(number)] == "PASSED" for number, name in enumerate(CELLS)}
    assert passed == {name: should_pass for name, (_, should_pass) in CELLS.items()}, run.stdout


@pytest.mark.parametrize(
    ("found", "stored", "is_close"),
    [
        ("1.0e-3", "1.01e-03", True),
        ("-0.5", "0.5", False),
        ("0.0", "-0.0", True),
        ("100", "102", True),
        ("100", "103", False),
        ("12 of 64", "12 of 46", False),
        ("mnist-5k", "mnist-6k", False),
        ("nan", "1.0", False),
        ("[0.25, 0.75]", "[0.251, 0.749]", True),
        ("a 1\nb 2", "a 1 b 2", False),
    ],
)
def test_text_is_compared_exactly_and_numbers_are_compared_within_the_tolerance(found, stored, is_close):
    assert (settled_text(found, stored, Tolerance(relative=0.02, absolute=0)) == stored) == is_close


def test_tolerance_of_a_cell_is_its_own_then_its_notebooks_then_the_usual_one():
    own = new_code_cell(metadata={"tolerance": {"relative": 0.3}})
    notebook = new_notebook(metadata={"tolerance": {"relative": 0.1, "absolute": 0.5}})
    assert tolerance_of(own, notebook) == (0.3, 0.5)
    assert tolerance_of(new_code_cell(), notebook) == (0.1, 0.5)
    assert tolerance_of(new_code_cell(), new_notebook()) == TOLERANCE


@pytest.mark.parametrize("named", [{"relativ": 0.1}, {"relative": -0.1}, {"relative": 1.0}])
def test_what_is_no_tolerance_is_refused(named):
    with pytest.raises(ValueError, match="expected a tolerance"):
        tolerance_of(new_code_cell(metadata={"tolerance": named}), new_notebook())


def test_pair_carries_the_tolerance_of_cell_and_notebook(tmp_path):
    text = (
        "# ---\n# jupyter:\n#   kernelspec:\n#     display_name: Python 3\n#     name: python3\n"
        "#   tolerance:\n#     relative: 0.1\n# ---\n\n"
        '# %% tags=["nbval-close"] tolerance={"absolute": 0.5}\nprint(1)\n'
    )
    source = tmp_path / "lesson.py"
    source.write_text(text, encoding="utf-8")
    notebook = read_source(source)
    assert notebook.metadata["tolerance"] == {"relative": 0.1}
    assert notebook.cells[0].metadata["tolerance"] == {"absolute": 0.5}
    written = as_source(notebook)
    assert "#   tolerance:\n#     relative: 0.1\n" in written
    assert 'tolerance={"absolute": 0.5}' in written
