"""A training run in a folder: it leaves checkpoints behind, goes on from them, and ends cleanly when it has to.

The loop over the steps is `memgan.training.Trainer`.

RUN/checkpoints/step-XXXXXXXX.pt    the last few, to go on from
RUN/samples/step-XXXXXXXX.png       sheets of samples, where asked for
RUN/old_fakes.pt                    what the generator made at ten moments, for the forgetting measure
RUN/scores.jsonl                    scores while it trained, where asked for, one JSON object a line
RUN/settings.json, model.pt, history.json    the run itself, when it is done (`memgan.runs`)
"""

import copy
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, NamedTuple

import torch

from memgan.batches import placed
from memgan.data import ImageData, as_bytes
from memgan.distributed import checksum
from memgan.files import written_whole
from memgan.gan import AdversarialModel
from memgan.lab.baselines.models import build_model, parameters
from memgan.lab.sessions import checkpoints
from memgan.lab.sessions.capacity import refuse_beyond_memory
from memgan.lab.sessions.checkpoints import Checkpoint
from memgan.lab.sessions.diagnosis import Look, TrainingError, Watch, label_shares, memory_of
from memgan.lab.sessions.digest import digest_of
from memgan.lab.sessions.lock import held
from memgan.lab.sessions.progress import (
    MetricsLog,
    Progress,
    counted,
    evaluating,
    keep_foreign_log,
    recent_means,
    sheet,
    to_stderr,
    write_sheet,
)
from memgan.lab.sessions.scores import SCORES, ScoreLog
from memgan.lab.sessions.world import World
from memgan.presets import Settings
from memgan.runs import (
    CHECKPOINTS,
    HISTORY,
    MODEL,
    OLD_FAKES,
    SETTINGS,
    load_weights,
    saved_checkpoints,
    serialised,
    step_of,
    without_compiled_names,
    write_run,
)
from memgan.training import Step, StepNumbers, Trainer, prepare

__all__ = ["Interrupted", "Session", "SessionOptions", "clear", "fastest_threads", "num_cores", "resume"]

MOMENTS = 10  # of training at which generated images are kept
IMAGES_OF_A_MOMENT = 64
LOOK_EVERY = 50  # steps; a look waits for a GPU
SAVE_EVERY = 500  # steps between checkpoints, unless they would take more than
SAVE_SHARE = 0.01  # of the time
THREADED = 2**21  # weights from which several threads of a CPU can pay
HANG_UP = getattr(signal, "SIGHUP", None)  # Windows has none
MADE_BY_TRAINING = (CHECKPOINTS, "samples", OLD_FAKES, SCORES, SETTINGS, MODEL, HISTORY)
TRIES = 4  # steps for each number of threads that is tried; the first of them is not timed


@dataclass(frozen=True)
class SessionOptions:
    """What a session does beside training; none of it changes the run."""

    checkpoint_every: int | None = None  # steps; None: every 500, but in at most 1 % of the time
    keep: int = 3  # checkpoints
    sample_every: int = 0  # steps; 0: never
    log_dir: Path | None = None
    evaluate_every: int = 0  # steps between two measurements by `score` of a `Session`; 0: never
    best: str = "inception_score"  # the score whose best checkpoint is kept
    lower_is_better: bool = False  # of that score
    other_data: bool = False  # whether a run may go on with other images than it was begun with
    stops: bool = True  # where a diagnosis says that more steps cannot mend it; else only where numbers are not finite

    def __post_init__(self) -> None:
        if self.checkpoint_every is not None and self.checkpoint_every < 1:
            raise ValueError(f"checkpoints need at least a step between them, got {self.checkpoint_every}")
        if self.keep < 1:
            raise ValueError(f"expected to keep at least one checkpoint, got keep = {self.keep}")
        if self.sample_every < 0:
            raise ValueError(f"sample_every must be at least 0, got {self.sample_every}")
        if self.evaluate_every < 0:
            raise ValueError(f"evaluate_every must be at least 0, got {self.evaluate_every}")


class Interrupted(Exception):  # noqa: N818 - not an error
    """A signal ended the session, after a checkpoint of its last step."""

    def __init__(self, signal_number: int, step: int, checkpoint: Path) -> None:
        super().__init__(f"stopped after step {step} ({signal.Signals(signal_number).name}), kept in {checkpoint}")
        self.exit_code = 128 + signal_number


