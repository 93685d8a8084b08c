"""Notebooks notice when the package is wrong: each of these faults, put into a copy of it, makes its notebook fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# what is broken: module, the text that is replaced, by what, and the notebook that must notice
FAULTS = {
    "the posterior's sign": ("memory.py", "alpha=self.kappa).softmax", "alpha=-self.kappa).softmax", "02"),
    "the vMF normaliser": ("vmf.py", "dim / 2 * math.log(2 * math.pi)", "dim * math.log(2 * math.pi)", "02"),
    "the read's gradient": ("memory.py", "(values - probability.unsqueeze(1))", "values", "03"),
    "the clip": ("memory.py", "probability.clamp(self.epsilon, 1 - self.epsilon)", "probability", "03"),
    "the decay": ("memory.py", "self.histogram * self.alpha", "self.histogram", "04"),
    "who is oldest": ("memory.py", "seniority = self.ages * self", "seniority = 0 * self.ages * self", "04"),
    "which slots G is given": ("memory.py", "(self.histogram.double() * self.values)", "self.histogram.double()", "05"),
    "the information term": ("gan.py", "return -kappa * (keys * queries)", "return kappa * (keys * queries)", "05"),
    "what D trains on": ("training.py", "labels[len(images) :] = 0", "pass", "06"),
}


def outcome(module, right, wrong, number, folder):
    """The exit status of a notebook run on a copy of the package in which `wrong` stands for `right`."""
    shutil.copytree(ROOT / "memgan", folder / "memgan")
    code = (ROOT / "memgan" / module).read_text(encoding="utf-8")
    assert code.count(right) == 1, f"{module} no longer holds what this test breaks"
    (folder / "memgan" / module).write_text(code.replace(right, wrong), encoding="utf-8")
    notebook = next((ROOT / "notebooks").glob(f"{number}_*.ipynb"))
    command = [sys.executable, "-m", "pytest", "-q", "--nbval", str(notebook)]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_notebook_fails_where_the_package_is_wrong(fault, tmp_path):
    run = outcome(*FAULTS[fault], tmp_path)
    assert run.returncode == 1, run.stdout


@pytest.mark.slow
@pytest.mark.parametrize("fault", {fault[-1]: name for name, fault in FAULTS.items()}.values())  # one a notebook
def test_notebook_passes_on_a_faithful_copy(fault, tmp_path):
    """So that it is the fault, and not the copy, that the other test finds."""
    module, right, _, number = FAULTS[fault]
    run = outcome(module, right, right, number, tmp_path)
    assert run.returncode == 0, run.stdout
