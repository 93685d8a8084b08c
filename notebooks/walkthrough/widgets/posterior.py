"""Posterior explorer: Bayes' rule over slots on a circle or a sphere, exact and over the k best."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

from memgan.memory import VMFMemory
from memgan.plots import GENERATED, REAL, UNUSED
from memgan.widgets.base import PictureWidget, script
from walkthrough.lesson import png

__all__ = ["PosteriorExplorer"]

MOST_SLOTS = 24  # that one can still tell apart


def _is_unit(row: list[float], length: int) -> bool:
    return len(row) == length and abs(math.hypot(*row) - 1) < 1e-3


def _are_units(rows: list[list[float]], length: int) -> bool:
    return all(_is_unit(row, length) for row in rows)


class PosteriorExplorer(PictureWidget):
    """The posterior (4) of a `query` that one moves, D over all slots and over S (5, 6), as `kappa`, `top_k`, h change.

    Made from a `memory` of at most 24 slots with key_dim 2 (a circle) or 3 (a sphere) and `queries` [B, M] of unit
    length, the first of which it shows; it works on a copy. `slot` is the one whose h the slider moves. All traits can
    be set from code and read back. Raises ValueError for another memory, TraitError for a state that cannot be.
    """

    _esm = script(Path(__file__).with_name("posterior.js"))

    # [N, M]; a widget's `keys` are something else
    slot_keys = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
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
        num_slots = memory.num_slots
        key_dim = memory.key_dim
        if num_slots > MOST_SLOTS or key_dim not in (2, 3):
            raise ValueError(f"expected at most {MOST_SLOTS} slots with key_dim 2 or 3, got {num_slots} with {key_dim}")
        if queries.ndim != 2 or queries.shape[1] != key_dim or len(queries) == 0:
            raise ValueError(f"queries must have shape [B, {key_dim}] with B >= 1, got {list(queries.shape)}")
        self._num_slots = num_slots
        self._key_dim = key_dim
        rows = queries.detach().tolist()
        first = rows[0]
        turn_to_first = math.degrees(math.atan2(first[1], first[0]))
        shown = {
            "slot_keys": memory.keys.tolist(),
            "values": memory.values.tolist(),
            "histogram": memory.histogram.tolist(),
            "queries": rows,
            "query": first,
            "kappa": memory.kappa,
            "top_k": memory.top_k,
            "beta": memory.beta,
            "epsilon": memory.epsilon,
            "view": [turn_to_first - 25, 20.0],  # the first query a little to the right
        }
        super().__init__(**(shown | state))

    @traitlets.validate("slot_keys")
    def _check_slot_keys(self, proposal: Any) -> Any:
        keys = proposal["value"]
        holds = len(keys) == self._num_slots and _are_units(keys, self._key_dim)
        return self._accepted(proposal, holds, "N unit vectors of M numbers")

    @traitlets.validate("values")
    def _check_values(self, proposal: Any) -> Any:
        values = proposal["value"]
        holds = len(values) == self._num_slots and all(value in (0, 1) for value in values)
        return self._accepted(proposal, holds, "N numbers, each 0 or 1")

    @traitlets.validate("histogram")
    def _check_histogram(self, proposal: Any) -> Any:
        counts = proposal["value"]
        holds = len(counts) == self._num_slots and all(0 <= count < math.inf for count in counts)
        return self._accepted(proposal, holds, "N finite counts of at least 0")

    @traitlets.validate("queries")
    def _check_queries(self, proposal: Any) -> Any:
        rows = proposal["value"]
        holds = len(rows) > 0 and _are_units(rows, self._key_dim)
        return self._accepted(proposal, holds, "unit vectors of M numbers")

    @traitlets.validate("query")
    def _check_query(self, proposal: Any) -> Any:
        holds = _is_unit(proposal["value"], self._key_dim)
        return self._accepted(proposal, holds, "a unit vector of M numbers")

    @traitlets.validate("kappa", "beta")
    def _check_positive(self, proposal: Any) -> Any:
        holds = 0 < proposal["value"] < math.inf
        return self._accepted(proposal, holds, "positive and finite")

    @traitlets.validate("top_k")
    def _check_top_k(self, proposal: Any) -> Any:
        holds = 1 <= proposal["value"] <= self._num_slots
        return self._accepted(proposal, holds, "in 1..N")

    @traitlets.validate("epsilon")
    def _check_epsilon(self, proposal: Any) -> Any:
        holds = 0 <= proposal["value"] < 0.5
        return self._accepted(proposal, holds, "in [0, 0.5)")

    @traitlets.validate("slot")
    def _check_slot(self, proposal: Any) -> Any:
        holds = 0 <= proposal["value"] < self._num_slots
        return self._accepted(proposal, holds, "in 0..N - 1")

    @traitlets.validate("view")
    def _check_view(self, proposal: Any) -> Any:
        angles = proposal["value"]
        holds = len(angles) == 2 and all(math.isfinite(angle) for angle in angles)
        return self._accepted(proposal, holds, "two angles in degrees")

    def _accepted(self, proposal: Any, holds: bool, requirement: str) -> Any:
        """The proposed value, or a TraitError that says the requirement if it does not hold."""
        if not holds:
            raise traitlets.TraitError(
                f"{proposal['trait'].name} must be {requirement}, with N = {self._num_slots} and M = {self._key_dim}, "
                f"got {proposal['value']}"
            )
        return proposal["value"]

    def picture(self) -> bytes:
        figure = Figure(figsize=(7.2 if self._key_dim == 2 else 3.4, 3.4), layout="constrained")
        if self._key_dim == 2:
            circle, curve = figure.subplots(1, 2, width_ratios=(1, 1.1))
            self._draw_curve(curve)
        else:  # a sphere is seen from above
            circle = figure.subplots()
        self._draw_slots(circle)
        return png(figure, dpi=100)

    def _draw_slots(self, axes: Axes) -> None:
        """The slots on their circle, blue discs real and orange squares generated, and the query as an arrow."""
        axes.set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), aspect="equal")
        axes.axis("off")
        axes.add_patch(Circle((0, 0), 1, fill=False, color=UNUSED))
        for slot, key in enumerate(self.slot_keys):
            colour = REAL if self.values[slot] == 1 else GENERATED
            marker = "o" if self.values[slot] == 1 else "s"
            size = min(16, 6 * math.sqrt(1 + 0.7 * self.histogram[slot]))
            axes.plot(key[0], key[1], marker, color=colour, markersize=size)
            axes.text(1.25 * key[0], 1.25 * key[1], str(slot), ha="center", va="center")
        style = {"arrowstyle": "-|>", "color": "black", "linewidth": 2, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (self.query[0], self.query[1]), (0, 0), arrowprops=style)
        axes.text(0.5 * self.query[0] - 0.12, 0.5 * self.query[1] + 0.12, "$q$", fontsize=12)

    def _draw_curve(self, axes: Axes) -> None:
        """P(real) in every direction: over all slots, and over the k best where these are fewer."""
        degrees = np.linspace(0, 360, 721)
        around = np.stack([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))], axis=1)
        scores = self.kappa * around @ np.array(self.slot_keys).T + np.log(np.array(self.histogram) + self.beta)
        joint = np.exp(scores - scores.max(axis=1, keepdims=True))
        real = np.array(self.values)
        axes.plot(degrees, joint @ real / joint.sum(axis=1), color="black", label="all slots")
        if self.top_k < len(real):
            worst_asked = np.sort(joint, axis=1)[:, -self.top_k]
            asked = np.where(joint >= worst_asked[:, np.newaxis], joint, 0)
            axes.plot(
                degrees, asked @ real / asked.sum(axis=1), "--", color="black", label=f"the {self.top_k} best only"
            )
            axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
        at = math.degrees(math.atan2(self.query[1], self.query[0])) % 360
        axes.axvline(at, color=UNUSED)
        axes.text(at + 6, 0.02, "$q$", fontsize=12)
        axes.set(xlim=(0, 360), ylim=(0, 1.02), xticks=range(0, 361, 90))
        axes.set(xlabel="direction of the query (degrees)", ylabel="probability of real")
        axes.spines[["top", "right"]].set_visible(False)

    def __repr__(self) -> str:
        num_slots = len(self.slot_keys)
        query = [round(number, 2) for number in self.query]
        return f"PosteriorExplorer({num_slots} slots, kappa {self.kappa:g}, top_k {self.top_k}, query {query})"
