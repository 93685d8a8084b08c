"""How is a study carried out? Each configuration on several seeds is trained, evaluated and written down.

The result file is written whole after each run, and a run that stands in it is not repeated, so a study can be broken
off, resumed, and given more seeds. Runs are kept in folders, where they go on from their last checkpoint.
"""

import json
import math
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, cast

import torch

from memgan.gan import AdversarialModel
from memgan.lab.baselines.models import parameters
from memgan.lab.evaluation import evaluate, old_fakes_of
from memgan.lab.evaluation.classifier import features_of, has_classes
from memgan.lab.evaluation.metrics import frechet_distance, inception_score
from memgan.lab.sessions import checkpoints
from memgan.lab.sessions.capacity import refuse_beyond_memory
from memgan.lab.sessions.diagnosis import TrainingError
from memgan.lab.sessions.digest import digest_of
from memgan.lab.sessions.loading import load_model
from memgan.lab.sessions.lock import held
from memgan.lab.sessions.progress import to_stderr
from memgan.lab.sessions.session import HANG_UP, Interrupted, Session, SessionOptions
from memgan.lab.sessions.world import World
from memgan.lab.studies.grids import Grid
from memgan.lab.studies.plan import THREADS, TUNING_SEED, Job, Plan, settings_of
from memgan.lab.studies.provenance import commit
from memgan.lab.studies.result_file import Row, finite, result_to_continue, with_digests, write_result
from memgan.presets import Settings
from memgan.runs import CHECKPOINTS, HISTORY, saved_checkpoints
from memgan.training import old_fakes_in

__all__ = ["best_candidate", "measure", "run_study", "trained", "tune"]

TUNING_IMAGES = 2000  # whose scores choose the candidate
TUNING_REAL_IMAGES = 4000  # about so many training images stand for all of them

Work = Callable[[Job], Row]


def run_study(
    plan: Plan,
    out: Path,
    *,
    seeds: Sequence[int],
    runs: Path,
    only: Sequence[str] = (),
    processes: int = 1,
    world: World | None = None,
) -> Generator[Row, None, None]:
    """Run what `out` does not hold yet, on `seeds`, and write it after each; hands out each new row of the file.

    `only` names the configurations to run, without it all; runs are kept in folders under `runs`. A run that fails is a
    row with its diagnosis under "failed". The ranks of a `world` share the runs, and the first one writes. Raises
    ValueError where `out` or a run's folder is of something else, where another study is writing `out`, and for the
    seed of the trials.
    """
    if plan.is_tuned and TUNING_SEED in seeds:
        raise ValueError(f"seed {TUNING_SEED} is that of the trials that choose among the candidates: take other seeds")
    grid = _named_configurations(plan.grid, only)
    if not _is_left_to_do(result_to_continue(out, plan), plan, grid, seeds, runs):
        return
    writes = world is None or world.is_first
    taken = f"{out} is being written by a study"
    file = Path(os.path.realpath(out))  # what a link leads to is written
    with held(file.parent, f".{file.name}.lock", taken) if writes else nullcontext():
        yield from _run_what_is_left(plan, out, grid, seeds, runs, processes, world, writes=writes)


def _is_left_to_do(result: Row, plan: Plan, grid: Grid, seeds: Sequence[int], runs: Path) -> bool:
    return bool(_trials(plan, grid, result["tuning"], runs) or _missing(result, grid, seeds))


def _missing(result: Row, grid: Grid, seeds: Sequence[int]) -> list[tuple[str, int]]:
    """The configurations and seeds whose runs `result` does not hold."""
    done = {(row["configuration"], row["seed"]) for row in result["runs"]}
    return [(name, seed) for name in grid for seed in dict.fromkeys(seeds) if (name, seed) not in done]


def _run_what_is_left(
    plan: Plan,
    out: Path,
    grid: Grid,
    seeds: Sequence[int],
    runs: Path,
    processes: int,
    world: World | None,
    *,
    writes: bool,
) -> Iterator[Row]:
    """The rows that `out` does not hold, each of them written as it is done if this process `writes`."""
    result = result_to_continue(out, plan)
    missing = _missing(result, grid, seeds)
    first_trials = _trials(plan, grid, result["tuning"], runs)
    _refuse_without_classes(plan)
    to_be_run = [job.configuration for job in first_trials] + [name for name, _ in missing]
    _refuse_what_cannot_be_built({name: grid[name] for name in to_be_run}, plan)
    result = with_digests(result, plan, out)
    while trials := _trials(plan, grid, result["tuning"], runs):
        for row in _worked_off(tune, trials, processes, world):
            result["tuning"].append(row)
            if writes:
                write_result(out, result, plan)
            yield row

    jobs = []
    for name, seed in missing:
        chosen = best_candidate(result["tuning"], name, plan.study.chosen_by) if plan.is_tuned else None
        jobs.append(plan.job(name, seed, chosen, runs))
    for row in _worked_off(measure, jobs, processes, world):
        result["runs"].append(row)
        if writes:
            write_result(out, result, plan)
        yield row


