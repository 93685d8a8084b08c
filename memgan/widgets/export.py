"""What a page needs to run a network without Python: its layers, and its weights in float16."""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from memgan.gan import MemoryGAN
from memgan.memory import VMFMemory

__all__ = ["export_gan", "export_generator", "export_network"]

_PLAIN = (nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.MaxPool2d)
_NOTHING = (nn.Flatten, nn.Unflatten, nn.Dropout, nn.Identity)  # of no effect on numbers that lie in a row


@torch.no_grad()
def export_network(layers: nn.Module, example: Tensor) -> dict[str, Any]:
    """The layers of `layers` in evaluation mode, for network.js; `example` [1, ...] is any input.

    Batch normalisation is folded into the layer before it. Raises ValueError for a layer that network.js lacks.
    """
    specifications: list[dict[str, Any]] = []
    parameters: list[Tensor] = []
    axis = 0  # of the outputs, in the last weight
    for layer in copy.deepcopy(layers).cpu().float().eval().modules():
        if list(layer.children()):
            continue
        output = layer(example)
        specification = {
            "kind": type(layer).__name__,
            "input": list(example.shape[1:]),
            "shape": list(output.shape[1:]),
        }
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
            bias = layer.bias if layer.bias is not None else torch.zeros(layer.weight.shape[axis])
            parameters += [layer.weight, bias]
            specifications.append(specification | {"parameters": [layer.weight.numel(), bias.numel()]} | _window(layer))
        elif (
            isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and specifications and "parameters" in specifications[-1]
        ):
            _fold(layer, parameters, axis)
        elif isinstance(layer, _PLAIN):
            slope = {"slope": layer.negative_slope} if isinstance(layer, nn.LeakyReLU) else {}
            specifications.append(specification | _window(layer) | slope)
        elif not isinstance(layer, _NOTHING):
            raise ValueError(f"cannot run {layer} in a page: network.js has no such layer, or not in this place")
        example = output
    return {
        "layers": specifications,
        "weights": _halves(torch.cat([torch.zeros(0), *(p.flatten() for p in parameters)])),
    }


def export_gan(gan: MemoryGAN) -> dict[str, Any]:
    """The generator of `gan` and its memory, for explorer.js.

    Raises ValueError for what has no memory.
    """
    memory = getattr(gan, "memory", None)
    if not isinstance(memory, VMFMemory):
        has = "nothing" if memory is None else f"a {type(memory).__name__}"
        raise ValueError(f"expected a model with a memory, a MemoryGAN; {type(gan).__name__} has {has} in its place")
    if not bool((memory.histogram.isfinite() & (memory.histogram >= 0)).all()):
        raise ValueError("the memory's histogram must be finite and not negative: is the run diverged?")
    return export_generator(gan) | {
        "keys": _halves(memory.keys),
        "values": memory.values.tolist(),
        "ages": memory.ages.tolist(),
        "histogram": memory.histogram.tolist(),
    }


def export_generator(gan: MemoryGAN) -> dict[str, Any]:
    """The generator of `gan`, baselines included, for explorer.js; its input is `key_dim` numbers of a key, then z."""
    generator = gan.generator
    inputs = next(layer.in_features for layer in generator.modules() if isinstance(layer, nn.Linear))
    return export_network(generator.layers, torch.zeros(1, inputs)) | {
        "key_dim": inputs - generator.noise_dim,
        "noise_dim": generator.noise_dim,
        "image_shape": list(gan.image_shape),
    }


def _window(layer: nn.Module) -> dict[str, int]:
    """Kernel, stride and padding of a layer that has them; the same both ways. Raises ValueError for other windows."""
    if not hasattr(layer, "kernel_size"):
        return {}
    names = {"kernel": layer.kernel_size, "stride": layer.stride, "padding": layer.padding}
    window = {name: set(value if isinstance(value, tuple) else [value]) for name, value in names.items()}
    plain = {"dilation": 1, "groups": 1, "output_padding": 0, "ceil_mode": False}
    if isinstance(layer, nn.MaxPool2d):
        plain["padding"] = 0
    odd = [name for name, usual in plain.items() if set(np.atleast_1d(getattr(layer, name, usual))) != {usual}]
    odd += [name for name, values in window.items() if len(values) > 1 or not isinstance(max(values), int)]
    if odd:
        raise ValueError(f"cannot run {layer} in a page: network.js knows no such {', '.join(odd)}")
    return {name: values.pop() for name, values in window.items()}


def _fold(normalisation: nn.BatchNorm1d | nn.BatchNorm2d, parameters: list[Tensor], axis: int) -> None:
    """Let the last weight and bias do what `normalisation` does after them in evaluation mode."""
    weight, bias = parameters[-2:]
    assert normalisation.running_mean is not None and normalisation.running_var is not None
    scale = normalisation.weight / (normalisation.running_var + normalisation.eps).sqrt()
    shape = [-1 if dimension == axis else 1 for dimension in range(weight.ndim)]
    parameters[-2:] = [weight * scale.view(shape), (bias - normalisation.running_mean) * scale + normalisation.bias]


def _halves(numbers: Tensor) -> bytes:
    """Little-endian float16. Raises ValueError for numbers that it cannot hold."""
    if not bool(numbers.abs().le(65504).all()):
        raise ValueError("these weights do not fit into float16: not finite, or above 65504")
    return numbers.detach().cpu().numpy().astype("<f2").tobytes()
