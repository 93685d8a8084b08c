"""What can be changed in the playground: its settings, their ranges, and changes that break one part at a time."""

import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any

__all__ = ["CONTROLS", "DISTRIBUTIONS", "PRESETS", "SPEEDS", "Control", "Preset", "checked_state", "default_state"]


@dataclass(frozen=True)
class Control:
    """One setting: a switch where `default` is a bool, a menu where there are `options`, else a slider."""

    name: str  # as in Python, for example in `MemorySettings`
    group: str  # under which the page shows it
    label: str
    says: str  # one sentence that explains it
    notebook: str  # that explains it fully
    default: bool | str | int | float
    options: tuple[str, ...] = ()
    low: float = 0.0  # of a slider
    high: float = 1.0
    step: float = 0.1  # whole numbers where it is an int
    logarithmic: bool = False  # whether the slider moves by factors

    def checked(self, value: Any) -> Any:
        """`value`, numbers of NumPy as Python's, if the control can have it. ValueError says what it can have."""
        if isinstance(self.default, bool):
            if not isinstance(value, bool):
                raise ValueError(f"{self.name} must be true or false, got {value!r}")
            return value
        if self.options:
            if not _is_one_of(self.options, value):
                raise ValueError(f"{self.name} must be one of {', '.join(self.options)}, got {value!r}")
            return value
        if isinstance(value, bool) or not isinstance(value, Real) or not self.low <= float(value) <= self.high:
            raise ValueError(f"{self.name} must be a number from {self.low:g} to {self.high:g}, got {value!r}")
        if not isinstance(self.default, int):
            return float(value)
        if not isinstance(value, Integral):
            raise ValueError(f"{self.name} must be a whole number, got {value!r}")
        return int(value)


def is_whole(value: Any) -> bool:
    """Whether `value` is a whole number, of Python or of NumPy."""
    return isinstance(value, Integral) and not isinstance(value, bool)


CONTROLS = (
    Control(
        "memory",
        "Parts of the method",
        "memory",
        "The slots near a point decide whether it is real; without the memory, a sigmoid decides.",
        "00_start_here",
        default=True,
    ),
    Control(
        "update",
        "Parts of the method",
        "update of a slot",
        "EM weighs a key by how much data it has counted; averaging (life-long memory) moves it halfway every time.",
        "04_memory_update",
        default="em",
        options=("em", "average"),
    ),
    Control(
        "mcgn",
        "Parts of the method",
        "generator is given the key",
        "The generator is told which slot to draw (MCGN), which is a choice with nothing in between.",
        "05_mcgn",
        default=True,
    ),
    Control(
        "information",
        "Parts of the method",
        "information term",
        "It asks that the slot can be told from the point that was drawn: by the posterior, or by the paper's density.",
        "05_mcgn",
        default="posterior",
        options=("posterior", "density", "none"),
    ),
    Control(
        "replace_within_label",
        "Parts of the method",
        "replace within the label",
        "A new slot overwrites the oldest of its own label; otherwise the oldest of all, and one label can take over.",
        "04_memory_update",
        default=True,
    ),
    Control(
        "mi_weight",
        "Training",
        "weight of the term, λ",
        "How much the information term counts in both losses.",
        "05_mcgn",
        default=1.0,
        low=0.0,
        high=2.0,
        step=0.05,
    ),
    Control(
        "kappa",
        "The memory",
        "concentration, κ",
        "How sharply a slot responds to the direction of a query; at 1, all slots respond nearly alike.",
        "02_vmf_posterior",
        default=15.0,
        low=1.0,
        high=100.0,
        step=1.0,
        logarithmic=True,
    ),
    Control(
        "num_slots",
        "The memory",
        "number of slots, N",
        "How many slots the memory has; another number begins with an empty memory.",
        "b3_how_many_slots_and_what_kappa",
        default=128,
        low=16,
        high=256,
        step=16,
    ),
    Control(
        "top_k",
        "The memory",
        "slots looked at, k",
        "How many of the most probable slots are read and written.",
        "03_topk_approximation",
        default=8,
        low=1,
        high=16,
        step=1,
    ),
    Control(
        "correct_in_top",
        "The memory",
        "slots that may vouch",
        "A point is known if any of this many most probable slots has its label; otherwise it replaces a slot.",
        "04_memory_update",
        default=8,
        low=1,
        high=16,
        step=1,
    ),
    Control(
        "alpha",
        "The memory",
        "decay of the histogram, α",
        "What a slot's count is multiplied by before new data is added; at 1, a slot never forgets.",
        "04_memory_update",
        default=0.9,
        low=0.3,
        high=1.0,
        step=0.05,
    ),
    Control(
        "generator_lr",
        "Training",
        "rate of G, MemoryGAN",
        "Adam's rate. All rates fall to a tenth from step 900 to 1,500 after a start or a change of the data.",
        "01_structural_discontinuity",
        default=1e-3,
        low=1e-5,
        high=1e-2,
        step=0.1,
        logarithmic=True,
    ),
    Control(
        "discriminator_lr",
        "Training",
        "rate of D, MemoryGAN",
        "Adam's learning rate for the network that makes queries of points.",
        "01_structural_discontinuity",
        default=1e-4,
        low=1e-5,
        high=1e-2,
        step=0.1,
        logarithmic=True,
    ),
    Control(
        "ordinary_lr",
        "Training",
        "rate of the ordinary GAN",
        "Adam's learning rate for both of its networks.",
        "01_structural_discontinuity",
        default=2e-3,
        low=1e-5,
        high=1e-2,
        step=0.1,
        logarithmic=True,
    ),
    Control(
        "blur",
        "Training",
        "noise on D's inputs",
        "Its size at the first step. It makes real and generated points overlap, and falls to 0 within 1,050 steps.",
        "01_structural_discontinuity",
        default=0.5,
        low=0.0,
        high=1.0,
        step=0.05,
    ),
)

