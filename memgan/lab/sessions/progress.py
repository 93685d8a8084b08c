"""What one sees of a training run: a bar or lines, a log of numbers for machines, sheets of samples."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from memgan.extras import required
from memgan.gan import AdversarialModel
from memgan.plots import image_grid, tile
from memgan.runs import written_whole

__all__ = ["METRICS", "MetricsLog", "Progress", "evaluating", "sheet", "write_sheet"]

METRICS = "metrics.jsonl"
BAR_EVERY = 20  # steps between two descriptions beside the bar: each asks the device
LINES = 10  # of progress where there is no terminal


class Progress:
    """A bar on a terminal; elsewhere a line for each tenth of the steps."""

    def __init__(self, done: int, total: int) -> None:
        self._done = done
        self._total = total
        self._started = time.perf_counter()
        self._bar: tqdm | None = None
        if sys.stderr.isatty():
            self._bar = tqdm(initial=done, total=total, unit="step")

    def advance(self, number: int, describe: Callable[[], str]) -> None:
        """Step `number` is done. `describe` says how things are; it is asked only when it is shown."""
        is_last = number == self._total
        if self._bar is not None:
            self._bar.update()
            if number % BAR_EVERY == 0 or is_last:
                self._bar.set_postfix_str(describe())
        elif number % max(1, self._total // LINES) == 0 or is_last:
            line = f"step {number}/{self._total}: {describe()}"
            if not is_last:
                line += f", {_duration(self._seconds_left(number))} left"
            self.say(line)

    def say(self, text: str) -> None:
        """A line of its own, beside the bar."""
        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _seconds_left(self, number: int) -> float:
        seconds_per_step = (time.perf_counter() - self._started) / (number - self._done)
        return seconds_per_step * (self._total - number)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours > 0:
        return f"{hours} h {minutes} min"
    if minutes > 0:
        return f"{minutes} min {seconds} s"
    return f"{seconds} s"


class MetricsLog:
    """A folder with metrics.jsonl, one JSON object a line, and TensorBoard's events of the same numbers."""

    def __init__(self, folder: Path, done: int) -> None:
        """Go on after `done` steps: what an earlier session logged beyond them is taken back.

        Raises ModuleNotFoundError where TensorBoard is not installed.
        """
        with required("lab", "--log-dir"):
            from torch.utils.tensorboard import SummaryWriter
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / METRICS
        kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= done]
        with written_whole(path) as unfinished:
            unfinished.write_text("".join(kept), encoding="utf-8")
        self._lines = path.open("a", encoding="utf-8")
        self._events = SummaryWriter(str(folder), purge_step=done + 1)

    def write(self, number: int, metrics: dict[str, float]) -> None:
        """Log the metrics of step `number`."""
        self._lines.write(json.dumps({"step": number, **metrics}) + "\n")
        self._lines.flush()
        for name, value in metrics.items():
            self._events.add_scalar(name, value, number)

    def write_images(self, number: int, images: Tensor, columns: int) -> None:
        """Show a sheet of images in TensorBoard."""
        picture = tile(images, columns)
        self._events.add_image("samples", picture, number, dataformats="HW" if picture.ndim == 2 else "HWC")

    def close(self) -> None:
        self._lines.close()
        self._events.close()


def _whole_lines(path: Path) -> list[str]:
    """The lines of a log, without one that a killed process left unfinished."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [line for line in lines if line.endswith("}\n")]


@contextmanager
def evaluating(gan: AdversarialModel) -> Iterator[None]:
    """The model in evaluation mode, where drawing images changes nothing in it; afterwards in the mode that it had."""
    was_training = gan.training
    gan.eval()
    try:
        yield
    finally:
        gan.train(was_training)


def sheet(gan: AdversarialModel, seed: int, rows: int = 10, columns: int = 10) -> Tensor:
    """A slot in each row, [rows * columns, C, H, W]; from `seed`, so that training's random state is as it was."""
    draw = torch.Generator(gan.device).manual_seed(seed)
    with evaluating(gan):
        images, _ = gan.sample_slots(rows, columns, generator=draw)
    return images.flatten(0, 1)


def write_sheet(path: Path, images: Tensor, columns: int) -> None:
    """A picture of `images`, whole or not at all."""
    figure = image_grid(images, columns, column_label="noise z, drawn anew for each image")
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as unfinished:
        figure.savefig(unfinished, dpi=150, bbox_inches="tight", format="png")
