"""Memory film: a memory on a circle as it is written, one write after another."""

import copy
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch.nn.functional as F
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from memgan.memory import VMFMemory
from memgan.widgets.base import PictureWidget, script
from walkthrough.circle import draw
from walkthrough.lesson import png

__all__ = ["MemoryFilm"]

USED = 1e-3  # a slot with a smaller h is as good as never used
TURNED = math.radians(0.1)  # a key that turned by less has not moved as far as one can see


class MemoryFilm(PictureWidget):
    """What writes do to a memory on a circle; `write` is the number of the write after which it is shown, 0 for none.

    `frames[write]` holds keys, values, ages and histogram after it, its queries and labels, and the slots that it
    `replaced` (7), `moved` by EM (10), `decayed` (h fell) and those `born` (h rose above 0.001). Made by `record`.
    """

    _esm = script(Path(__file__).with_name("film.js"))

    frames = traitlets.List(traitlets.Dict()).tag(sync=True)
    write = traitlets.Int(0).tag(sync=True)

    @classmethod
    def record(cls, memory: VMFMemory, batches: Iterable[tuple[Tensor, Tensor]], **state: Any) -> "MemoryFilm":
        """Write `batches` of queries [B, 2] and labels [B] into `memory`, which changes, and keep what is to be seen.

        Raises ValueError for a memory that is not on a circle, and what `VMFMemory.write` raises.
        """
        if memory.key_dim != 2:
            raise ValueError(f"expected a memory on a circle, key_dim 2, got key_dim {memory.key_dim}")
        frames = [_frame(memory, memory, memory.keys[:0], memory.values[:0])]
        for queries, labels in batches:
            before = copy.deepcopy(memory)
            memory.write(queries, labels)
            frames.append(_frame(before, memory, queries, labels))
        return cls(frames=frames, **state)

    @traitlets.validate("write")
    def _within(self, proposal: Any) -> int:
        if not 0 <= proposal["value"] < len(self.frames):
            raise traitlets.TraitError(f"write must be in 0..{len(self.frames) - 1}, got {proposal['value']}")
        return proposal["value"]

    @traitlets.observe("frames")
    def _leave_missing_write(self, change: Any) -> None:
        """Show the last write if there are fewer than before, without the one that was shown."""
        self.write = min(self.write, len(self.frames) - 1)

    def picture(self) -> bytes:
        figure = Figure(figsize=(3.4, 3.4))
        axes = figure.add_axes((0, 0, 1, 1))
        draw(axes, self.frames[self.write], self.frames[max(0, self.write - 1)])
        return png(figure, dpi=100)

    def __repr__(self) -> str:
        writes = len(self.frames) - 1
        slots = len(self.frames[0]["keys"])
        return f"MemoryFilm({writes} writes of {slots} slots, now after {self.write})"


def _frame(before: VMFMemory, after: VMFMemory, queries: Tensor, labels: Tensor) -> dict[str, list[Any]]:
    """The memory after a write, and what the write did, as told by the buffers before and after it."""
    queries = F.normalize(queries.detach().to(after.keys), dim=1)
    labels = labels.to(after.values)
    same_key = (after.keys.unsqueeze(1) - queries).norm(dim=2) < 1e-6  # [N, B]
    same_label = after.values.unsqueeze(1) == labels
    is_a_query = (same_key & same_label).any(dim=1)
    replaced = is_a_query & (after.ages == 0) & (after.histogram == before.histogram.mean())
    moved = ~replaced & ((after.keys - before.keys).norm(dim=1) > TURNED)
    decayed = ~replaced & (after.histogram < before.histogram)
    born = (before.histogram < USED) & (after.histogram >= USED)
    return {
        "replaced": _numbers_of(replaced),
        "moved": _numbers_of(moved),
        "decayed": _numbers_of(decayed),
        "born": _numbers_of(born),
        "keys": _rounded(after.keys),
        "values": after.values.tolist(),
        "ages": after.ages.tolist(),
        "histogram": _rounded(after.histogram),
        "queries": _rounded(queries),
        "labels": labels.tolist(),
    }


def _numbers_of(marked: Tensor) -> list[Any]:
    """The numbers of the slots that are `marked` [N]."""
    return marked.nonzero().flatten().tolist()


def _rounded(values: Tensor) -> list[Any]:
    """The values to six decimals: more would only make the widget's state larger."""
    return values.double().round(decimals=6).to(values).tolist()
