"""A training run in a folder: it leaves checkpoints behind, goes on from them, and ends cleanly when it has to.

RUN/checkpoints/step-XXXXXXXX.pt    the last few, to go on from
RUN/samples/step-XXXXXXXX.png       sheets of samples, where asked for
RUN/old_fakes.pt                    what the generator made at ten moments, for the forgetting measure
RUN/settings.json, model.pt, history.json    the run itself, when it is done (`memgan.runs`)
"""

import copy
import functools
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from memgan.data import ImageData
from memgan.gan import AdversarialModel
from memgan.lab.baselines.models import build_model
from memgan.lab.sessions import checkpoints
from memgan.lab.sessions.checkpoints import Checkpoint
from memgan.lab.sessions.diagnosis import Watch, label_shares, memory_of
from memgan.lab.sessions.progress import MetricsLog, Progress, evaluating, sheet, write_sheet
from memgan.presets import Settings
from memgan.runs import save_run, serialised, written_whole
from memgan.training import Step, StepNumbers, Trainer, prepare

__all__ = ["Interrupted", "Session", "SessionOptions", "fastest_threads", "resume"]

MOMENTS = 10  # of training at which generated images are kept
OLD_FAKES = 64  # images of each moment
SHEET_COLUMNS = 10
LOOK_EVERY = 50  # steps; a look waits for a GPU
SAVE_EVERY = 500  # steps between checkpoints, unless they would take more than
SAVE_SHARE = 0.01  # of the time
THREADED = 2**21  # weights from which several threads of a CPU can pay
TRIES = 4  # steps for each number of threads that is tried; the first of them is not timed


@dataclass(frozen=True)
class SessionOptions:
    """What a session does beside training; none of it changes the run."""

    checkpoint_every: int | None = None  # steps; None: every 500, but in at most 1 % of the time
    keep: int = 3  # checkpoints
    sample_every: int = 0  # steps; 0: never
    log_dir: Path | None = None
    stops: bool = True  # where a diagnosis says that more steps cannot mend it; else only where numbers are not finite

    def __post_init__(self) -> None:
        if self.checkpoint_every is not None and self.checkpoint_every < 1:
            raise ValueError(f"checkpoints need at least a step between them, got {self.checkpoint_every}")
        if self.keep < 1:
            raise ValueError(f"expected to keep at least one checkpoint, got keep = {self.keep}")
        if self.sample_every < 0:
            raise ValueError(f"sample_every must be at least 0, got {self.sample_every}")


class Interrupted(Exception):  # noqa: N818 - not an error
    """A signal ended the session, after a checkpoint of its last step."""

    def __init__(self, signal_number: int, step: int, checkpoint: Path) -> None:
        super().__init__(f"stopped after step {step} ({signal.Signals(signal_number).name}), kept in {checkpoint}")
        self.exit_code = 128 + signal_number


