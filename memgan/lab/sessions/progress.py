"""What one sees of a training run: a bar or lines, a log of numbers for machines, sheets of samples."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor
from tqdm.auto import tqdm

from memgan.files import written_whole
from memgan.gan import AdversarialModel
from memgan.plots import image_grid, tile
from memgan.training import StepNumbers

__all__ = [
    "METRICS",
    "MetricsLog",
    "Progress",
    "duration",
    "evaluating",
    "keep_foreign_log",
    "lines_up_to",
    "recent_means",
    "sheet",
    "to_stderr",
    "write_sheet",
]

METRICS = "metrics.jsonl"
AVERAGED = 50  # steps whose numbers a line of the log averages
BAR_EVERY = 20  # steps between two descriptions beside the bar: each asks the device
LINES = 10  # of progress where there is no terminal, at least
TIMED = 20  # steps after which one can tell how long the rest will take
SILENCE = 30.0  # seconds between two of them, at most
SHEET_ROWS = 10  # of a sheet of samples, a slot in each
SHEET_COLUMNS = 10  # images of each slot


def to_stderr(text: str) -> None:
    """Print a line on stderr, or nothing where that is missing, closed or on a full disk: no run depends on it."""
    if sys.stderr is None:  # as in a service, and under pythonw
        return
    with suppress(OSError, ValueError):  # ValueError: it is closed, or cannot show a character
        print(text, file=sys.stderr, flush=True)


class Progress:
    """A bar on a terminal; elsewhere lines: at each tenth of the steps, and not later than `SILENCE` seconds apart."""

    def __init__(self, done: int, total: int, introduction: Callable[[], str], *, shown: bool = True) -> None:
        """After `done` steps. `introduction` says what is trained, once it can be told how long that will take.

        Not `shown`, it stays silent: of several ranks one reports.
        """
        self._shown = shown
        self._done = done
        self._total = total
        self._introduction: Callable[[], str] | None = introduction
        self._started = time.perf_counter()
        self._last_line = self._started
        self._bar: tqdm | None = None
        if shown and _is_terminal(sys.stderr):
            self._bar = tqdm(initial=done, total=total, unit="step")

    def advance(self, number: int, describe: Callable[[], str]) -> None:
        """Step `number` is done. `describe` says how things are; it is asked only when it is shown."""
        if not self._shown:
            return
        is_last = number == self._total
        if number - self._done >= max(1, min(TIMED, self._total // LINES)):
            self._introduce(number)
        if self._bar is not None:
            with suppress(OSError, ValueError):  # the terminal is gone
                self._bar.update()
                if number % BAR_EVERY == 0 or is_last:
                    self._bar.set_postfix_str(describe())
            return
        is_tenth = number % max(1, self._total // LINES) == 0
        silent_for = time.perf_counter() - self._last_line
        if is_tenth or is_last or silent_for >= SILENCE:
            self._introduce(number)
            line = f"step {number}/{self._total}: {describe()}"
            if not is_last:
                line += f", {duration(self.seconds_left(number))} left"
            self.say(line)
            self._last_line = time.perf_counter()

    def _introduce(self, number: int) -> None:
        """Say, once, what is trained and how long that will take."""
        if self._introduction is not None:
            self.say(f"{self._introduction()}, {duration(self.seconds_left(number))} left")
            self._introduction = None

    def say(self, text: str) -> None:
        """A line of its own, beside the bar."""
        if not self._shown:
            return
        if self._bar is None:
            to_stderr(text)
            return
        with suppress(OSError, ValueError):
            tqdm.write(text, file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            with suppress(OSError, ValueError):
                self._bar.close()

    def seconds_left(self, number: int) -> float:
        """How long the steps after step `number` will take, as far as the steps so far tell."""
        seconds_per_step = (time.perf_counter() - self._started) / (number - self._done)
        return seconds_per_step * (self._total - number)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def duration(seconds: float) -> str:
    """Seconds as a reader would say them, such as "2 min 5 s"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours > 0:
        return f"{hours} h {minutes} min"
    if minutes > 0:
        return f"{minutes} min {seconds} s"
    return f"{seconds} s"


