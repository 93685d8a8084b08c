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
from memgan.gan import MemoryGAN
from memgan.lab.baselines.models import build_model
from memgan.lab.sessions import checkpoints
from memgan.lab.sessions.checkpoints import Checkpoint
from memgan.lab.sessions.diagnosis import Watch, label_shares, slots_in_use
from memgan.lab.sessions.progress import MetricsLog, Progress, resting, sheet, write_sheet
from memgan.presets import Settings
from memgan.runs import save_run, serialised, written_whole
from memgan.training import Step, Trainer, prepare

__all__ = ["Habits", "Interrupted", "Session", "fastest_threads", "take_up"]

MARKS, OLD_FAKES = 10, 64  # moments of training that are kept, and how many images of each
LOOK_EVERY = 50  # steps; a look waits for a GPU
SAVE_EVERY = 500  # steps between checkpoints, unless they would take more than
SAVE_SHARE = 0.01  # of the time
THREADED = 2**21  # weights from which several threads of a CPU can pay


@dataclass(frozen=True)
class Habits:
    """What a session does beside training; none of it changes the run."""

    checkpoint_every: int | None = None  # steps; None: every 500, but in at most 1 % of the time
    keep: int = 3  # checkpoints
    sample_every: int = 0  # steps; 0: never
    log_dir: Path | None = None
    stops: bool = True  # where a diagnosis says that training cannot come to anything; else only at NaN

    def __post_init__(self) -> None:
        if self.checkpoint_every is not None and self.checkpoint_every < 1:
            raise ValueError(f"checkpoints need at least a step between them, got {self.checkpoint_every}")
        if self.keep < 1 or self.sample_every < 0:
            raise ValueError(f"expected keep >= 1 and sample_every >= 0, got {self.keep} and {self.sample_every}")


class Interrupted(Exception):  # noqa: N818 - not an error
    """A signal ended the session, after a checkpoint of its last step."""

    def __init__(self, signal_number: int, step: int, checkpoint: Path) -> None:
        super().__init__(f"stopped after step {step} ({signal.Signals(signal_number).name}), kept in {checkpoint}")
        self.exit_code = 128 + signal_number


