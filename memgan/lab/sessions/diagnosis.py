"""What goes wrong in training, seen while it happens: numbers that are not finite, a dead clip, a memory of one label.

A run that shows any of it is over, whatever its remaining steps. The message names what was seen, since when, and what
to try. Slots that have fallen out of use are only worth a warning at the end: an earlier checkpoint may be better.
"""

import math
from typing import NamedTuple

import torch

from memgan.gan import AdversarialModel
from memgan.lab.baselines.sigmoid import SigmoidGAN
from memgan.memory import VMFMemory
from memgan.presets import PRESETS, Settings

__all__ = ["Look", "TrainingError", "Watch", "dead_steps_allowed", "label_shares", "memory_of"]

# Of no generated image outside the clip. Healthy runs are there for a few steps at the start: 4 of 650 at most, on the
# digits.
MOST_DEAD_STEPS = 1000
DEAD_SHARE = 0.2  # of the steps of a run, where that is fewer
LEAST_DEAD_STEPS = 50
WARNED_SHARE = 0.05  # of the steps, at their end: not enough to stop a run, but worth a word
LEAST_SHARE = 0.01  # of the slots, for either label
# Of the most slots that were ever in use, from a tenth of the steps on: an untrained memory has many. In the study
# `length`, runs whose scores held ended with 75 % of them or more, and those that broke down with 9 % to 22 %.
KEPT_SHARE = 1 / 3
SETTLED_AFTER = 0.1  # of the steps

History = list[list[float]]  # [loss D, loss G, D(real), D(generated)] of every step so far


class TrainingError(FloatingPointError):
    """Training has failed, and more steps cannot mend it.

    `diagnosis` says why, in words that hold on any machine; the message also says where the last checkpoint is.
    """

    def __init__(self, diagnosis: str, kept: str = "") -> None:
        super().__init__(f"{diagnosis}{kept}")
        self.diagnosis = diagnosis


def memory_of(gan: AdversarialModel) -> VMFMemory | None:
    """The model's memory; None for a baseline that has none."""
    memory = getattr(gan, "memory", None)
    return memory if isinstance(memory, VMFMemory) else None


def label_shares(memory: VMFMemory) -> tuple[float, float]:
    """The share of slots that carry v = 1, and that of the histogram behind them."""
    is_real = memory.values.double()
    share_of_slots = is_real.mean()
    share_of_mass = (memory.histogram * is_real).sum() / memory.histogram.sum()
    return float(share_of_slots), float(share_of_mass)


def dead_steps_allowed(steps: int) -> int:
    """So many steps in a row without a generated image outside the clip end a run of `steps` steps."""
    return min(MOST_DEAD_STEPS, max(LEAST_DEAD_STEPS, round(DEAD_SHARE * steps)))


class Look(NamedTuple):
    """What was seen of a memory."""

    step: int  # after which it was looked at
    real: float  # the share of slots with v = 1
    in_use: float  # so many slots