def _refuse_without_classes(plan: Plan) -> None:
    """ValueError, before hours of training, for images that no classifier can learn from or be asked about."""
    training, test = plan.data("train"), plan.data("test")
    for split, data in (("training", training), ("test", test)):
        if not has_classes(data):
            raise ValueError(
                f"a study compares by a classifier, which needs images of two classes or more: the {split} images of "
                f"{plan.settings.dataset} are of one. In a folder, each subfolder is a class"
            )


def _refuse_what_cannot_be_built(grid: Grid, plan: Plan) -> None:
    """ValueError, before hours of training, where a configuration has no model, or one beyond the machine."""
    for name, changes in grid.items():
        settings = settings_of(plan.settings, changes)
        try:
            refuse_beyond_memory(settings, plan.device)
            if settings.training.replay > 0:
                old_fakes_in(settings.training.batch_size, settings.training)
        except ValueError as error:
            raise ValueError(f"configuration {name!r}: {error}") from error


def _named_configurations(grid: Grid, only: Sequence[str]) -> Grid:
    """The configurations that `only` names, or all. Raises ValueError for one that the grid does not have."""
    for name in only:
        if name not in grid:
            raise ValueError(f"unknown configuration {name!r}, expected one of {', '.join(map(repr, grid))}")
    if not only:
        return grid
    return {name: changes for name, changes in grid.items() if name in only}


def _trials(plan: Plan, grid: Grid, tuning: list[Row], runs: Path) -> list[Job]:
    """What `tuning` does not hold yet: for each configuration its candidates, and then the refinements of the best."""
    trials = []
    for name in grid:
        tried = {row["candidate"]: row for row in tuning if row["configuration"] == name}
        wanted = list(plan.candidates)
        if wanted and all(candidate in tried for candidate in wanted):
            best = best_candidate([tried[candidate] for candidate in wanted], name, plan.study.chosen_by)
            wanted = list(plan.refinements(name, best))
        for candidate in wanted:
            if candidate not in tried:
                trials.append(plan.trial(name, candidate, runs))
    return trials


def best_candidate(tuning: list[Row], configuration: str, chosen_by: str = "inception_score") -> str:
    """The best candidate of a configuration by one score of its trials; the first where all failed.

    `chosen_by` is "inception_score", of which more is better, or "frechet_distance", of which less is.
    """
    own = [row for row in tuning if row["configuration"] == configuration]
    sign = -1.0 if chosen_by == "frechet_distance" else 1.0

    def value(row: Row) -> float:
        score = row.get(chosen_by)
        return -math.inf if score is None else sign * score

    return max(own, key=value)["candidate"]


# ---------------------------------------------------------------- one run


