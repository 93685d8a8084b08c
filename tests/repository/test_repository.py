"""The repository keeps the promises that its pages make to a newcomer."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Paths of one machine and hosts that serve packages. The brackets keep this file from matching itself.
MACHINE_PATH = re.compile(
    r"(?<![\w.~)}/-])/(?:[h]ome|[r]oot|[U]sers|[w]ork|[t]mp|[o]pt|[m]nt|[p]rivate)/\w|[A-Z]:\\[U]sers"
)
REGISTRY_HOST = re.compile(r"[p]ythonhosted|[p]ypi\.(?:org|io)|[r]egistry\.npmjs|[c]onda\.anaconda|[d]eb\.debian")

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def make_targets():
    return set(re.findall(r"^([a-z][a-z-]*):(?!=)", text_of("Makefile"), re.MULTILINE))


def tracked_texts():
    """Each file that git holds or would add, with its text; pictures and other binary files are left out."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    for path in (ROOT / name for name in names.split("\0") if name):
        if path.is_file() and b"\0" not in (content := path.read_bytes()):
            yield path, content.decode("utf-8", errors="replace")


def test_environment_file_leaves_all_versions_to_pyproject():
    python, pip, installed = yaml.safe_load(text_of("environment.yml"))["dependencies"]
    assert python == f"python{PROJECT['requires-python']}"
    assert pip == "pip"
    (this_package,) = installed["pip"]
    extras = Requirement(this_package.replace("-e .", "memgan")).extras
    assert extras and extras <= PROJECT["optional-dependencies"].keys()


def test_citation_names_the_version_of_the_package():
    assert yaml.safe_load(text_of("CITATION.cff"))["version"] == PROJECT["version"]


def test_import_of_memgan_has_no_side_effects():
    """No library of an extra is loaded, and nothing in torch is set: no CUDA, no threads, no default, no seed."""
    script = """
import sys, torch
def state():
    return torch.get_num_threads(), torch.get_default_dtype(), torch.get_rng_state().tolist()
before = state()
loaded_by_torch = set(sys.modules)
import memgan, memgan.data, memgan.presets, memgan.reference, memgan.runs, memgan.training, memgan.lab.commands.cli
assert state() == before
assert not torch.cuda.is_initialized()
print(*(set(sys.modules) - loaded_by_torch))
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    libraries = {name.partition(".")[0] for name in run.stdout.split()} - sys.stdlib_module_names
    jaxtypings_own = {"wadler_lindig"}
    assert libraries <= {"memgan", "torch", "numpy", "safetensors", "jaxtyping"} | jaxtypings_own


@needs_make
def test_make_help_gives_every_target_one_line():
    command = ["make", "--no-print-directory", "help"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    described = [line.split()[0] for line in lines if re.match(r"  [a-z-]+ +\S", line)]
    assert sorted(described) == sorted(make_targets())


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", ".ci/run"])
def test_every_make_target_that_a_page_names_exists(page):
    named = set(re.findall(r"(?:^(?:\$ |exec )?|`)make ([a-z][a-z-]*)", text_of(page), re.MULTILINE))
    assert named <= make_targets()


@pytest.mark.parametrize("pattern", [MACHINE_PATH, REGISTRY_HOST], ids=["machine paths", "registry hosts"])
def test_no_tracked_file_holds(pattern):
    found = {
        str(path.relative_to(ROOT)): match.group() for path, text in tracked_texts() if (match := pattern.search(text))
    }
    assert found == {}
