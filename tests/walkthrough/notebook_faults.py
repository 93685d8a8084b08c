"""Faults to plant into a running kernel: each replaces a public function or method of memgan by one that is wrong.

`plant(name)` runs in the kernel before the first cell of a notebook. A replacement keeps the name, the docstring and
the source of what it replaces (functools.wraps), so that a notebook notices it by results and not by shown code.
"""

import dataclasses
import functools
import math
import sys
from collections.abc import Callable

from memgan import VMFMemory, gan, vmf


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is broken, and the number of the notebook that must notice."""

    plant: Callable[[], None]
    notebook: str


FAULTS: dict[str, Fault] = {}


def fault(name: str, notebook: str) -> Callable:
    """Enters a function that plants a fault into `FAULTS`."""

    def enter(function: Callable[[], None]) -> Callable[[], None]:
        FAULTS[name] = Fault(function, notebook)
        return function

    return enter


def plant(name: str) -> None:
    FAULTS[name].plant()


def replace_function(module: object, name: str, make_wrong: Callable) -> None:
    """Replace a function of memgan by `make_wrong(right)`, also where another module of memgan has imported it."""
    right = getattr(module, name)
    wrong = functools.wraps(right)(make_wrong(right))
    for loaded in list(sys.modules.values()):
        belongs_to_memgan = getattr(loaded, "__name__", "").split(".")[0] == "memgan"
        if belongs_to_memgan and getattr(loaded, name, None) is right:
            setattr(loaded, name, wrong)


def replace_method(name: str, make_wrong: Callable) -> None:
    """Replace a method of `VMFMemory` by `make_wrong(right)`."""
    right = getattr(VMFMemory, name)
    setattr(VMFMemory, name, functools.wraps(right)(make_wrong(right)))


# ---------------------------------------------------------------- the distribution and the posterior


@fault("the posterior grows with the distance from a key", notebook="02")
def flip_the_posterior() -> None:
    def make_wrong(right):
        def posterior(memory, queries):
            return right(memory, -queries)

        return posterior

    replace_method("posterior", make_wrong)


@fault("the vMF density integrates to less than 1", notebook="02")
def shrink_the_normaliser() -> None:
    def make_wrong(right):
        def log_normaliser(kappa, dim):
            return right(kappa, dim) - dim / 2 * math.log(2 * math.pi)

        return log_normaliser

    replace_function(vmf, "log_normaliser", make_wrong)


# ---------------------------------------------------------------- reading


@fault("D(x) is the probability of being generated", notebook="00")
def read_the_probability_of_generated() -> None:
    def make_wrong(right):
        def read(memory, queries):
            return 1 - right(memory, queries)

        return read

    replace_method("read", make_wrong)


@fault("D(x) hands no gradient to the query", notebook="03")
def silence_the_gradient() -> None:
    def make_wrong(right):
        def read(memory, queries):
            return right(memory, queries.detach()) + 0 * queries.sum(dim=1)

        return read

    replace_method("read", make_wrong)


@fault("D(x) is not clipped", notebook="03")
def leave_out_the_clip() -> None:
    def make_wrong(right):
        def read(memory, queries):
            weights, slots = memory.top_k_posterior(queries)
            return (weights * memory.values[slots]).sum(dim=1)

        return read

    replace_method("read", make_wrong)


# ---------------------------------------------------------------- writing


@fault("a write does not decay the histogram", notebook="04")
def never_forget() -> None:
    def make_wrong(right):
        def write(memory, queries, labels):
            before = memory.histogram.clone()
            right(memory, queries, labels)
            touched = memory.histogram != before
            memory.histogram[touched] += (1 - memory.alpha) * before[touched]

        return write

    replace_method("write", make_wrong)


@fault("no write makes a slot young", notebook="04")
def never_reset_an_age() -> None:
    def make_wrong(right):
        def write(memory, queries, labels):
            before = memory.ages.clone()
            right(memory, queries, labels)
            memory.ages.copy_(before + 1)

        return write

    replace_method("write", make_wrong)


# ---------------------------------------------------------------- generating and training


@fault("the generator is given slots of generated images too", notebook="05")
def ignore_the_values_of_slots() -> None:
    def make_wrong(right):
        def sample(memory, *arguments, **options):
            values = memory.values.clone()
            memory.values.fill_(1)
            drawn = right(memory, *arguments, **options)
            memory.values.copy_(values)
            return drawn

        return sample

    replace_method("sample", make_wrong)


@fault("the information term pushes generated queries away from their keys", notebook="05")
def flip_the_information_loss() -> None:
    def make_wrong(right):
        def information_loss(keys, queries, kappa):
            return -right(keys, queries, kappa)

        return information_loss

    replace_function(gan, "information_loss", make_wrong)


@fault("training writes real queries as generated ones, and generated ones as real", notebook="06")
def swap_the_labels() -> None:
    def make_wrong(right):
        def read_write(memory, queries, labels):
            return right(memory, queries, 1 - labels)

        return read_write

    replace_method("read_write", make_wrong)


@fault("the discriminator learns to reject real images", notebook="06")
def swap_the_sides_of_the_discriminator_loss() -> None:
    def make_wrong(right):
        def discriminator_loss(real, generated):
            return right(generated, real)

        return discriminator_loss

    replace_function(gan, "discriminator_loss", make_wrong)
