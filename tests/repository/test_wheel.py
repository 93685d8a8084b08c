"""The wheel: what it holds, and that it works with exactly the libraries that pip would install beside it.

Each environment is a new, empty one. Of the libraries that are installed here it sees those that the wheel's own
metadata ask for, directly or indirectly, and no others. The checkout is out of its sight.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from gan_builders import TINY_ASSIGNMENTS
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from memgan.lab.commands.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
TINY = [word for assignment in TINY_ASSIGNMENTS for word in ("--set", assignment)]

pytestmark = [pytest.mark.thorough, pytest.mark.wheel]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the sdist and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


# ---------------------------------------------------------------- what it holds


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel):
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "memgan").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == package
    endings = {Path(name).suffix for name in held}
    assert endings >= {".py", ".html", ".js", ".css", ".safetensors", ".md", ".typed"}


def test_the_sdist_holds_what_it_takes_to_build_and_test(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {"pyproject.toml", "LICENSE", "README.md", "memgan/py.typed", "tests/repository/test_wheel.py"}


def test_the_wheel_says_how_it_may_be_used_and_which_version_it_is(wheel):
    described = metadata_of(wheel)
    assert described.metadata["License-Expression"] == "MIT"
    assert described.metadata["Version"] in wheel.name
    assert [script.name for script in described.entry_points] == ["memgan"]


# ---------------------------------------------------------------- environments


def metadata_of(wheel):
    """What the wheel says of itself; the metadata of the environment that runs the tests may be older."""
    with zipfile.ZipFile(wheel) as archive:
        (folder,) = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    return metadata.PathDistribution(zipfile.Path(wheel, f"{folder}/"))


def needed_by(wheel, extras):
    """The distributions that `pip install memgan[extras]` installs beside memgan, among those that are here."""
    memgan = metadata_of(wheel)
    waiting = [Requirement(f"memgan[{','.join(extras)}]")]
    seen = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ["", *requirement.extras]:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            requires = memgan.requires if name == "memgan" else metadata.requires(name)
            for needed in map(Requirement, requires or []):
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    waiting.append(needed)
    return {name for name, _ in seen} - {"memgan"}


def show(libraries, folder):
    """Have `folder` lead to the files of the named distributions."""
    folder.mkdir()
    for name in libraries:
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            link = folder / top
            if not link.exists():
                link.symlink_to(distribution.locate_file(top))


EACH = """
import contextlib, io, json, sys
from memgan.lab.commands.cli import main

ended = []
for words in json.loads(sys.argv[1]):
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        code = main(words)
    ended.append([code, out.getvalue(), error.getvalue()])