DISTRIBUTIONS = {
    "ring": "ring of 8",
    "grid": "grid of 25",
    "rings": "two rings",
    "unequal": "unequal modes",
    "moons": "two moons",
    "painted": "paint your own",
}
SPEEDS = ("slow", "medium", "fast")
LARGEST_SEED = 2**31 - 1
PAINTED_CELLS = 40  # along each side, as in distributions.js
_PAINTING = re.compile(r"[A-Za-z0-9_-]*")  # eight cells in a byte, base64: 2, 3 or 4 letters for 1, 2 or 3 bytes


@dataclass(frozen=True)
class Preset:
    """The default settings with one thing changed, and what is to be seen then."""

    label: str
    says: str
    changes: dict[str, Any]


PRESETS = {
    "default": Preset(
        "the full method",
        "On the ring, after about 1,500 steps, MemoryGAN has all modes and nothing in between, but each is too narrow.",
        {},
    ),
    "no_memory": Preset(
        "without the memory",
        "The right model is an ordinary GAN, too: its points lie in one piece, with bridges between the modes.",
        {"memory": False},
    ),
    "no_key": Preset(
        "the generator is not given the key",
        "The memory still decides what is real, but the generator has one piece of noise again, and bridges come back.",
        {"mcgn": False},
    ),
    "no_information": Preset(
        "without the information term",
        "Nothing asks the generator to heed its key: slots lose their places, and bridges or missing modes remain.",
        {"information": "none"},
    ),
    "density": Preset(
        "the paper's information term",
        "The density's term pulls each query onto its key, so that slots share places and modes are missed.",
        {"information": "density", "mi_weight": 0.05},
    ),
    "one_vouches": Preset(
        "only the most probable slot may vouch",
        "More points replace a slot instead of adding to one, so that slots live too briefly to mean one place.",
        {"correct_in_top": 1},
    ),
    "averaging": Preset(
        "averaging instead of EM",
        "A key moves halfway to each new query, however much it has counted, and slots do not come to rest.",
        {"update": "average"},
    ),
    "kappa_1": Preset(
        "the paper's κ = 1",
        "All slots respond nearly alike to every query, so that a slot means no place.",
        {"kappa": 1.0},
    ),
    "few_slots": Preset(
        "16 slots",
        "Eight real slots for the ring's eight modes leave none to spare: modes share slots, and points lie between.",
        {"num_slots": 16},
    ),
}


def default_state() -> dict[str, Any]:
    """The state in which a playground begins."""
    return {
        "seed": 0,
        "distribution": "ring",
        "painted": "",
        "speed": "fast",
        "settings": {control.name: control.default for control in CONTROLS},
    }


def checked_state(state: Any) -> dict[str, Any]:
    """A whole state: what `state` says, and defaults for what it does not. ValueError for what no state can have."""
    if not isinstance(state, dict):
        raise ValueError(f"expected a dictionary such as {default_state()}, got {type(state).__name__}")
    whole = default_state()
    _refuse_unknown("state", state, whole)
    whole |= state
    if not isinstance(whole["settings"], dict):
        raise ValueError(f"settings must be a dictionary, got {whole['settings']!r}")
    settings = default_state()["settings"]
    _refuse_unknown("settings", whole["settings"], settings)
    settings |= whole["settings"]
    whole["settings"] = {control.name: control.checked(settings[control.name]) for control in CONTROLS}
    seed = whole["seed"]
    if not is_whole(seed) or not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"seed must be a whole number from 0 to {LARGEST_SEED}, got {seed!r}")
    whole["seed"] = int(seed)
    if not _is_one_of(DISTRIBUTIONS, whole["distribution"]):
        raise ValueError(f"distribution must be one of {', '.join(DISTRIBUTIONS)}, got {whole['distribution']!r}")
    if not _is_one_of(SPEEDS, whole["speed"]):
        raise ValueError(f"speed must be one of {', '.join(SPEEDS)}, got {whole['speed']!r}")
    _check_painting(whole["painted"])
    return whole


def _is_one_of(names: Collection[str], value: Any) -> bool:
    """Whether `value` is one of `names`; what is no text, such as a list, cannot even be looked up in some of them."""
    return isinstance(value, str) and value in names


def _check_painting(painted: Any) -> None:
    longest = -(-(PAINTED_CELLS**2) // 6)  # letters of six bits
    is_base64 = isinstance(painted, str) and _PAINTING.fullmatch(painted) is not None and len(painted) % 4 != 1
    if not is_base64 or len(painted) > longest:
        raise ValueError(f"painted must be text in base64 with at most {longest} letters, got {painted!r:.60}")


def _refuse_unknown(what: str, given: dict[str, Any], known: dict[str, Any]) -> None:
    unknown = sorted(str(name) for name in set(given) - set(known))
    if unknown:
        raise ValueError(f"{what} has no {', '.join(unknown)}; it has {', '.join(known)}")


def for_page() -> dict[str, Any]:
    """Everything of this module that the page needs, as plain lists and dictionaries."""
    return {
        "controls": [_described(control) for control in CONTROLS],
        "presets": {name: asdict(preset) for name, preset in PRESETS.items()},
        "distributions": DISTRIBUTIONS,
        "speeds": list(SPEEDS),
        "initial": default_state(),
    }


def _described(control: Control) -> dict[str, Any]:
    return asdict(control) | {"options": list(control.options), "whole": type(control.default) is int}
