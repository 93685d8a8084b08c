"""What a bare `pytest` and `pytest --nbval notebooks/` need on any machine, so that neither takes flags."""

import os
from pathlib import Path

import pytest

# Small tensors run faster on one thread. Set before anything imports torch; xdist's processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure(config):
    """Run notebooks on this environment's Python, under the settings that they were stored with."""
    if config.getoption("nbval", False):
        from scripts.run_notebooks import KERNEL_ENVIRONMENT  # only here: it loads all of nbclient and jupytext

        config.option.nbval_current_env = True
        config.option.nbval_sanitize_with = str(Path(__file__).parent / "notebooks" / "sanitize.cfg")
        os.environ.update(KERNEL_ENVIRONMENT)


def pytest_collectstart(collector):
    """Compare no stderr: a machine's warning is no result. (A test in test_notebooks.py lets none be stored.)"""
    if collector.nodeid.endswith(".ipynb"):
        collector.skip_compare += ("stderr",)


def pytest_itemcollected(item):
    """Compare the numbers of a cell tagged `nbval-close` within a tolerance; nbval compares all else exactly."""
    cell = getattr(item, "cell", None)
    if cell is None or "nbval-close" not in cell.metadata.get("tags", []):
        return
    from close_outputs import settled, tolerance_of  # in tests/

    tolerance = tolerance_of(cell, item.parent.nb)
    compare_exactly = item.compare_outputs

    def compare(found, stored, skip_compare=None):
        return compare_exactly(settled(found, stored, tolerance), stored, skip_compare)

    item.compare_outputs = compare


@pytest.hookimpl(tryfirst=True)  # before -m chooses by marks
def pytest_collection_modifyitems(items):
    """Mark what opens a browser: the modules that import one from tests/browser.py."""
    for item in items:
        if hasattr(getattr(item, "module", None), "chromium"):
            item.add_marker("browser")


def pytest_runtest_setup(item):
    """Skip tests marked `gpu` where there is none."""
    if item.get_closest_marker("gpu"):
        import torch  # only where asked for: it takes seconds

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fail a cell stored without being executed: nbval has nothing to compare there, and passes it."""
    result = yield
    cell = getattr(item, "cell", None)
    if cell is not None and cell.source.strip() and cell.execution_count is None:
        pytest.fail("This cell was stored without being executed: run `make notebooks`.", pytrace=False)
    return result
