"""What goes wrong in training, seen while it happens: numbers that are not finite, a dead clip, a memory of one label.

A run that shows any of it is over, whatever its remaining steps; what is said names what was seen, since when, and
what to try.
"""

import math

from memgan.gan import MemoryGAN
from memgan.presets import Settings

__all__ = ["TrainingError", "Watch", "label_shares", "slots_in_use"]

DEAD_STEPS = 1000  # of no generated image outside the clip; healthy runs are there for a few steps at the start
LEAST_SHARE = 0.01  # of the slots, for either label


class TrainingError(FloatingPointError):
    """Training cannot come to anything from here."""


def slots_in_use(gan: MemoryGAN) -> float:
    """exp of the entropy of p(c|v=1): how many slots, equally often drawn, would be as varied."""
    return float(gan.memory.slots_in_use())


def label_shares(gan: MemoryGAN) -> tuple[float, float]:
    """The share of slots that carry v = 1, and that of the histogram behind them."""
    real = gan.memory.values.double()
    return float(real.mean()), float((gan.memory.histogram * real).sum() / gan.memory.histogram.sum())


class Watch:
    """Looks at a run now and then. `history` holds [loss D, loss G, D(real), D(generated)] of every step so far."""

    def __init__(self, gan: MemoryGAN, settings: Settings) -> None:
        self._gan, self._settings = gan, settings
        self._seen = 0  # steps whose numbers were looked at
        self._shares: list[tuple[int, float]] = []  # of slots with v = 1, at which step

    def look(self, history: list[list[float]], *, only_finite: bool = False) -> None:
        """Raises TrainingError where something is wrong, or, with `only_finite`, where numbers are not finite."""
        found = self._not_finite(history)
        if not (found or only_finite):
            found = self._dead_clip(history) or self._one_label(len(history))
        if found:
            raise TrainingError(found)

    def explained(self, error: Exception, history: list[list[float]]) -> TrainingError:
        """What `error`, raised by a step or by a checkpoint, comes from, as far as that can be seen."""
        found = self._not_finite(history) or self._bad_weights(history) or self._one_label(len(history))
        return TrainingError(f"{error}. {found}" if found else str(error))

    def _not_finite(self, history: list[list[float]]) -> str:
        new = enumerate(history[self._seen :], self._seen + 1)
        bad = next((number for number, numbers in new if not all(map(math.isfinite, numbers))), None)
        if bad is None:
            self._seen = len(history)
            return ""
        return f"losses are not finite since step {bad}. {self._lower_rates()}"

    def _bad_weights(self, history: list[list[float]]) -> str:
        bad = [name for name, tensor in self._gan.state_dict().items() if not bool(tensor.isfinite().all())]
        return f"not finite by step {len(history)}: {', '.join(bad[:3])}. {self._lower_rates()}" if bad else ""

    def _lower_rates(self) -> str:
        now = self._settings.training
        precision = ", or training.precision=float32" if now.precision != "float32" else ""
        return (
            f"Try a lower training.generator_lr (now {now.generator_lr:g}) and "
            f"training.discriminator_lr (now {now.discriminator_lr:g}){precision}"
        )

    def _dead_clip(self, history: list[list[float]]) -> str:
        epsilon = self._gan.memory.epsilon * (1 + 1e-5)  # a mean over the batch is at the clip only if all are
        alive = next((back for back, numbers in enumerate(reversed(history)) if numbers[3] > epsilon), len(history))
        if alive < DEAD_STEPS:
            return ""
        now = self._settings
        return (
            f"every generated image has been at the clip, D = {now.memory.epsilon:g}, since step "
            f"{len(history) - alive + 1}: there the generator gets no gradient from D, so it stays there. Try a larger "
            f"memory.kappa (now {now.memory.kappa:g}), a lower training.discriminator_lr "
            f"(now {now.training.discriminator_lr:g}), training.generator_loss=non_saturating"
        )

    def _one_label(self, number: int) -> str:
        if not hasattr(self._gan.memory, "write"):
            return ""  # the values of a baseline's code are all real
        share, mass = label_shares(self._gan)
        self._shares.append((number, share))
        if LEAST_SHARE <= share <= 1 - LEAST_SHARE and mass > 0:
            return ""
        label, (first, then) = "real" if share > 0.5 else "generated", self._shares[0]
        since = next(n for n, earlier in self._shares if abs(earlier - share) < 0.1)
        return (
            f"{label} samples have taken over the memory: {share:.1%} of the slots are real, about so since step "
            f"{since}, after {then:.0%} at step {first}; {mass:.1%} of the histogram is theirs. "
            f"memory.replace_within_label=true gives each label its half; or try more memory.num_slots"
        )