class Session:
    """One sitting of a run: from its start, or from the checkpoint `earlier`, to its end or to an interruption.

        Session(folder, settings, data, seed=0, device="cuda").run()

    The model is built from `seed`, so a session changes PyTorch's random state and number of threads. On a CPU a run
    that was resumed is bitwise the run that was not broken off. Raises ValueError where `earlier` does not fit.
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
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.options = options or SessionOptions()
        self.seed = earlier.seed if earlier else seed
        self.device = torch.device(device)
        data = data.to(self.device)
        prepare(self.seed)
        gan = build_model(settings, self.device)
        if threads is None:
            threads = earlier.threads if earlier else fastest_threads(gan, data, settings)
        self.threads = threads
        torch.set_num_threads(threads)
        self.trainer = Trainer(gan, data, settings.training)
        self.seconds = 0.0
        self._history: list[list[float]] = []
        self._pending: list[Step] = []  # not yet in the history: a look at their numbers waits for a GPU
        self._old_fakes = torch.zeros(0, OLD_FAKES, *settings.networks.image_shape, dtype=torch.uint8, device="cpu")
        self._old_steps = torch.zeros(0, dtype=torch.int64, device="cpu")
        self._watch = Watch(gan, settings)
        self._last_save = 0.0  # when it ended
        self._save_took = 0.0  # seconds
        if earlier:
            self._go_on_from(earlier)

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

    def run(self) -> None:
        """Train to the last step and write the run.

        Raises Interrupted at SIGINT and SIGTERM, when the step is done and kept; TrainingError, with its diagnosis,
        where training has failed; OSError where something cannot be written. The last checkpoint is there each time.
        """
        total = self.settings.training.steps
        progress = Progress(self.trainer.number, total)
        log = MetricsLog(self.options.log_dir, self.trainer.number) if self.options.log_dir else None
        try:
            self.save()
            with _caught_signals() as caught:
                for step in self._steps():
                    self._after(step, log)
                    progress.advance(step.number, self._description)
                    if caught and step.number < total:
                        raise Interrupted(caught[0], step.number, self.save())
            self._finish()
        finally:
            progress.close()
            if log:
                log.close()

    def save(self) -> Path:
        """Write a checkpoint of this moment, and return its path."""
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
        )
        try:
            path = checkpoints.save(self.folder, contents, self.options.keep)
        except FloatingPointError as error:
            raise self._failed(error) from error
        except OSError as error:
            raise OSError(f"no checkpoint of step {contents.number}: {error}{self._last_kept()}") from error
        self._last_save = time.perf_counter()
        self._save_took = self._last_save - started
        return path

    # ---------------------------------------------------------------- parts

    def _go_on_from(self, earlier: Checkpoint) -> None:
        _check_same_run(earlier, self.settings)
        if earlier.device != self.device.type:
            raise ValueError(f"the run was begun on {earlier.device}, it cannot go on on {self.device.type}")
        images = earlier.old_fakes
        if images.shape[1:] != self._old_fakes.shape[1:] or images.dtype != torch.uint8:
            raise ValueError(f"old fakes have shape {list(images.shape)}, expected [..., {OLD_FAKES}, C, H, W] bytes")
        checkpoints.restore(self.trainer, earlier)
        self._history = earlier.history.tolist()
        self.seconds = earlier.seconds
        self._old_fakes = images
        self._old_steps = earlier.old_steps

    def _steps(self) -> Iterator[Step]:
        """The trainer's steps, timed, with an explanation where one fails."""
        steps = iter(self.trainer)
        while True:
            started = time.perf_counter()
            try:
                step = next(steps, None)
            except (FloatingPointError, ValueError) as error:
                raise self._failed(error) from error
            if step is None:
                return
            self.seconds += time.perf_counter() - started
            self._pending.append(step)
            yield step

    def _failed(self, error: Exception) -> Exception:
        explained = self._watch.explained(error, self.history)
        return type(explained)(f"{explained}{self._last_kept()}")

    def _last_kept(self) -> str:
        kept = checkpoints.saved(self.folder)
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
        if self.options.sample_every and (number % self.options.sample_every == 0 or is_last):
            self._write_samples(number, log)
        if is_last or self._save_is_due(number):
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

    def _write_samples(self, number: int, log: MetricsLog | None) -> None:
        images = sheet(self.gan, self.seed)
        write_sheet(self.folder / "samples" / f"step-{number:08}.png", images, SHEET_COLUMNS)
        if log:
            log.write_images(number, images, SHEET_COLUMNS)

    def _save_is_due(self, number: int) -> bool:
        if self.options.checkpoint_every:
            return number % self.options.checkpoint_every == 0
        since_last_save = time.perf_counter() - self._last_save
        return number % SAVE_EVERY == 0 and self._save_took <= SAVE_SHARE * since_last_save

    @torch.no_grad()
    def _keep_old_fakes(self, number: int) -> None:
        draw = torch.Generator(self.device).manual_seed(number)
        with evaluating(self.gan):
            images = self.gan.generate(OLD_FAKES, generator=draw).images
        as_bytes = ((images + 1) * 127.5).round().clamp(0, 255).byte().cpu()
        self._old_fakes = torch.cat([self._old_fakes, as_bytes.unsqueeze(0)])
        self._old_steps = torch.cat([self._old_steps, torch.tensor([number], device="cpu")])

    def _metrics(self) -> dict[str, float]:
        """Means of the last steps, and how the memory is."""
        recent = torch.tensor(self.history[-LOOK_EVERY:], dtype=torch.double, device="cpu")
        metrics = dict(zip(StepNumbers._fields, recent.mean(dim=0).tolist(), strict=True))
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

    def _finish(self) -> None:
        with written_whole(self.folder / "old_fakes.pt") as path:
            path.write_bytes(serialised({"images": self._old_fakes, "steps": self._old_steps}))
        columns = [list(column) for column in zip(*self.history, strict=True)]
        history: dict[str, Any] = dict(zip(StepNumbers._fields, columns, strict=True))
        history["seed"] = self.seed
        history["device"] = str(self.device)
        history["threads"] = self.threads
        history["seconds"] = self.seconds
        save_run(self.folder, self.gan, self.settings, history)


def resume(folder: Path, settings: Settings, data: ImageData, **arguments: Any) -> Session:
    """The session that goes on from the last checkpoint in `folder`, or, where there is none, begins the run.

    `arguments` are those of `Session`.
    """
    earlier = None
    if checkpoints.saved(folder):
        earlier = checkpoints.newest(folder, say=functools.partial(print, file=sys.stderr))
    return Session(folder, settings, data, earlier=earlier, **arguments)


def _check_same_run(earlier: Checkpoint, settings: Settings) -> None:
    """ValueError where `settings` are not those of the run so far, but for what changes no number.

    `cuda_graph` is only a faster way of the same step. A run may become longer or shorter until its rates begin to
    fall: up to there both are bitwise the same run.
    """
    ours = _flat(settings)
    theirs = _flat(earlier.settings)
    changed = {name for name in ours if ours[name] != theirs[name]} - {"training.cuda_graph"}
    reason = ""
    if changed == {"training.steps"}:
        fewer_steps = min(settings.training.steps, earlier.settings.training.steps)
        last_free = math.floor(settings.training.decay_from * fewer_steps)  # with the rates that it began with
        if earlier.number <= last_free:
            return
        reason = (
            f"; that could be changed until step {last_free}, where the rates begin to fall, and it is at "
            f"{earlier.number}"
        )
    if changed:
        changes = ", ".join(f"{name} was {theirs[name]!r}, not {ours[name]!r}" for name in sorted(changed))
        raise ValueError(f"the run cannot go on with other settings: {changes}{reason}; begin another run")


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


def _thread_numbers() -> list[int]:
    """Powers of 2 up to the number of cores, and that number."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    powers = {2**exponent for exponent in range(cores.bit_length())}
    return sorted(powers | {cores})


@contextmanager
def _caught_signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM are noted in the list, once; the second one interrupts at once."""
    caught: list[int] = []

    def note(number: int, _: Any) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    numbers = []
    if threading.current_thread() is threading.main_thread():  # only there may signals be handled
        numbers = [signal.SIGINT, signal.SIGTERM]
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
