"""Posterior explorer: Bayes' rule over slots on a circle or a sphere, exact and over the k best."""

import io
import math
from pathlib import Path
from typing import Any

import traitlets
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

from memgan.memory import VMFMemory
from memgan.plots import GENERATED, REAL, UNUSED
from memgan.widgets.base import PictureWidget, script

__all__ = ["PosteriorExplorer", "slots_picture"]

MOST_SLOTS = 24  # that one can still tell apart


def _unit(row: Any, length: int) -> bool:
    return len(row) == length and abs(math.hypot(*row) - 1) < 1e-3


_RULES = {  # trait -> what it has to be, and whether a value is, with N slots of M dimensions
    "slot_keys": ("N unit vectors of M numbers", lambda v, n, m: len(v) == n and all(_unit(row, m) for row in v)),
    "values": ("N numbers, each 0 or 1", lambda v, n, m: len(v) == n and set(v) <= {0, 1}),
    "histogram": ("N finite counts of at least 0", lambda v, n, m: len(v) == n and all(0 <= h < math.inf for h in v)),
    "queries": ("unit vectors of M numbers", lambda v, n, m: bool(v) and all(_unit(row, m) for row in v)),
    "query": ("a unit vector of M numbers", lambda v, n, m: _unit(v, m)),
    "kappa": ("positive and finite", lambda v, n, m: 0 < v < math.inf),
    "top_k": ("in 1..N", lambda v, n, m: 1 <= v <= n),
    "beta": ("positive and finite", lambda v, n, m: 0 < v < math.inf),
    "epsilon": ("in [0, 0.5)", lambda v, n, m: 0 <= v < 0.5),
    "slot": ("in 0..N - 1", lambda v, n, m: 0 <= v < n),
    "view": ("two angles in degrees", lambda v, n, m: len(v) == 2 and all(math.isfinite(angle) for angle in v)),
}


class PosteriorExplorer(PictureWidget):
    """The posterior (4) of a `query` that one moves, D over all slots and over S (5, 6), as `kappa`, `top_k`, h change.

    Made from a `memory` of at most 24 slots with key_dim 2 (a circle) or 3 (a sphere) and `queries` [B, M] of unit
    length, the first of which it shows; it works on a copy. `slot` is the one whose h the slider moves. All traits can
    be set from code and read back. Raises ValueError for another memory, TraitError for a state that cannot be.
    """

    _esm = script(Path(__file__).with_name("posterior.js"))

    slot_keys = traitlets.List(traitlets.List(traitlets.Float())).tag(
        sync=True
    )  # [N, M]; `keys` means something else to a widget
    values = traitlets.List(traitlets.Int()).tag(sync=True)  # [N], 1 real and 0 generated
    histogram = traitlets.List(traitlets.Float()).tag(sync=True)  # [N]
    queries = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)  # [B, M]
    query = traitlets.List(traitlets.Float()).tag(sync=True)  # [M]
    kappa = traitlets.Float().tag(sync=True)
    top_k = traitlets.Int().tag(sync=True)
    beta = traitlets.Float().tag(sync=True)
    epsilon = traitlets.Float().tag(sync=True)
    slot = traitlets.Int(0).tag(sync=True)
    view = traitlets.List(traitlets.Float()).tag(sync=True)  # the sphere's turn and tilt, in degrees

    def __init__(self, memory: VMFMemory, queries: Tensor, **state: Any) -> None:
        self._size = number, dim = memory.num_slots, memory.key_dim
        if number > MOST_SLOTS or dim not in (2, 3):
            raise ValueError(f"expected at most {MOST_SLOTS} slots with key_dim 2 or 3, got {number} with {dim}")
        if queries.ndim != 2 or queries.shape[1] != dim or not len(queries):
            raise ValueError(f"queries must have shape [B, {dim}] with B >= 1, got {list(queries.shape)}")
        shown = {name: getattr(memory, name) for name in ("kappa", "top_k", "beta", "epsilon")}
        shown |= {name: getattr(memory, name).tolist() for name in ("values", "histogram")}
        rows, first = queries.detach().tolist(), queries[0].tolist()
        facing = [math.degrees(math.atan2(first[1], first[0])) - 25, 20.0]  # the first query a little to the right
        shown |= {"slot_keys": memory.keys.tolist(), "queries": rows, "query": first, "view": facing}
        super().__init__(**(shown | state))

    @traitlets.validate(*_RULES)
    def _can_be(self, proposal: Any) -> Any:
        name, value, (number, dim) = proposal["trait"].name, proposal["value"], self._size
        what, holds = _RULES[name]
        if not holds(value, number, dim):
            raise traitlets.TraitError(f"{name} must be {what}, with N = {number} and M = {dim}, got {value}")
        return value

    def picture(self) -> bytes:
        places = [row[:2] for row in (*self.slot_keys, self.query)]  # a sphere is seen from above
        return slots_picture(places[:-1], self.values, self.histogram, places[-1:], ["black"])

    def __repr__(self) -> str:
        slots, query = len(self.slot_keys), [round(number, 2) for number in self.query]
        return f"PosteriorExplorer({slots} slots, kappa {self.kappa:g}, top_k {self.top_k}, query {query})"


def slots_picture(keys: Any, values: Any, histogram: Any, queries: Any, colours: Any) -> bytes:
    """A PNG file of slots on a circle, blue discs real and orange squares generated, and of queries as arrows."""
    figure = Figure(figsize=(3.4, 3.4))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), aspect="equal")
    axes.axis("off")
    axes.add_patch(Circle((0, 0), 1, fill=False, color=UNUSED))
    for slot, ((x, y), value, count) in enumerate(zip(keys, values, histogram, strict=True)):
        marker, colour = ("o", REAL) if value else ("s", GENERATED)
        axes.plot(x, y, marker, color=colour, markersize=min(16, 6 * math.sqrt(1 + 0.7 * count)))
        axes.text(1.25 * x, 1.25 * y, str(slot), ha="center", va="center")
    for (x, y), colour in zip(queries, colours, strict=True):
        axes.plot([0.55 * x, 0.85 * x], [0.55 * y, 0.85 * y], color=colour, linewidth=2)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
