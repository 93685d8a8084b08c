"""Run the notebooks from their .py halves and write the paired .ipynb, byte for byte the same each time.

Without names it runs every notebook. --prose is for changes of text, or of the look of a widget: it keeps the outputs
and runs nothing. --check writes nothing and says which pairs are out of sync.
"""

import argparse
import ast
import hashlib
import importlib
import os
import re
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from jupytext.config import load_jupytext_config
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"

# One CPU thread: small models run faster on it, and stored outputs must not depend on cores or a GPU.
KERNEL_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
# What tqdm shows after the counts, "[00:12<00:00, 81.3it/s, loss=0.4]", less its clock: "[loss=0.4]".
TQDM_CLOCK = re.compile(r"\[[\d:]+&lt;[\d:?]+,\s*[^\],]*(?:,\s*)?")


def sources() -> list[Path]:
    """The .py halves, solutions included. (walkthrough/ beside them holds modules, not notebooks.)"""
    return sorted([*NOTEBOOKS.glob("*.py"), *NOTEBOOKS.glob("solutions/*.py")])


def read_source(path: Path) -> nbformat.NotebookNode:
    """The notebook as its .py half says, with cell ids that depend on nothing but the cells."""
    notebook = jupytext.read(path, fmt="py:percent", config=load_jupytext_config(str(path)))
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        repeat = seen.get(cell.source, 0)
        seen[cell.source] = repeat + 1
        cell.id = hashlib.sha256(f"{repeat}:{cell.source}".encode()).hexdigest()[:8]
    return notebook


def as_source(notebook: nbformat.NotebookNode) -> str:
    """The text of the .py half that belongs to this notebook."""
    return jupytext.writes(notebook, fmt="py:percent", config=load_jupytext_config(str(NOTEBOOKS / "any.py")))


def out_of_sync(path: Path) -> str:
    """What is wrong with the pair of this .py, or an empty string."""
    pair = path.with_suffix(".ipynb")
    if not pair.exists():
        return f"{pair.name} is missing"
    if as_source(nbformat.read(pair, as_version=4)) != path.read_text(encoding="utf-8"):
        return f"{pair.name} does not say what {path.name} says"
    return ""


def execute(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """Run all cells in a fresh kernel, in the notebook's folder."""
    client = NotebookClient(
        notebook,
        timeout=None,
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        store_widget_state=True,
        coalesce_streams=True,
    )
    client.execute(env=os.environ | KERNEL_ENVIRONMENT)
    for number, cell in enumerate(code_cells(notebook), start=1):
        if any(output.get("name") == "stderr" for output in cell.outputs):
            raise RuntimeError(f"code cell {number} writes to stderr:\n{cell.outputs}")
    return without_chance(notebook)


def without_chance(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Replace what differs between two runs of the same notebook: widget ids, tqdm's clock, versions."""
    notebook.metadata.language_info = {"name": "python", "pygments_lexer": "ipython3"}
    state = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    for widget in state.values():
        if widget["model_name"] == "HTMLModel":
            widget["state"]["value"] = TQDM_CLOCK.sub("[", widget["state"]["value"]).replace("[]", "")
    text = nbformat.writes(notebook)
    for number, random_id in enumerate(state, start=1):
        text = text.replace(random_id, f"{number:032x}")
    return nbformat.reads(text, as_version=4)


def with_kept_outputs(notebook: nbformat.NotebookNode, path: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs stored in its pair, provided that no code has changed since."""
    stored = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    if [cell.source for cell in code_cells(notebook)] != [cell.source for cell in code_cells(stored)]:
        raise RuntimeError("code has changed since the outputs were stored: run it without --prose")
    for cell, old in zip(code_cells(notebook), code_cells(stored), strict=True):
        cell.outputs = old.outputs
        cell.execution_count = old.execution_count
    stored.metadata.pop("tolerance", None)
    stored.metadata.update(notebook.metadata)  # the tolerance may have changed, the widgets' state is only stored
    notebook.metadata = stored.metadata
    for state, scripts in widget_scripts(notebook):
        state.update(scripts)
    return notebook


def widget_scripts(notebook: nbformat.NotebookNode) -> list[tuple[dict[str, Any], dict[str, str]]]:
    """The stored state of each of our widgets, and the script and style that its class has today."""
    found = []
    for widget in notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {}).values():
        module, _, name = widget["state"].get("_anywidget_id", "").rpartition(".")
        if module:
            kind = getattr(importlib.import_module(module), name)
            found.append((widget["state"], {"_esm": str(kind._esm), "_css": str(kind._css)}))
    return found


def fold_figures(notebook: nbformat.NotebookNode) -> None:
    """Fold away the code of cells that only show a figure: its caption stands below it, and once is enough."""
    for cell in code_cells(notebook):
        statements = ast.parse(TransformerManager().transform_cell(cell.source)).body
        calls = [s.value for s in statements if isinstance(s, ast.Expr) and isinstance(s.value, ast.Call)]
        if len(statements) == 1 and calls and getattr(calls[0].func, "id", "") == "show":
            cell.metadata["jupyter"] = {"source_hidden": True}


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def write_pair(path: Path, prose_only: bool) -> None:
    notebook = read_source(path)
    notebook = with_kept_outputs(notebook, path) if prose_only else execute(notebook, path.parent)
    fold_figures(notebook)
    nbformat.write(notebook, path.with_suffix(".ipynb"))
    source = as_source(notebook)  # the one spelling of blank lines and header that the comparison knows
    if source != path.read_text(encoding="utf-8"):
        path.write_text(source, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, help="the .py or .ipynb of each notebook to treat")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="only compare; exit with 1 if a pair is out of sync")
    mode.add_argument("--prose", action="store_true", help="keep stored outputs; refuse if code has changed")
    options = parser.parse_args()

    failures = 0
    for path in [path.resolve().with_suffix(".py") for path in options.notebooks] or sources():
        before = os.times().children_user
        try:
            if not options.check:
                write_pair(path, prose_only=options.prose)
            problem = out_of_sync(path)
        except (CellExecutionError, RuntimeError, OSError) as error:
            problem = str(error)
        if problem:
            failures += 1
        spent = os.times().children_user - before  # CPU time of its kernel: other processes do not count
        done = f"in sync, ran for {spent:.0f} s of one core" if spent > 1 else "in sync"
        print(f"{path.name}: {problem or done}", file=sys.stderr if problem else sys.stdout)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