class Session:
    """One sitting of a run: from its start, or from the checkpoint `earlier`, to its end or to an interruption.

        Session(folder, settings, data, seed=0, device="cuda").run()

    The model is built from `seed`, so a session changes PyTorch's random state and number of threads. On a CPU a run
    that was resumed is bitwise the run that was not broken off. `init` is a model whose weights and memory the run
    begins with, and `init_name` says where it is from. `score` measures the model every `options.evaluate_every` steps,
    and must leave the random state as it is. The ranks of a `world` train one model together, each with a session of
    its own, and the first one writes. Raises ValueError where `earlier` does not fit, and for what does not fit
    into the memory of the machine.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        data: ImageData,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        threads: int | None = None,
        options: SessionOptions | None = None,
        earlier: Checkpoint | None = None,
        init: AdversarialModel | None = None,
        init_name: str = "",
        score: Callable[[AdversarialModel], dict[str, float]] | None = None,
        world: World | None = None,
    ) -> None:
        self.folder = folder
        self._world = world
        self._writes = world is None or world.is_first
        self.settings = settings
        self.options = options or SessionOptions()
        self.seed = earlier.seed if earlier else seed
        self.device = torch.device(device)
        self.init_name = earlier.init if earlier else init_name
        self._score = score
        self._data = _described(data)
        self._digest = digest_of(data)
        refuse_beyond_memory(settings, self.device)
        data = placed(data, self.device)
        prepare(self.seed)
        gan = build_model(settings, self.device)
        if init is not None and earlier is None:
            _begin_with(gan, init, init_name)
        if threads is None:
            threads = _threads_of(earlier) if earlier else fastest_threads(gan, data, settings)
        if world is not None:
            threads = world.gathered(threads)[0]  # with other numbers of threads, sums would be rounded otherwise
        self.threads = threads
        torch.set_num_threads(threads)
        self.trainer = Trainer(gan, data, settings.training, process_group=world.group if world else None)
        self.seconds = 0.0
        self._history: list[list[float]] = []
        self._pending: list[Step] = []  # not yet in the history: a look at their numbers waits for a GPU
        self._old_fakes = torch.zeros(
            0, IMAGES_OF_A_MOMENT, *settings.networks.image_shape, dtype=torch.uint8, device="cpu"
        )
        self._old_steps = torch.zeros(0, dtype=torch.int64, device="cpu")
        self._watch = Watch(gan, settings)
        self._last_save = 0.0  # when it ended
        self._save_took = 0.0  # seconds
        if earlier:
            self._go_on_from(earlier)
        kept = [step_of(path) for path in saved_checkpoints(folder)]
        self._scores = ScoreLog(
            folder / SCORES,
            self.trainer.number,
            best=self.options.best,
            lower_is_better=self.options.lower_is_better,
            kept=kept,
        )

    @property
    def gan(self) -> AdversarialModel:
        return self.trainer.gan

    @property
    def history(self) -> list[list[float]]:
        """[loss D, loss G, D(real), D(generated)] of every step so far."""
        if self._pending:
            rows = [torch.stack(step[1:]) for step in self._pending]
            self._history += torch.stack(rows).tolist()
            self._pending.clear()
        return self._history

    @property
    def best_step(self) -> int | None:
        """The step with the best score so far, whose checkpoint is kept; None where nothing was measured."""
        best = self._scores.best
        return None if best is None else best["step"]

    @property
    def best_score(self) -> float:
        """The score at `best_step`; NaN where nothing was measured."""
        best = self._scores.best
        return math.nan if best is None else best[self.options.best]

    def run(self, *, overwrite: bool = False) -> None:
        """Train to the last step and write the run; with `overwrite`, in the place of what an earlier one left.

        Raises Interrupted at SIGINT, SIGTERM and SIGHUP, when the step is done and kept; TrainingError, with its
        diagnosis, where training has failed; OSError where something cannot be written. The last checkpoint is there
        each time. Raises ValueError, before anything is written, where another training is at work in the folder.
        """
        if not self._writes:
            self._run(overwrite=overwrite)
            return
        with held(self.folder):
            self._run(overwrite=overwrite)

    def _run(self, *, overwrite: bool = False) -> None:
        total = self.settings.training.steps
        first = self.trainer.number
        if not overwrite:
            self._refuse_checkpoints_beyond_the_end()
            if self.options.log_dir and self._writes:
                keep_foreign_log(self.options.log_dir, self.history)
        log = MetricsLog(self.options.log_dir, first) if self.options.log_dir and self._writes else None
        if overwrite and self._writes:  # only now, when all else that could fail before the first step has not
            clear(self.folder)
        progress = Progress(first, total, self._introduction, shown=self._writes)
        try:
            self.save()
            with _caught_signals(once=self._world is None and parent_process() is None) as caught:
                for step in self._steps():
                    self._after(step, log)
                    progress.advance(step.number, self._description)
                    signal_number = self._signal_of_any_rank(caught)
                    if signal_number and step.number < total:
                        raise Interrupted(signal_number, step.number, self._save_for_all())
            if self._writes:
                self._finish()
            self._compare_replicas(progress)
            warning = self._watch.warning(self.history)
            if warning:
                progress.say(f"warning: {warning}")
        finally:
            progress.close()
            if log:
                log.close()

    def save(self) -> Path:
        """Write a checkpoint of this moment, if this is the rank that writes, and return its path."""
        if not self._writes:
            return checkpoints.path_of(self.folder, self.trainer.number)
        started = time.perf_counter()
        contents = Checkpoint(
            settings=self.settings,
            seed=self.seed,
            device=self.device.type,
            threads=self.threads,
            seconds=self.seconds,
            trainer=self.trainer.state_dict(),
            history=torch.tensor(self.history, dtype=torch.float32, device="cpu").reshape(-1, len(StepNumbers._fields)),
            old_fakes=self._old_fakes,
            old_steps=self._old_steps,
            data=self._digest,
            init=self.init_name,
            looks=torch.tensor(self._watch.looks, dtype=torch.double, device="cpu").reshape(-1, len(Look._fields)),
        )
        try:
            path = checkpoints.save(self.folder, contents, self.options.keep, spare=self.best_step)
        except FloatingPointError as error:
            raise self._failed(error) from error
        except OSError as error:
            raise OSError(f"no checkpoint of step {contents.number}: {error}{self._last_kept()}") from error
        self._last_save = time.perf_counter()
        self._save_took = self._last_save - started
        return path

    def _refuse_checkpoints_beyond_the_end(self) -> None:
        """ValueError, before a step is done, for what would make the finished run look as if it were not finished."""
        total = self.settings.training.steps
        beyond = [str(path) for path in saved_checkpoints(self.folder) if step_of(path) > total]
        if beyond:
            raise ValueError(f"delete first what is beyond the {total} steps of this run: {', '.join(beyond)}")

    # ---------------------------------------------------------------- several ranks

    def _signal_of_any_rank(self, caught: list[int]) -> int:
        """The signal that this process has caught, or another rank has: all ranks stop after the same step. 0: none."""
        own = caught[0] if caught else 0
        return own if self._world is None else self._world.largest(own)

    def _save_for_all(self) -> Path:
        """Write a checkpoint; no rank goes on, and perhaps ends, before it is written."""
        path = self.save()
        if self._world is not None:
            self._world.wait()
        return path

    def _compare_replicas(self, progress: Progress) -> None:
        """Warn where the ranks' memories differ, as they can where their processors round differently."""
        memory = memory_of(self.gan)
        if self._world is None or memory is None:
            return
        if len(set(self._world.gathered(checksum(memory)))) > 1:
            progress.say(
                "warning: the ranks' memories have come to differ, so the processors round differently; the run holds "
                "the model of the first rank. Use machines of one kind"
            )

    # ---------------------------------------------------------------- parts

    def _go_on_from(self, earlier: Checkpoint) -> None:
        _check_same_run(earlier, self.settings)
        if earlier.device != self.device.type:
            raise ValueError(f"the run was begun on {earlier.device}, it cannot go on on {self.device.type}")
        images = earlier.old_fakes
        if images.shape[1:] != self._old_fakes.shape[1:] or images.dtype != torch.uint8:
            raise ValueError(
                f"old fakes have shape {list(images.shape)}, expected [..., {IMAGES_OF_A_MOMENT}, C, H, W] bytes"
            )
        if earlier.looks.ndim != 2 or earlier.looks.shape[1] != len(Look._fields):
            raise ValueError(f"looks have shape {list(earlier.looks.shape)}, expected [..., {len(Look._fields)}]")
        if not self.options.other_data:
            _check_same_data(earlier, self._digest, num_images=self._data.images)
        checkpoints.restore(self.trainer, earlier, other_data=self.options.other_data)
        self._history = earlier.history.tolist()
        self.seconds = earlier.seconds
        kept = self._moments_to_keep(earlier)
        self._old_fakes = images[kept]
        self._old_steps = earlier.old_steps[kept]
        self._watch.looks = [Look(int(step), real, in_use) for step, real, in_use in earlier.looks.tolist()]

    def _steps(self) -> Iterator[Step]:
        """The trainer's steps, timed, with an explanation where one fails."""
        steps = iter(self.trainer)
        while True:
            started = time.perf_counter()
            try:
                step = next(steps, None)
            except (FloatingPointError, ValueError) as error:
                raise self._failed(error) from error
            except RuntimeError as error:
                if self._world is None:
                    raise
                raise ConnectionError(self._world.lost(error) + self._last_kept()) from error
            if step is None:
                return
            self.seconds += time.perf_counter() - started
            self._pending.append(step)
            yield step

    def _failed(self, error: Exception) -> TrainingError:
        return TrainingError(self._watch.explained(error, self.history).diagnosis, self._last_kept())

    def _last_kept(self) -> str:
        kept = saved_checkpoints(self.folder)
        return f". The last checkpoint is {kept[-1]}" if kept else ""

    def _after(self, step: Step, log: MetricsLog | None) -> None:
        """What is due after a step."""
        number = step.number
        is_last = number == self.settings.training.steps
        if number % LOOK_EVERY == 0 or is_last:
            self._look()
            if log:
                log.write(number, self._metrics())
        if self._is_moment(number):
            self._keep_old_fakes(number)
        if self._writes and self.options.sample_every and (number % self.options.sample_every == 0 or is_last):
            self._write_samples(number, log)
        is_best = False
        if self.options.evaluate_every and (number % self.options.evaluate_every == 0 or is_last):
            is_best = self._measure(number, log)
        if is_best or is_last or self._save_is_due(number):
            self.save()

    def _look(self) -> None:
        """Raises TrainingError where training has failed."""
        try:
            self._watch.look(self.history, only_finite=not self.options.stops)
        except FloatingPointError as error:
            raise self._failed(error) from error

    def _is_moment(self, number: int) -> bool:
        """Whether one of the ten moments comes with this step: moment i is the first step at i/10 of all or later."""
        total = self.settings.training.steps
        moments_by_now = number * MOMENTS // total
        moments_before = (number - 1) * MOMENTS // total
        return moments_by_now > moments_before

    def _moments_to_keep(self, earlier: Checkpoint) -> list[int]:
        """Which of its moments a run keeps that now has another length: for each of the new ones, the nearest."""
        there = earlier.old_steps
        if earlier.settings.training.steps == self.settings.training.steps or len(there) == 0:
            return list(range(len(there)))
        moments = [step for step in range(1, earlier.number + 1) if self._is_moment(step)]
        return sorted({int((there - moment).abs().argmin()) for moment in moments})

    def _measure(self, number: int, log: MetricsLog | None) -> bool:
        """Have the model scored and write it down; returns whether it is the best so far."""
        if self._score is None or not self._writes:
            return False
        scores = self._score(self.gan)
        torch.set_num_threads(self.threads)  # whatever the measurement needed
        self._scores.add(number, scores)
        if log:
            log.write_scores(number, scores)
        return self.best_step == number

    def _write_samples(self, number: int, log: MetricsLog | None) -> None:
        images = sheet(self.gan, self.seed)
        write_sheet(self.folder / "samples" / f"step-{number:08}.png", images)
        if log:
            log.write_sheet(number, images)

    def _save_is_due(self, number: int) -> bool:
        if self.options.checkpoint_every:
            return number % self.options.checkpoint_every == 0
        since_last_save = time.perf_counter() - self._last_save
        return number % SAVE_EVERY == 0 and self._save_took <= SAVE_SHARE * since_last_save

    @torch.no_grad()
    def _keep_old_fakes(self, number: int) -> None:
        draw = torch.Generator(self.device).manual_seed(number)
        with evaluating(self.gan):
            images = self.gan.generate(IMAGES_OF_A_MOMENT, generator=draw).images
        self._old_fakes = torch.cat([self._old_fakes, as_bytes(images).cpu().unsqueeze(0)])
        self._old_steps = torch.cat([self._old_steps, torch.tensor([number], device="cpu")])

    def _metrics(self) -> dict[str, float]:
        """Means of the last steps, and how the memory is."""
        metrics = recent_means(self.history)
        metrics["slots_in_use"] = float(self.gan.slots_in_use())
        memory = memory_of(self.gan)
        if memory is not None:
            metrics["real_slots"], metrics["real_histogram"] = label_shares(memory)
        metrics["generator_lr"] = float(self.trainer.optimisers.generator.param_groups[0]["lr"])
        metrics["seconds"] = self.seconds
        return metrics

    def _description(self) -> str:
        loss_d, loss_g, real, generated = self.history[-1]
        return (
            f"loss D {loss_d:.2f} G {loss_g:.2f}, D(real) {real:.2f} D(generated) {generated:.2f}, "
            f"{float(self.gan.slots_in_use()):.0f} slots in use"
        )

    def _introduction(self) -> str:
        """What is trained, on what and with what."""
        channels, height, width = self.settings.networks.image_shape
        sizes = parameters(self.gan)
        weights = sizes["inference"] + sizes["generator"]
        memory = memory_of(self.gan)
        slots = "" if memory is None else f" and {memory.num_slots:,} slots"
        threads = f", {counted(self.threads, 'thread')}" if self.device.type == "cpu" else ""
        classes = f" in {self._data.classes} classes" if self._data.classes > 1 else ""
        return (
            f"training a {self.settings.model} with {weights:,} weights{slots}, on {self._data.images:,} "
            f"images{classes} of {width} x {height} pixels in {counted(channels, 'channel')}; {self.device}{threads}; "
            f"{counted(self.settings.training.steps, 'step')}"
        )

    def _finish(self) -> None:
        with written_whole(self.folder / OLD_FAKES) as path:
            path.write_bytes(serialised({"images": self._old_fakes, "steps": self._old_steps}))
        columns = [list(column) for column in zip(*self.history, strict=True)]
        history: dict[str, Any] = dict(zip(StepNumbers._fields, columns, strict=True))
        history["seed"] = self.seed
        history["device"] = str(self.device)
        history["threads"] = self.threads
        history["seconds"] = self.seconds
        history["data"] = self._digest
        if self.init_name:
            history["init"] = self.init_name
        write_run(self.folder, self.gan, self.settings, history)