def counted(number: int, noun: str) -> str:
    """So many of something, such as "1 thread" and "2 threads"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


class MetricsLog:
    """A folder with metrics.jsonl, one JSON object a line, and TensorBoard's events of the same numbers."""

    def __init__(self, folder: Path, done: int) -> None:
        """Go on after `done` steps: what an earlier session logged beyond them is taken back.

        Where TensorBoard cannot write there are no events, and stderr says so.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / METRICS
        with written_whole(path) as unfinished:
            unfinished.write_text("".join(lines_up_to(path, done)), encoding="utf-8")
        self._lines = path.open("a", encoding="utf-8")
        self._events = _events_in(folder, done)

    def write(self, number: int, metrics: dict[str, float]) -> None:
        """Log the metrics of step `number`."""
        self._lines.write(json.dumps({"step": number, **metrics}) + "\n")
        self._lines.flush()
        self.write_scores(number, metrics)

    def write_scores(self, number: int, scores: dict[str, float]) -> None:
        """Show numbers in TensorBoard alone: their JSON lines stand elsewhere."""
        if self._events is not None:
            for name, value in scores.items():
                self._events.add_scalar(name, value, number)

    def write_sheet(self, number: int, images: Tensor) -> None:
        """Show the images of `sheet` in TensorBoard."""
        if self._events is None:
            return
        picture = tile(images, SHEET_COLUMNS)
        self._events.add_image("samples", picture, number, dataformats="HW" if picture.ndim == 2 else "HWC")

    def close(self) -> None:
        """Close both."""
        self._lines.close()
        if self._events is not None:
            self._events.close()


def _events_in(folder: Path, done: int) -> Any:
    """TensorBoard's writer; None where it is not installed, or cannot write into the folder because of its name."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        to_stderr(f"without TensorBoard there is {folder / METRICS} alone: pip install 'memgan[lab]' brings it")
        return None
    try:
        return SummaryWriter(str(folder), purge_step=done + 1)
    except UnicodeEncodeError:
        to_stderr(f"without TensorBoard there is {folder / METRICS} alone: the folder's name is not UTF-8")
        return None


def lines_up_to(path: Path, step: int) -> list[str]:
    """The lines of a log from step 1 up to a step, without one that a killed process left unfinished.

    Raises ValueError, with the path, where the file is no such log.
    """
    if step < 1 or not path.exists():  # a run that begins keeps nothing
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("}\n")]
    return [line for line in whole if _step_in(line, path) <= step]


def _step_in(line: str, path: Path) -> int:
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        step = None
    if type(step) is not int or step < 1:
        raise ValueError(f"{path} is no log of a run: expected a step in each line, got {line.strip()[:80]}")
    return step


def recent_means(history: list[list[float]]) -> dict[str, float]:
    """Means of the last steps of a `history`, whose rows hold the numbers of a step."""
    recent = torch.tensor(history[-AVERAGED:], dtype=torch.double, device="cpu")
    return dict(zip(StepNumbers._fields, recent.mean(dim=0).tolist(), strict=True))


def keep_foreign_log(folder: Path, history: list[list[float]]) -> None:
    """Keep the log in the folder from being cut where it is not known to be that of the run with this `history`.

    Raises ValueError where its first line has other losses. Where it begins after the steps so far, nothing can be
    compared: it is moved aside.
    """
    path = folder / METRICS
    lines = lines_up_to(path, sys.maxsize)
    if not lines:
        return
    first = json.loads(lines[0])
    if first["step"] > len(history):
        aside = path.with_name(f"before-{METRICS}")
        with aside.open("a", encoding="utf-8") as file:  # behind what was moved there before
            file.writelines(lines)
        path.unlink()
        to_stderr(f"{path} begins after step {len(history)}, at which this run goes on: it is in {aside} now")
        return
    expected = recent_means(history[: first["step"]])
    if any(first.get(name) != value for name, value in expected.items()):
        raise ValueError(f"{path} holds the log of another run: choose another --log-dir")


@contextmanager
def evaluating(gan: AdversarialModel) -> Iterator[None]:
    """The model in evaluation mode, where drawing images changes nothing in it; afterwards in the mode that it had."""
    was_training = gan.training
    gan.eval()
    try:
        yield
    finally:
        gan.train(was_training)


def sheet(gan: AdversarialModel, seed: int) -> Tensor:
    """A slot in each row, [SHEET_ROWS * SHEET_COLUMNS, C, H, W]; from `seed`: training's random state is as it was."""
    draw = torch.Generator(gan.device).manual_seed(seed)
    with evaluating(gan):
        images, _ = gan.sample_slots(SHEET_ROWS, SHEET_COLUMNS, generator=draw)
    return images.flatten(0, 1)


def write_sheet(path: Path, images: Tensor) -> None:
    """A picture of the images of `sheet`, whole or not at all."""
    figure = image_grid(images, SHEET_COLUMNS, column_label="noise z, drawn anew for each image")
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as unfinished:
        figure.savefig(unfinished, dpi=150, bbox_inches="tight", format="png")