class Watch:
    """Looks at a run now and then, at its numbers and at its memory.

    `looks` are those at the memory, of which a run that is resumed brings its earlier ones along.
    """

    def __init__(self, gan: AdversarialModel, settings: Settings) -> None:
        self._gan = gan
        self._settings = settings
        self._seen = 0  # steps whose numbers were looked at
        self.looks: list[Look] = []  # empty for a model without a memory

    def look(self, history: History, *, only_finite: bool = False) -> None:
        """Raises TrainingError where something is wrong, or, with `only_finite`, where numbers are not finite."""
        self._look_at_memory(len(history))
        found = self._losses_not_finite(history)
        if not found and not only_finite:
            found = self._dead_clip(history) or self._one_label(len(history))
        if found:
            raise TrainingError(found)

    def explained(self, error: Exception, history: History) -> TrainingError:
        """What `error`, raised by a step or by a checkpoint, comes from, as far as that can be seen."""
        found = self._losses_not_finite(history)
        if not found:
            found = self._weights_not_finite(len(history)) or self._one_label(len(history))
        is_new = bool(found) and found not in str(error)  # a look may have raised it for this very reason
        return TrainingError(f"{error}. {found}" if is_new else str(error))

    def _losses_not_finite(self, history: History) -> str:
        for number, losses in enumerate(history[self._seen :], start=self._seen + 1):
            if not all(math.isfinite(loss) for loss in losses):
                return f"losses are not finite since step {number}. {self._lower_rates()}"
        self._seen = len(history)
        return ""

    def _weights_not_finite(self, number: int) -> str:
        names = [name for name, tensor in self._gan.state_dict().items() if not bool(tensor.isfinite().all())]
        if not names:
            return ""
        return f"not finite by step {number}: {', '.join(names[:3])}. {self._lower_rates()}"

    def _lower_rates(self) -> str:
        training = self._settings.training
        rates = []
        for name in ("generator_lr", "discriminator_lr"):
            if getattr(training, name) > 0:
                rates.append(f"training.{name} (now {getattr(training, name):g})")
        advice = f"Try a lower {' and '.join(rates)}" if rates else "No weight has been trained"
        if training.precision != "float32":
            advice += ", or training.precision=float32"
        return advice

    def warning(self, history: History) -> str:
        """What is wrong with a run that is done, though not enough to have stopped it; "" where nothing is."""
        dead_steps = self._dead_steps(history)
        if dead_steps >= max(2, WARNED_SHARE * len(history)):
            return self._dead_clip_explained(history, dead_steps)
        return self._one_label(len(history)) or self._slots_out_of_use()

    def _dead_steps(self, history: History) -> int:
        """How many of the last steps had every generated image at the clip."""
        epsilon = self._clip()
        dead_steps = 0
        for losses in reversed(history):
            mean_of_generated = losses[3]  # at the clip only if each image of the batch is
            if mean_of_generated > epsilon * (1 + 1e-5):
                break
            dead_steps += 1
        return dead_steps

    def _clip(self) -> float:
        """The least D that the model gives."""
        epsilon = self._gan.epsilon if isinstance(self._gan, SigmoidGAN) else self._settings.memory.epsilon
        return max(epsilon, torch.finfo(torch.float32).tiny)

    def _dead_clip(self, history: History) -> str:
        dead_steps = self._dead_steps(history)
        if dead_steps < dead_steps_allowed(self._settings.training.steps):
            return ""
        return self._dead_clip_explained(history, dead_steps)

    def _dead_clip_explained(self, history: History, dead_steps: int) -> str:
        training = self._settings.training
        epsilon = self._clip()
        seen = (
            f"every generated image has been at the clip, D = {epsilon:g}, since step {len(history) - dead_steps + 1}"
        )
        advice = []
        if training.mi_weight == 0:
            gradient = "the generator gets no gradient from D there, and with training.mi_weight=0 none at all"
            usual = PRESETS["digits"].training.mi_weight
            advice.append(f"training.mi_weight above 0 (it is {usual:g} in the preset digits)")
        else:
            gradient = "there the generator gets no gradient from D, so it stays there"
        if memory_of(self._gan) is not None:
            advice.append(f"a larger memory.kappa (now {self._settings.memory.kappa:g})")
        advice.append(f"a lower training.discriminator_lr (now {training.discriminator_lr:g})")
        if training.generator_loss != "non_saturating":
            advice.append("training.generator_loss=non_saturating")
        return f"{seen}: {gradient}. Try {', or '.join(advice)}"

    def _one_label(self, number: int) -> str:
        memory = memory_of(self._gan)
        if memory is None:
            return ""
        share, mass = label_shares(memory)
        if LEAST_SHARE <= share <= 1 - LEAST_SHARE and mass > 0:
            return ""
        label = "real" if share > 0.5 else "generated"
        settings = self._settings
        advice = f"Try more memory.num_slots (now {settings.memory.num_slots})"
        if not settings.memory.replace_within_label:
            advice += ", or memory.replace_within_label=true, which gives each label its half"
        elif settings.training.mi_weight == 0:
            advice += ", or training.mi_weight above 0"
        shares = [(look.step, look.real) for look in self.looks] + [(number, share)]
        first, first_share = shares[0]
        since = next(step for step, earlier in shares if abs(earlier - share) < 0.1)
        return (
            f"{label} samples have taken over the memory: {share:.1%} of the slots are real, about so since step "
            f"{since}, after {first_share:.0%} at step {first}; {mass:.1%} of the histogram is theirs. {advice}"
        )

    def _look_at_memory(self, number: int) -> None:
        memory = memory_of(self._gan)
        if memory is not None:
            share, _ = label_shares(memory)
            self.looks.append(Look(number, share, float(memory.slots_in_use())))

    def _slots_out_of_use(self) -> str:
        training = self._settings.training
        settled = [look for look in self.looks if look.step >= SETTLED_AFTER * training.steps]
        if not settled:
            return ""
        last = settled[-1]
        most = max(settled, key=lambda look: look.in_use)
        if not last.in_use < KEPT_SHARE * most.in_use:
            return ""
        advice = f"fewer steps, or a lower training.discriminator_lr (now {training.discriminator_lr:g})"
        if training.gradient_penalty == 0:
            advice = f"training.gradient_penalty above 0 (0.5 on MNIST), {advice}"
        return (
            f"slots have fallen out of use: {last.in_use:.0f} at step {last.step}, after {most.in_use:.0f} at step "
            f"{most.step}. Images are usually worse then. D may have learnt the training images by heart: try {advice}"
        )