class Session:
    """One sitting of a run: from its start, or from `earlier`, to its end or to an interruption.

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
        habits: Habits | None = None,
        earlier: Checkpoint | None = None,
    ) -> None:
        self.folder, self.settings, self.habits = folder, settings, habits or Habits()
        self.seed, self.device = earlier.seed if earlier else seed, torch.device(device)
        data = data.to(self.device)
        prepare(self.seed)
        gan = build_model(settings, self.device)
        self.threads = threads or (earlier.threads if earlier else fastest_threads(gan, data, settings))
        torch.set_num_threads(self.threads)
        self.trainer = Trainer(gan, data, settings.training)
        self.seconds = 0.0
        self._history: list[list[float]] = []
        self._pending: list[Step] = []  # not yet in the history: a look at their numbers waits for a GPU
        self._old_fakes = torch.zeros(0, OLD_FAKES, *gan.image_shape, dtype=torch.uint8)
        self._old_steps = torch.zeros(0, dtype=torch.int64)
        self._watch, self._last_save, self._save_took = Watch(gan, settings), 0.0, 0.0
        if earlier:
            self._take_up(earlier)

    @property
    def gan(self) -> MemoryGAN:
        return self.trainer.gan

    @property
    def history(self) -> list[list[float]]:
        """[loss D, loss G, D(real), D(generated)] of every step so far."""
        if self._pending:
            self._history += torch.stack([torch.stack(step[1:]) for step in self._pending]).tolist()
            self._pending.clear()
        return self._history

    def run(self) -> None:
        """Train to the last step and write the run.

        Raises Interrupted at SIGINT and SIGTERM, when the step is done and kept; TrainingError, with its diagnosis,
        where training has failed; OSError where something cannot be written. The last checkpoint is there each time.
        """
        total = self.settings.training.steps
        progress = Progress(self.trainer.number, total)
        log = MetricsLog(self.habits.log_dir, self.trainer.number) if self.habits.log_dir else None
        try:
            self.save()
            with _caught_signals() as caught:
                for step in self._steps():
                    self._after(step, log)
                    progress.advance(step.number, self._described)
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
            history=torch.tensor(self.history).reshape(-1, 4),
            old_fakes=self._old_fakes,
            old_steps=self._old_steps,
        )
        try:
            path = checkpoints.save(self.folder, contents, self.habits.keep)
        except FloatingPointError as error:
            raise self._failed(error) from error
        except OSError as error:
            raise OSError(f"no checkpoint of step {contents.number}: {error}{self._last_kept()}") from error
        self._last_save = time.perf_counter()
        self._save_took = self._last_save - started
        return path

    # ---------------------------------------------------------------- parts

    def _take_up(self, earlier: Checkpoint) -> None:
        _check_same_run(earlier, self.settings)
        if earlier.device != self.device.type:
            raise ValueError(f"the run was begun on {earlier.device}, it cannot go on on {self.device.type}")
        images = earlier.old_fakes
        if images.shape[1:] != self._old_fakes.shape[1:] or images.dtype != torch.uint8:
            raise ValueError(f"old fakes have shape {list(images.shape)}, expected [..., {OLD_FAKES}, C, H, W] bytes")
        checkpoints.restore(self.trainer, earlier)
        self._history, self.seconds = earlier.history.tolist(), earlier.seconds
        self._old_fakes, self._old_steps = images, earlier.old_steps

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
        number, total = step.number, self.settings.training.steps
        last = number == total
        if number % LOOK_EVERY == 0 or last:
            try:
                self._watch.look(self.history, only_finite=not self.habits.stops)
            except FloatingPointError as error:
                raise self._failed(error) from error
            if log:
                log.write(number, self._metrics())
        if (number * MARKS) // total > ((number - 1) * MARKS) // total:
            self._keep_old_fakes(number)
        if self.habits.sample_every and (number % self.habits.sample_every == 0 or last):
            images = sheet(self.gan, self.seed)
            write_sheet(self.folder / "samples" / f"step-{number:08}.png", images, columns=10)
            if log:
                log.write_images(number, images, columns=10)
        if last or self._save_is_due(number):
            self.save()

    def _save_is_due(self, number: int) -> bool:
        if self.habits.checkpoint_every:
            return number % self.habits.checkpoint_every == 0
        rested = time.perf_counter() - self._last_save
        return number % SAVE_EVERY == 0 and self._save_took <= SAVE_SHARE * rested

    @torch.no_grad()
    def _keep_old_fakes(self, number: int) -> None:
        draw = torch.Generator(self.device).manual_seed(number)
        with resting(self.gan):
            images = self.gan.generate(OLD_FAKES, generator=draw).images
        images = ((images + 1) * 127.5).round().clamp(0, 255).byte().cpu().unsqueeze(0)
        self._old_fakes = torch.cat([self._old_fakes, images])
        self._old_steps = torch.cat([self._old_steps, torch.tensor([number])])

    def _metrics(self) -> dict[str, float]:
        recent = self.history[-LOOK_EVERY:]
        means = [sum(column) / len(recent) for column in zip(*recent, strict=True)]
        share, mass = label_shares(self.gan)
        (group,) = self.trainer.optimisers.generator.param_groups
        return {
            **dict(zip(Step._fields[1:], means, strict=True)),
            "slots_in_use": slots_in_use(self.gan),
            "real_slots": share,
            "real_histogram": mass,
            "generator_lr": float(group["lr"]),
            "seconds": self.seconds,
        }

    def _described(self) -> str:
        loss_d, loss_g, real, generated = self.history[-1]
        numbers = f"loss D {loss_d:.2f} G {loss_g:.2f}, D(real) {real:.2f} D(generated) {generated:.2f}"
        return f"{numbers}, {slots_in_use(self.gan):.0f} slots in use"

    def _finish(self) -> None:
        with written_whole(self.folder / "old_fakes.pt") as path:
            path.write_bytes(serialised({"images": self._old_fakes, "steps": self._old_steps}))
        columns = zip(*self.history, strict=True)
        history: dict[str, Any] = {name: list(c) for name, c in zip(Step._fields[1:], columns, strict=True)}
        how = {"seed": self.seed, "device": str(self.device), "threads": self.threads, "seconds": self.seconds}
        save_run(self.folder, self.gan, self.settings, {**history, **how})


def take_up(folder: Path, settings: Settings, data: ImageData, **how: Any) -> Session:
    """The session that goes on from the last checkpoint in `folder`, or, where there is none, begins the run."""
    say = functools.partial(print, file=sys.stderr)
    earlier = checkpoints.newest(folder, say) if checkpoints.saved(folder) else None
    return Session(folder, settings, data, earlier=earlier, **how)


def _check_same_run(earlier: Checkpoint, settings: Settings) -> None:
    """ValueError where `settings` are not those of the run so far, but for steps while the rates do not depend on them.

    A run may become longer or shorter until its rates begin to fall: up to there both are bitwise the same run.
    """
    ours, theirs = (_flat(asdict(s)) for s in (settings, earlier.settings))
    changed = {name for name in ours if ours[name] != theirs[name]}
    why = ""
    if changed == {"training.steps"}:
        fewer = min(settings.training.steps, earlier.settings.training.steps)
        last = math.floor(settings.training.decay_from * fewer)  # with the rates that it began with
        if earlier.number <= last:
            return
        why = f"; that could be changed until step {last}, where the rates begin to fall, and it is at {earlier.number}"
    if changed:
        what = ", ".join(f"{name} was {theirs[name]!r}, not {ours[name]!r}" for name in sorted(changed))
        raise ValueError(f"the run cannot go on with other settings: {what}{why}; begin another run")


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    parts = {name: value if isinstance(value, dict) else {"": value} for name, value in settings.items()}
    return {f"{part}.{name}".rstrip("."): value for part, fields in parts.items() for name, value in fields.items()}


def fastest_threads(gan: MemoryGAN, data: ImageData, settings: Settings) -> int:
    """With how many threads a step is fastest, tried on a copy: the model and the random state are as they were.

    For a small or slim model 1, untried: a run that takes another number another time would not be the same run.
    """
    if gan.memory.keys.is_cuda or sum(weight.numel() for weight in gan.parameters()) < THREADED:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    candidates = sorted({*(2**power for power in range(cores.bit_length())), cores})
    seconds: dict[int, float] = {}
    with torch.random.fork_rng(devices=[]):
        steps = iter(Trainer(copy.deepcopy(gan), data, replace(settings.training, steps=4 * len(candidates))))
        for threads in candidates:
            torch.set_num_threads(threads)
            times = []
            for _ in range(4):
                started = time.perf_counter()
                next(steps)
                times.append(time.perf_counter() - started)
            seconds[threads] = min(times[1:])
    return min(candidates, key=lambda threads: seconds[threads])


@contextmanager
def _caught_signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM are noted in the list, once; the second one interrupts at once."""
    caught: list[int] = []

    def note(number: int, _: Any) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    numbers = [signal.SIGINT, signal.SIGTERM] if threading.current_thread() is threading.main_thread() else []
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
