"""Studies: the configurations of a grid, each on several seeds, trained, judged and written down one after another.

The result file is written whole after each run, and a run that stands in it is not repeated, so a study can be broken
off, taken up again, and given more seeds. Runs are kept in folders, where they go on from their last checkpoint.
"""

import functools
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch

from memgan.data import ImageData, load_dataset
from memgan.gan import MemoryGAN
from memgan.lab.baselines.models import as_model, load_model, parameters
from memgan.lab.evaluation.classifier import Classifier, classifier_for
from memgan.lab.evaluation.evaluation import evaluate, old_fakes_of
from memgan.lab.evaluation.metrics import inception_score
from memgan.lab.sessions.session import Habits, Interrupted, take_up
from memgan.lab.studies.grids import STUDIES, Grid, Study, rates
from memgan.presets import PRESETS, Settings
from memgan.runs import CHECKPOINTS, HISTORY, written_whole

__all__ = ["Job", "Plan", "commit", "load_study", "run_study", "settings_of"]

Row = dict[str, Any]

THREADS = 1  # of each run: sums depend on them
TUNING_SEED = 10  # never one that is reported
TUNING_IMAGES = 2000  # whose Inception Score chooses the rates


class Plan(NamedTuple):
    """One study of one preset."""

    name: str
    preset: str
    settings: Settings  # the preset's with what was changed, and the study's number of steps
    tuning_steps: int  # of the runs that choose the learning rates
    device: str
    root: Path | None  # of the data sets

    @classmethod
    def of(
        cls,
        name: str,
        preset: str,
        steps: int | None = None,
        tuning_steps: int | None = None,
        device: str = "cpu",
        root: Path | None = None,
        changes: Sequence[str] = (),
    ) -> "Plan":
        """The study `name` on a preset of PRESETS, with `changes` as `Settings.changed` takes them.

        Tuning takes a fifth of the steps, but 500 or all. Raises ValueError for names that there are not, for changes
        that cannot be made, and for numbers of steps below 1.
        """
        for what, given, known in (("study", name, STUDIES), ("preset", preset, PRESETS)):
            if given not in known:
                raise ValueError(f"unknown {what} {given!r}, expected one of {', '.join(sorted(known))}")
        settings = PRESETS[preset].changed(list(changes))
        if steps is not None:
            settings = replace(settings, training=replace(settings.training, steps=steps))
        steps = settings.training.steps
        tuning_steps = min(steps, max(500, steps // 5)) if tuning_steps is None else tuning_steps
        if tuning_steps < 1:
            raise ValueError(f"expected tuning_steps >= 1, got {tuning_steps}")
        plan = cls(name, preset, settings, tuning_steps, device, root)
        for configuration in plan.grid.values():
            settings_of(settings, configuration)  # what cannot be built is refused before hours have passed
        return plan

    @property
    def study(self) -> Study:
        return STUDIES[self.name]

    @property
    def grid(self) -> Grid:
        return self.study.grid(self.settings)

    def head(self) -> Row:
        """What every run of a result file has in common."""
        tuning = {"candidates": rates(self.settings), "tuning_steps": self.tuning_steps} if self.study.tuned else {}
        same = {"study": self.name, "preset": self.preset, "settings": asdict(self.settings)}
        return {**same, "question": self.study.question, "torch": torch.__version__, "threads": THREADS, **tuning}


class Job(NamedTuple):
    """One run: which configuration, what it changes in the preset, what comes of that, and where it is kept."""

    configuration: str
    changes: list[str]
    settings: Settings
    seed: int
    folder: Path
    device: str
    root: Path | None
    candidate: str | None  # the rates' name, where they were tuned

    def data(self, split: str = "train") -> ImageData:
        return _data(self.settings.dataset, split, self.root, self.settings.networks.image_size)

    def judge(self) -> Classifier:
        return _judge(self.settings.dataset, self.root, self.settings.networks.image_size)


def settings_of(preset: Settings, changes: Sequence[str]) -> Settings:
    """`preset` with `changes`, as `changed` takes them; a `model=NAME`, which stands first, is made of equal size."""
    if changes and changes[0].startswith("model="):
        return as_model(preset, changes[0].removeprefix("model=")).changed(list(changes[1:]))
    return preset.changed(list(changes))


def run_study(
    plan: Plan, out: Path, *, seeds: Sequence[int], runs: Path, only: Sequence[str] = (), processes: int = 1
) -> Iterator[Row]:
    """Run what `out` does not hold yet, on `seeds`, and write it after each; hands out each new row of the file.

    `only` names the configurations to run, without it all; runs are kept in folders under `runs`. A run that fails is a
    row with its diagnosis under "failed". Raises ValueError where `out` or a run's folder is of something else.
    """
    grid = _chosen_of(plan.grid, only)
    result = _opened(out, plan)

    def added(kind: str, work: Callable[[Job], Row], jobs: list[Job]) -> Iterator[Row]:
        for row in _worked_off(work, jobs, processes):
            result[kind].append(row)
            _write(out, result, plan)
            yield row

    if plan.study.tuned:
        trials = [
            _job(plan, runs, name, TUNING_SEED, candidate, plan.tuning_steps)
            for name in grid
            for candidate in rates(plan.settings)
            if not _stands_in(result["tuning"], configuration=name, candidate=candidate)
        ]
        yield from added("tuning", tune, trials)
    jobs = [
        _job(plan, runs, name, seed, best_candidate(result["tuning"], name) if plan.study.tuned else None)
        for name in grid
        for seed in seeds
        if not _stands_in(result["runs"], configuration=name, seed=seed)
    ]
    yield from added("runs", measure, jobs)


def _chosen_of(grid: Grid, only: Sequence[str]) -> Grid:
    unknown = [name for name in only if name not in grid]
    if unknown:
        raise ValueError(f"unknown configuration {unknown[0]!r}, expected one of {', '.join(map(repr, grid))}")
    return {name: changes for name, changes in grid.items() if name in only or not only}


def _job(plan: Plan, runs: Path, name: str, seed: int, candidate: str | None = None, steps: int | None = None) -> Job:
    """The run of a configuration, or, with `steps`, a trial of a candidate's rates."""
    changes = plan.grid[name] + (rates(plan.settings)[candidate] if candidate else [])
    settings = settings_of(plan.settings, changes)
    if steps:
        settings = replace(settings, training=replace(settings.training, steps=steps))
    parts = [name, *([candidate] if candidate and steps else []), f"seed {seed}"]
    folder = runs.joinpath(*(re.sub(r"[^\w.]+", "-", part).strip("-") for part in parts))
    return Job(name, changes, settings, seed, folder, plan.device, plan.root, candidate)


def best_candidate(tuning: list[Row], configuration: str) -> str:
    """The rates with the best Inception Score among the trials of a configuration; the first where all failed."""
    own = [row for row in tuning if row["configuration"] == configuration]
    return max(own, key=lambda row: row.get("inception_score") or 0.0)["candidate"]


# ---------------------------------------------------------------- one run


def tune(job: Job) -> Row:
    """The Inception Score of one pair of rates on the tuning seed."""
    row: Row = {"configuration": job.configuration, "candidate": job.candidate, "seed": job.seed}
    row |= {"steps": job.settings.training.steps}
    try:
        gan, seconds = trained(job)
    except FloatingPointError as error:
        return row | {"failed": str(error)}
    draw = torch.Generator(gan.memory.keys.device).manual_seed(0)
    with torch.no_grad():
        images = gan.generate(TUNING_IMAGES, generator=draw).images.cpu()
        score = inception_score(job.judge()(images))
    return _finite(row | {"seconds": round(seconds, 3), "inception_score": score})


def measure(job: Job) -> Row:
    """Train, judge, and say from what: a row of the result file."""
    row: Row = {"configuration": job.configuration, "changes": job.changes, "seed": job.seed, "commit": commit()}
    row |= {"candidate": job.candidate} if job.candidate else {}
    row |= {"steps": job.settings.training.steps}
    try:
        gan, seconds = trained(job)
    except FloatingPointError as error:
        return row | {"failed": str(error)}
    old_fakes = old_fakes_of(job.folder, gan)
    scores = evaluate(gan, job.judge(), job.data(), job.data("test"), old_fakes=old_fakes).to_dict()
    return _finite(row | {"seconds": round(seconds, 3), "parameters": parameters(gan), **scores})


def trained(job: Job) -> tuple[MemoryGAN, float]:
    """The model of a job in evaluation mode, and the seconds that its training took; a finished run is only loaded.

    Raises FloatingPointError, with a diagnosis, where training fails, ValueError where the folder holds another run.
    """
    if not (job.folder / HISTORY).is_file():
        print(f"training {job.folder}", file=sys.stderr, flush=True)
        how: Row = {"seed": job.seed, "device": job.device, "threads": THREADS, "habits": Habits(keep=2)}
        take_up(job.folder, job.settings, job.data(), **how).run()
        shutil.rmtree(job.folder / CHECKPOINTS)  # they take more room than the run
    torch.set_num_threads(THREADS)
    gan, settings = load_model(job.folder, job.device)
    history = json.loads((job.folder / HISTORY).read_text(encoding="utf-8"))
    if settings != job.settings or history["seed"] != job.seed:
        raise ValueError(f"{job.folder} holds a run of other settings: choose another folder for --runs, or remove it")
    return gan, history["seconds"]


@functools.cache
def _data(dataset: str, split: str, root: Path | None, size: int) -> ImageData:
    return load_dataset(dataset, root, split, size=size)


@functools.cache
def _judge(dataset: str, root: Path | None, size: int) -> Classifier:
    return classifier_for(dataset, data=_data(dataset, "train", root, size))


def commit() -> str:
    """The commit of the code that runs, "-dirty" where files differ from it, or nothing outside a repository."""
    command = ["git", "describe", "--always", "--dirty"]
    if not shutil.which("git"):
        return ""
    found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    return found.stdout.strip()


def _worked_off(work: Callable[[Job], Row], jobs: list[Job], processes: int) -> Iterator[Row]:
    """`work(job)` for every job as it is done, in this process or in several, each of which runs one job at a time."""
    if processes == 1:
        yield from map(work, jobs)
        return
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
    try:
        for done in as_completed([pool.submit(_in_process, work, job) for job in jobs]):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _in_process(work: Callable[[Job], Row], job: Job) -> Row:
    try:
        return work(job)
    except Interrupted as end:  # which does not survive the way back
        raise KeyboardInterrupt(str(end)) from end


# ---------------------------------------------------------------- the result file


def load_study(path: Path) -> Row:
    """What `run_study` wrote. Raises ValueError for anything else, OSError where there is nothing."""
    text = path.read_text(encoding="utf-8")
    try:
        content = json.loads(text)
        content["study"], [row["configuration"] for kind in ("tuning", "runs") for row in content[kind]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the result of a study") from error
    return content


def _opened(path: Path, plan: Plan) -> Row:
    """The result to go on with: what stands in `path`, or an empty one. Raises ValueError for another study's."""
    # as JSON gives it back
    head = json.loads(json.dumps(plan.head()))
    if not path.exists():
        return head | {"tuning": [], "runs": []}
    content = load_study(path)
    for name, value in head.items():
        if name != "question" and content.get(name) != value:
            detail = f": {content.get(name)!r} there, {value!r} here" if isinstance(value, str | int) else ""
            raise ValueError(f"{path} holds a study with another {name}{detail}; choose another --out")
    candidates = head.get("candidates", {})
    for row in content["runs"]:
        changes = plan.grid.get(row["configuration"], ["?"]) + candidates.get(row.get("candidate"), [])
        if changes != row["changes"]:
            raise ValueError(f"{path} holds runs of another grid: {row['configuration']!r}; choose another --out")
    return content | {"question": head["question"]}


def _stands_in(rows: list[Row], **what: Any) -> bool:
    return any(all(row[name] == value for name, value in what.items()) for row in rows)


def _write(path: Path, result: Row, plan: Plan) -> None:
    """The result, in the grid's order, whole or not at all; strict JSON."""
    names, candidates = list(plan.grid), list(result.get("candidates", {}))
    result["runs"].sort(key=lambda row: (names.index(row["configuration"]), row["seed"]))
    result["tuning"].sort(key=lambda row: (names.index(row["configuration"]), candidates.index(row["candidate"])))
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    """The same with None for what is no finite number, which JSON does not know; numbers to six digits."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
