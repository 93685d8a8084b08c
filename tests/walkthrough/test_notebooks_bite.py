"""Notebooks notice when the package is wrong: with a faulty function, stored outputs do not come back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from notebook_faults import FAULTS

ROOT = Path(__file__).resolve().parents[2]
EXAMINED = sorted({fault.notebook for fault in FAULTS.values()})

pytestmark = pytest.mark.slow


def run_notebook(number, startup, folder):
    """Compare a notebook with its stored outputs, in kernels that run the code `startup` before the first cell."""
    profile = folder / "ipython" / "profile_default" / "startup"
    profile.mkdir(parents=True)
    (profile / "00-fault.py").write_text(startup, encoding="utf-8")
    search_path = [str(ROOT), str(ROOT / "notebooks"), str(Path(__file__).parent)]
    environment = os.environ | {
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONPATH": os.pathsep.join(search_path),
    }
    (notebook,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--nbval", str(notebook)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("name", FAULTS)
def test_notebook_fails_with_the_fault(name, tmp_path):
    startup = f"import notebook_faults\nnotebook_faults.plant({name!r})\n"
    run = run_notebook(FAULTS[name].notebook, startup, tmp_path)
    assert run.returncode == 1, run.stdout


@pytest.mark.parametrize("number", EXAMINED)
def test_notebook_passes_without_a_fault(number, tmp_path):
    """So that it is the fault that the other test finds, and not how it was planted."""
    run = run_notebook(number, "import notebook_faults\n", tmp_path)
    assert run.returncode == 0, run.stdout
