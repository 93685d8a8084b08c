"""What one sees of a training run: a bar or lines, a log of numbers for machines, sheets of samples."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from memgan.gan import MemoryGAN
from memgan.plots import image_grid, tile
from memgan.runs import written_whole

__all__ = ["METRICS", "MetricsLog", "Progress", "resting", "sheet", "write_sheet"]

METRICS = "metrics.jsonl"


class Progress:
    """A bar on a terminal; elsewhere a line for each tenth of the steps."""

    def __init__(self, done: int, total: int) -> None:
        self._done, self._total, self._started = done, total, time.perf_counter()
        self._bar = tqdm(initial=done, total=total, unit="step") if sys.stderr.isatty() else None

    def advance(self, number: int, described: Callable[[], str]) -> None:
        """Step `number` is done. `described` says how things are; it is asked only when it is shown."""
        last = number == self._total
        if self._bar is not None:
            self._bar.update()
            if number % 20 == 0 or last:
                self._bar.set_postfix_str(described())
        elif number % max(1, self._total // 10) == 0 or last:
            seconds = (time.perf_counter() - self._started) / (number - self._done) * (self._total - number)
            left = "" if last else f", {_duration(seconds)} left"
            self.say(f"step {number}/{self._total}: {described()}{left}")

    def say(self, text: str) -> None:
        """A line of its own, beside the bar."""
        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


class MetricsLog:
    """A folder with metrics.jsonl, one JSON object a line, and TensorBoard's events of the same numbers."""

    def __init__(self, folder: Path, done: int) -> None:
        """Go on after `done` steps: what an earlier session logged beyond them is taken back.

        Raises ModuleNotFoundError where TensorBoard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"{error}; --log-dir needs: pip install tensorboard") from error
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / METRICS
        kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= done]
        with written_whole(path) as unfinished:
            unfinished.write_text("".join(kept), encoding="utf-8")
        self._lines = path.open("a", encoding="utf-8")
        self._events = SummaryWriter(str(folder), purge_step=done + 1)

    def write(self, number: int, metrics: dict[str, float]) -> None:
        self._lines.write(json.dumps({"step": number, **metrics}) + "\n")
        self._lines.flush()
        for name, value in metrics.items():
            self._events.add_scalar(name, value, number)

    def write_images(self, number: int, images: Tensor, columns: int) -> None:
        picture = tile(images, columns)
        self._events.add_image("samples", picture, number, dataformats="HW" if picture.ndim == 2 else "HWC")

    def close(self) -> None:
        self._lines.close()
        self._events.close()


def _whole_lines(path: Path) -> list[str]:
    """The lines of a log, without one that a killed process left unfinished."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [line for line in text.splitlines(keepends=True) if line.endswith("}\n")]


@contextmanager
def resting(gan: MemoryGAN) -> Iterator[MemoryGAN]:
    """The model in evaluation mode, where drawing images changes nothing in it."""
    gan.eval()
    try:
        yield gan
    finally:
        gan.train()


def sheet(gan: MemoryGAN, seed: int, rows: int = 10, columns: int = 10) -> Tensor:
    """A slot in each row, [rows * columns, C, H, W]; from `seed`, so that training's random state is as it was."""
    device = gan.memory.keys.device
    with resting(gan):
        images, _ = gan.sample_slots(rows, columns, generator=torch.Generator(device).manual_seed(seed))
    return images.flatten(0, 1)


def write_sheet(path: Path, images: Tensor, columns: int) -> None:
    """A picture of `images`, whole or not at all."""
    how: dict[str, Any] = {"dpi": 150, "bbox_inches": "tight", "format": "png"}
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as unfinished:
        image_grid(images, columns, column_label="noise z, drawn anew for each image").savefig(unfinished, **how)