def resume(folder: Path, settings: Settings, data: ImageData, **arguments: Any) -> Session:
    """The session that goes on from the last checkpoint in `folder`, or, where there is none, begins the run.

    `arguments` are those of `Session`.
    """
    earlier = None
    if saved_checkpoints(folder):
        earlier = checkpoints.newest(folder, to_stderr)
    return Session(folder, settings, data, earlier=earlier, **arguments)


def clear(run: Path) -> None:
    """Delete what an earlier run left in the folder, and its evaluations, which are of a model that is gone.

    Nothing else is deleted, and nothing at all where there is no run.
    """
    if not (run / SETTINGS).exists() and not saved_checkpoints(run):
        return
    for path in run.glob("evaluation*.json"):
        if _is_evaluation(path):
            path.unlink()
            path.with_suffix(".png").unlink(missing_ok=True)
    for name in MADE_BY_TRAINING:
        path = run / name
        if not path.is_dir():
            path.unlink(missing_ok=True)
            continue
        for made in path.glob("step-*"):
            made.unlink()
        if not path.is_symlink() and not any(path.iterdir()):
            path.rmdir()


def _is_evaluation(path: Path) -> bool:
    """Whether a file holds what `memgan evaluate` says of a run; older versions did not write down what was asked."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return "asked" in content or "inception_score" in content
    except (OSError, ValueError, TypeError):
        return False


class _DataSize(NamedTuple):
    images: int
    classes: int


def _described(data: ImageData) -> _DataSize:
    return _DataSize(len(data.images), int(data.labels.unique().numel()))


def _begin_with(gan: AdversarialModel, init: AdversarialModel, name: str) -> None:
    """Give `gan` the weights and the memory of `init`. Raises ValueError where they do not fit."""
    own = gan.state_dict()
    weights = {}
    for key, tensor in without_compiled_names(init.state_dict()).items():
        if not key.endswith("_extra_state"):  # the memory's own settings may be others
            weights[key] = tensor
    expected = {key: tensor for key, tensor in own.items() if not key.endswith("_extra_state")}
    differ = sorted(weights.keys() ^ expected.keys())
    if differ:
        raise ValueError(f"the run cannot begin with {name}, which is another kind of model: it differs in {differ[0]}")
    for key, tensor in weights.items():
        if tensor.shape != expected[key].shape:
            raise ValueError(
                f"the run cannot begin with {name}: its {key} has shape {list(tensor.shape)}, expected "
                f"{list(expected[key].shape)}"
            )
    load_weights(gan, weights)


def _threads_of(earlier: Checkpoint) -> int:
    """The threads that the run had, or as many as there are cores here."""
    cores = num_cores()
    if earlier.threads <= cores:
        return earlier.threads
    to_stderr(
        f"the run had {earlier.threads} threads so far, this machine has {cores} cores: its sums may now differ in "
        "their last bits"
    )
    return cores


def _check_same_data(earlier: Checkpoint, digest: str, num_images: int) -> None:
    """ValueError where the images are not those that the run was begun with, wherever they lie."""
    were = len(earlier.trainer["order"])
    if were != num_images:
        change = f"there were {were:,} images, now there are {num_images:,}"
    elif earlier.data not in ("", digest):
        change = f"some of the {num_images:,} images are others"
    else:
        return
    raise ValueError(f"the run was begun with other images: {change}; --other-data goes on with them all the same")


def _check_same_run(earlier: Checkpoint, settings: Settings) -> None:
    """ValueError where `settings` are not those of the run so far, but for what may change.

    `cuda_graph` is only a faster way of the same step, `recount` comes after all steps, and a digest tells whether the
    images are the same, wherever they lie. A run may become longer at any time, and shorter until its rates begin to
    fall; until then, it is bitwise the run that was begun so.
    """
    ours = _flat(settings)
    theirs = _flat(earlier.settings)
    changed = {name for name in ours if ours[name] != theirs[name]} - {"training.cuda_graph", "training.recount"}
    if earlier.data:
        changed -= {"dataset"}
    reason = ""
    if changed == {"training.steps"}:
        if settings.training.steps > earlier.settings.training.steps or earlier.number <= _last_free(settings):
            return
        reason = (
            f"; it could become shorter until step {_last_free(settings)}, where the rates begin to fall, and it is at "
            f"{earlier.number}"
        )
    if changed:
        changes = ", ".join(f"{name} was {theirs[name]!r}, not {ours[name]!r}" for name in sorted(changed))
        raise ValueError(
            f"the run cannot go on with other settings: {changes}{reason}; --init begins another run with its weights"
        )


def _last_free(settings: Settings) -> int:
    """The last step that has the rates of the beginning."""
    return math.floor(settings.training.decay_from * settings.training.steps)


def _flat(settings: Settings) -> dict[str, Any]:
    """Every field by its full name: "dataset", "memory.num_slots" and so on."""
    flat = {}
    for name, value in asdict(settings).items():
        if isinstance(value, dict):
            for field, inner_value in value.items():
                flat[f"{name}.{field}"] = inner_value
        else:
            flat[name] = value
    return flat


def fastest_threads(gan: AdversarialModel, data: ImageData, settings: Settings) -> int:
    """With how many threads a step is fastest, tried on a copy: the model and the random state are as they were.

    For a small or slim model 1, untried: a run that takes another number another time would not be the same run.
    """
    num_weights = sum(weight.numel() for weight in gan.parameters())
    if gan.device.type != "cpu" or num_weights < THREADED:
        return 1
    candidates = _thread_numbers()
    seconds: dict[int, float] = {}
    with torch.random.fork_rng(devices=[]):
        training = replace(settings.training, steps=TRIES * len(candidates))
        steps = iter(Trainer(copy.deepcopy(gan), data, training))
        for threads in candidates:
            torch.set_num_threads(threads)
            times = []
            for _ in range(TRIES):
                started = time.perf_counter()
                next(steps)
                times.append(time.perf_counter() - started)
            seconds[threads] = min(times[1:])
    return min(candidates, key=lambda threads: seconds[threads])


def num_cores() -> int:
    """How many cores of the machine this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _thread_numbers() -> list[int]:
    """Powers of 2 up to the number of cores, and that number."""
    cores = num_cores()
    powers = {2**exponent for exponent in range(cores.bit_length())}
    return sorted(powers | {cores})


@contextmanager
def _caught_signals(*, once: bool) -> Iterator[list[int]]:
    """SIGINT, SIGTERM and SIGHUP are noted in the list, once; the second one interrupts at once.

    Not `once`, every further one is passed over: torchrun repeats for each rank what the terminal has sent already, and
    so does a study for each process that it has started.

    A terminal that is closed can send SIGHUP twice, so that a second one of these waits too. A signal that the process
    was started to ignore, as by nohup, stays ignored.
    """
    caught: list[int] = []

    def note(number: int, _: Any) -> None:
        if not caught:
            caught.append(number)
        elif once and number != HANG_UP:
            raise KeyboardInterrupt

    numbers = []
    if threading.current_thread() is threading.main_thread():  # only there may signals be handled
        numbers = [signal.SIGINT, signal.SIGTERM]
        if HANG_UP is not None:
            numbers.append(HANG_UP)
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, note)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