def tune(job: Job) -> Row:
    """The scores of one candidate on the tuning seed, of fewer images than a run is evaluated by."""
    row: Row = {
        "configuration": job.configuration,
        "candidate": job.candidate,
        "seed": job.seed,
        "steps": job.settings.training.steps,
    }
    try:
        gan, seconds = trained(job)
    except TrainingError as error:
        return row | {"failed": error.diagnosis}
    generator = torch.Generator(gan.device).manual_seed(0)
    classifier, real = job.classifier(), job.data().images
    with torch.no_grad():
        images = gan.generate(TUNING_IMAGES, generator=generator).images.cpu()
        features = features_of(classifier, images)
        of_real = features_of(classifier, real[:: max(1, len(real) // TUNING_REAL_IMAGES)])
        scores = {
            "inception_score": inception_score(classifier.head(features)),
            "frechet_distance": frechet_distance(features, of_real),
        }
    return finite(row | {"seconds": round(seconds, 3)} | scores)


def measure(job: Job) -> Row:
    """Train, evaluate, and say from what: a row of the result file."""
    row: Row = {"configuration": job.configuration, "changes": job.changes, "seed": job.seed, "commit": commit()}
    if job.candidate is not None:
        row["candidate"] = job.candidate
    row["steps"] = job.settings.training.steps
    try:
        gan, seconds = trained(job)
    except TrainingError as error:
        return row | {"failed": error.diagnosis}
    old_fakes = old_fakes_of(job.folder, gan)
    scores = evaluate(gan, job.classifier(), job.data(), job.data("test"), old_fakes=old_fakes).to_dict()
    return finite(row | {"seconds": round(seconds, 3), "parameters": parameters(gan)} | scores)


def trained(job: Job) -> tuple[AdversarialModel, float]:
    """The model of a job in evaluation mode, and the seconds that its training took; a finished run is only loaded.

    Raises TrainingError, with a diagnosis, where training fails, ValueError where the folder holds another run. One
    that was interrupted is not made longer: its rates have been falling, as those of a longer run would not.
    """
    if not (job.folder / HISTORY).is_file():
        print(f"training {job.folder}", file=sys.stderr, flush=True)
        earlier = None
        if saved_checkpoints(job.folder):
            earlier = checkpoints.newest(job.folder, to_stderr)
            _refuse_another_run(job, earlier.settings, earlier.seed, earlier.data)
        session = Session(
            job.folder,
            job.settings,
            job.data(),
            seed=job.seed,
            device=job.device,
            threads=THREADS,
            options=SessionOptions(keep=2),
            earlier=earlier,
        )
        session.run()
        shutil.rmtree(job.folder / CHECKPOINTS)  # they take more room than the run
    torch.set_num_threads(THREADS)
    loaded = load_model(job.folder, job.device)
    history = json.loads((job.folder / HISTORY).read_text(encoding="utf-8"))
    _refuse_another_run(job, loaded.settings, history["seed"], history.get("data", ""))
    return loaded.gan, history["seconds"]


def _refuse_another_run(job: Job, settings: Settings, seed: int, digest: str) -> None:
    """ValueError where the run that the folder of a job holds, as these say, is not the job's.

    The `digest` of its training images tells whether they are the same, wherever they lie; it is "" in a run of an
    older version.
    """
    advice = "choose another folder for --runs, or remove it"
    if digest:
        settings = replace(settings, dataset=job.settings.dataset)
    if settings != job.settings or seed != job.seed:
        raise ValueError(f"{job.folder} holds a run of other settings: {advice}")
    if digest not in ("", digest_of(job.data())):
        raise ValueError(f"{job.folder} holds a run on other images: {advice}")


# ---------------------------------------------------------------- several at a time


def _worked_off(work: Work, jobs: list[Job], processes: int, world: World | None = None) -> Iterator[Row]:
    """`work(job)` for every job as it is done, in this process, or each in one of its own, `processes` at a time.

    The ranks of a `world` take a job each, tell each other what came of it, and take the next ones.
    """
    if world is not None:
        for start in range(0, len(jobs), world.size):
            own = jobs[start + world.rank : start + world.rank + 1]
            rows = [work(job) for job in own]
            try:
                of_all = world.gathered(rows)
            except RuntimeError as error:
                raise ConnectionError(world.lost(error)) from error
            for of_rank in of_all:
                yield from of_rank
        return
    if processes == 1:
        for job in jobs:
            yield work(job)
        return
    yield from _in_processes(work, jobs, processes)


def _in_processes(work: Work, jobs: list[Job], processes: int) -> Iterator[Row]:
    """`work(job)` for every job, each in a process of its own, so many at a time.

    Whatever ends this early (a signal, a run that fails, a caller who wants no more rows) has the runs that are at work
    keep a checkpoint and end; on Windows, where they cannot be asked to, they have the last one that they wrote. A
    second signal ends them at once. Raises ChildProcessError where a process ends without an answer.
    """
    context = get_context("spawn")
    waiting = list(jobs)
    at_work: dict[Connection, tuple[BaseProcess, Job]] = {}
    with _ended_by_signals(lambda: [process for process, _ in at_work.values()]):
        try:
            while waiting or at_work:
                while waiting and len(at_work) < processes:
                    job = waiting.pop(0)
                    receiver, sender = context.Pipe(duplex=False)
                    process = context.Process(target=_answer, args=(work, job, sender))
                    at_work[receiver] = (process, job)
                    process.start()
                    sender.close()
                for ready in wait(list(at_work), timeout=1):  # in slices, in which Windows notices Ctrl-C
                    receiver = cast("Connection", ready)
                    row = _answered(receiver, *at_work[receiver])
                    del at_work[receiver]
                    yield row
        finally:
            begun = [child for child, _ in at_work.values() if child.pid is not None]
            for child in begun:
                child.terminate()
            for child in begun:
                child.join()


def _answer(work: Work, job: Job, sender: Connection) -> None:
    """In a process of its own: send the row of a job, or the error that the command can explain."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; the parent then ends this process
    try:
        sender.send(work(job))
    except Interrupted as end:
        raise SystemExit(end.exit_code) from end
    except (ValueError, OSError) as error:
        sender.send(error)


def _answered(receiver: Connection, process: BaseProcess, job: Job) -> Row:
    """What a process has sent. Raises the error that it sent, and ChildProcessError where it ended without a word."""
    try:
        answer = receiver.recv()
    except EOFError as end:
        process.join()
        raise ChildProcessError(f"{job.folder}: its process ended with exit code {process.exitcode}") from end
    process.join()
    receiver.close()
    if isinstance(answer, Exception):
        raise answer
    return answer


class Ended(KeyboardInterrupt):
    """A signal ended a study whose runs are in processes of their own."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number


@contextmanager
def _ended_by_signals(processes: Callable[[], list[BaseProcess]]) -> Iterator[None]:
    """The first of SIGINT, SIGTERM and SIGHUP raises Ended; a second one kills the `processes`.

    A terminal that is closed can send SIGHUP twice, so that a second one of these does nothing. A signal that is
    ignored, as by nohup, stays ignored.
    """
    caught: list[int] = []

    def end(number: int, _: Any) -> None:
        caught.append(number)
        if len(caught) == 1:
            raise Ended(number)
        if number != HANG_UP:
            for child in processes():
                child.kill()

    handlers = {}
    if threading.current_thread() is threading.main_thread():  # only there may signals be handled
        for number in (signal.SIGINT, signal.SIGTERM, HANG_UP):
            if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                handlers[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