print(json.dumps(ended))
"""


class Environment:
    """A Python with the wheel, and what its extras bring; commands run in an empty folder."""

    def __init__(self, folder, wheel, extras):
        self.folder = folder / "empty"
        self.folder.mkdir()
        self.bin = folder / "venv" / "bin"
        venv = [sys.executable, "-m", "venv", "--without-pip", folder / "venv"]
        subprocess.run(venv, check=True, capture_output=True)
        pip = [sys.executable, "-m", "pip", "--python", self.bin / "python", "install", "--quiet"]
        subprocess.run([*pip, "--no-index", "--no-deps", wheel], check=True, capture_output=True)
        show(needed_by(wheel, extras), folder / "libraries")
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        self.site = Path(self.runs("python", "-c", where).stdout.strip())
        (self.site / "libraries.pth").write_text(f"{folder / 'libraries'}\n", encoding="utf-8")

    def runs(self, program, *arguments):
        """What a program of this environment did."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MEMGAN"))}
        settings = {"OMP_NUM_THREADS": "1", "MEMGAN_CACHE": str(self.folder / "cache")}
        command = [self.bin / program, *arguments]
        return subprocess.run(command, cwd=self.folder, env=kept | settings, capture_output=True, text=True)

    def ends(self, command_lines):
        """Exit code, stdout and stderr of each command line of `memgan`, all in one process."""
        done = self.runs("python", "-c", EACH, json.dumps(command_lines))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def prints(self, program, *arguments):
        """The output of a program that succeeds."""
        done = self.runs(program, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A function from extras to an environment that has them; each is made once."""
    made = {}

    def of(*extras):
        if extras not in made:
            folder = tmp_path_factory.mktemp("-".join(["environment", *extras]))
            made[extras] = Environment(folder, wheel, extras)
        return made[extras]

    return of


# ---------------------------------------------------------------- what works in them

# The memory alone, the training of a MemoryGAN into a run, and a pretrained model
CORE = """
import json
from pathlib import Path
import torch
import memgan
from memgan import MemoryGAN, VMFMemory, load_pretrained
from memgan.presets import PRESETS
from memgan.runs import build, load_run, save_run
from memgan.training import Trainer

memory = VMFMemory(num_slots=61, key_dim=7, top_k=5, correct_in_top=1)
queries = torch.nn.functional.normalize(torch.randn(11, 7), dim=1)
memory.write(queries, torch.ones(11, dtype=torch.long))

settings = PRESETS["digits"].changed(["training.steps=2", "training.batch_size=11"])
gan = build(settings)
steps = [step.number for step in Trainer(gan, torch.rand(23, 1, 16, 16) * 2 - 1, settings.training)]
save_run(Path("run"), gan, settings, {})
_, read_settings = load_run("run")
assert read_settings == settings

pretrained, _ = load_pretrained("fashion-mnist-slim")
print(json.dumps({
    "file": memgan.__file__,
    "version": memgan.__version__,
    "read": list(memory.read(queries).shape),
    "steps": steps,
    "pretrained": list(pretrained.generate(5).images.shape),
}))
"""


@pytest.fixture(scope="module")
def bare(environment):
    """What `pip install memgan` gives, and in its folder a run."""
    made = environment()
    made.reported = json.loads(made.prints("python", "-c", CORE))
    return made


def test_the_core_works_with_what_a_bare_install_brings(bare, wheel):
    assert Path(bare.reported["file"]).is_relative_to(bare.site)
    assert bare.reported["version"] == metadata_of(wheel).version
    assert bare.reported["read"] == [11]
    assert bare.reported["steps"] == [1, 2]
    assert bare.reported["pretrained"] == [5, 1, 28, 28]


def test_help_and_version_need_no_extra(bare):
    text = bare.prints("memgan", "--help")
    assert all(command in text for command in COMMANDS)
    assert bare.prints("python", "-m", "memgan", "--version") == f"memgan {bare.reported['version']}\n"


COMMAND_LINES = {
    "train": ["--out", "another"],
    "sample": ["run", "--out", "sheet.png"],
    "evaluate": ["run"],
    "classifier": ["digits"],
    "export": ["run", "--number", "3", "--out", "exported"],
    "explore": ["run"],
    "playground": ["--out", "playground.html"],
    "study": ["kappa"],
}
EXTRA_OF = dict.fromkeys(COMMANDS, "lab") | {"explore": "notebooks", "playground": "notebooks"}


def says_what_brings_it(command, code, out, error):
    """Whether a command failed with one line that names its extra."""
    one_line = error.startswith(f"memgan {command}: ") and error.count("\n") == 1
    return (code, out) == (1, "") and one_line and f"pip install 'memgan[{EXTRA_OF[command]}]'" in error


def test_a_command_without_its_extra_says_which_pip_install_brings_it(bare):
    script = bare.runs("memgan", "train", *COMMAND_LINES["train"])
    assert says_what_brings_it("train", script.returncode, script.stdout, script.stderr)
    ended = bare.ends([[command, *COMMAND_LINES[command]] for command in COMMANDS])
    for command, end in zip(COMMANDS, ended, strict=True):
        assert says_what_brings_it(command, *end), end


def folder_of_images(path, number):
    """Images of noise in two classes, so few that a classifier of them is there at once."""
    noise = np.random.default_rng(0).integers(0, 256, (number, 16, 16), dtype=np.uint8)
    for index, pixels in enumerate(noise):
        place = path / f"class {index % 2}" / f"{index}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
    return f"folder:{path}"


def test_with_the_laboratory_a_run_is_trained_sampled_and_evaluated_but_not_explored(environment):
    lab = environment("lab")
    log = ["--log-dir", "log", "--sample-every", "2"]
    assert "3 steps" in lab.prints("memgan", "train", "--preset", "digits", "--out", "run", *TINY, *log)
    images = folder_of_images(lab.folder / "images", 20)
    sampled, evaluated, explored = lab.ends(
        [
            ["sample", "run", "--out", "sheet.png", "--slots", "2", "--samples", "3"],
            ["evaluate", "run", "--against", images, "--json"],
            ["explore", "run"],
        ]
    )
    assert sampled[0] == 0 and (lab.folder / "sheet.png").exists(), sampled
    assert evaluated[0] == 0 and json.loads(evaluated[1])["classes"] == 2, evaluated
    assert says_what_brings_it("explore", *explored)


def test_with_the_notebooks_a_run_is_explored_and_the_laboratory_is_there(environment, wheel, bare):
    assert needed_by(wheel, ["lab"]) <= needed_by(wheel, ["notebooks"])
    notebooks = environment("notebooks")
    shutil.copytree(bare.folder / "run", notebooks.folder / "run")
    images = folder_of_images(notebooks.folder / "images", 20)
    notebooks.prints("python", "-m", "memgan", "explore", "run", "--dataset", images)
    page = (notebooks.folder / "run" / "explore.html").read_text(encoding="utf-8")
    assert "MemoryGAN: run" in page and "application/vnd.jupyter.widget-state+json" in page
