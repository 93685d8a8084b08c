"""A whole training step as a CUDA graph: recorded once and then replayed, so that Python launches nothing any more.

A graph holds addresses and constants. So it is recorded anew where a tensor of the model was replaced by another one,
where settings have changed, and where a weight was frozen or is trained again.
"""

import warnings
from collections.abc import Callable, Hashable, Iterable
from typing import Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["CudaRecorder", "Recorder", "RepeatedStep", "constants_of"]

Numbers = tuple[Tensor, ...]  # what a step returns, always in the same place
WARM_UP = 3  # steps that run as they are before one is recorded: they create what is created only once


class Recorder(Protocol):
    """How a device runs a step that is to be recorded, and how it records one."""

    def warm_up(self, step: Callable[[], Numbers]) -> Numbers:
        """Run the step as it is."""

    def record(self, step: Callable[[], Numbers]) -> tuple[Callable[[], None], Numbers]:
        """What does the step once more each time it is called, and where it leaves its numbers. Runs nothing.

        Raises RuntimeError where the step cannot be recorded.
        """


class RepeatedStep:
    """Runs a step again and again: the first three times as it is, then by a recording of it.

    A step that cannot be recorded, because something in it looks at values on the host, runs as it is for good, after
    one warning. The step itself is given with each call, so that no reference to its owner is kept.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._refused = False
        self._warmed_up = 0
        self._made_for: Hashable = None
        self._replay: Callable[[], None] | None = None
        self._numbers: Numbers = ()

    @property
    def is_recorded(self) -> bool:
        """Whether the next call replays a recording, if nothing has changed until then."""
        return self._replay is not None

    def __call__(self, step: Callable[[], Numbers], state: Iterable[Tensor], constants: Hashable) -> Numbers:
        """Do the step, and return its numbers.

        `state` are the tensors that the step changes in place, `constants` the values that it was made with: where one
        of them is not what it was, the recording is thrown away.
        """
        if self._refused:
            return step()
        state = list(state)
        made_for = (constants, tuple(tensor.data_ptr() for tensor in state))
        if made_for != self._made_for:
            self._forget()
            self._made_for = made_for
        if self._warmed_up < WARM_UP:
            self._warmed_up += 1
            return self._recorder.warm_up(step)
        if self._replay is None:
            try:
                self._replay, self._numbers = self._recorder.record(step)
            except RuntimeError as error:
                self._refused = True
                warnings.warn(
                    "The training step cannot be recorded as a CUDA graph and runs as it is, which is slower. "
                    "Something in it looks at values on the host, as a memory with validate=True does, or an "
                    "optimiser is not capturable. training.cuda_graph=false avoids the attempt. "
                    f"{type(error).__name__}: {error}",
                    stacklevel=2,
                )
                return step()
        self._replay()
        torch.autograd.graph.increment_version(state)  # as an eager step does: the memory's checks look at versions
        return tuple(number.clone() for number in self._numbers)  # before the next replay overwrites them

    def _forget(self) -> None:
        self._warmed_up = 0
        self._replay = None
        self._numbers = ()


def constants_of(optimiser: Optimizer) -> Hashable:
    """What a recording of the optimiser's step would freeze: its rate, moments and other hyper-parameters.

    A rate in a tensor is no constant, because a recording reads it anew, but the place of the tensor is one. A rate
    that is a number and changes with each step is never recorded: such steps run as they are, and are right.
    """
    constants: list[tuple[str, Hashable]] = []
    for group in optimiser.param_groups:
        for name, value in group.items():
            if torch.is_tensor(value):
                constants.append((name, value.data_ptr()))
            elif name != "params":
                constants.append((name, repr(value)))
    return tuple(constants)


class CudaRecorder:
    """Records on a stream of its own on `device`, which need not be the current one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def warm_up(self, step: Callable[[], Numbers]) -> Numbers:
        """Run the step on the stream on which it will be recorded."""
        with torch.cuda.device(self._device), warnings.catch_warnings():
            # Adam says so at its first step that is not recorded; ours is recorded later
            warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")
            before = torch.cuda.current_stream()
            self._stream.wait_stream(before)
            with torch.cuda.stream(self._stream):
                numbers = step()
            before.wait_stream(self._stream)
        return numbers

    def record(self, step: Callable[[], Numbers]) -> tuple[Callable[[], None], Numbers]:
        """The step as a graph."""
        graph = torch.cuda.CUDAGraph()
        random = _generator_of(self._device)
        # A recording that fails leaves the generator of random numbers in the state of being recorded, in which every
        # later draw on this device raises. Its copy is put in its place then.
        random_before = random.clone_state()
        try:
            # The outer stream context puts the current stream back where a recording fails: the inner one does not
            # then. Without `stream`, all recordings share a stream on the device that was current at the first one.
            # Calls of other threads, such as one that pins the batches of a DataLoader, do not disturb a
            # "thread_local" recording.
            with (
                torch.cuda.device(self._device),
                torch.cuda.stream(self._stream),
                torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
            ):
                numbers = step()
        except RuntimeError:
            random.graphsafe_set_state(random_before)
            raise

        def replay() -> None:
            with torch.cuda.device(self._device):
                graph.replay()

        return replay, numbers


def _generator_of(device: torch.device) -> torch.Generator:
    """The default generator of random numbers of a CUDA device."""
    index = torch.cuda.current_device() if device.index is None else device.index
    return torch.cuda.default_generators[index]
