"""What a page needs to run a network without Python: its layers, and its weights in float16."""

import copy
import operator
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from memgan.gan import MemoryGAN
from memgan.memory import VMFMemory

__all__ = ["export_gan", "export_generator", "export_network"]

_WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
_NORMALISATION = (nn.BatchNorm1d, nn.BatchNorm2d)
_PLAIN = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Tanh, nn.MaxPool2d)
_NOTHING = (nn.Flatten, nn.Unflatten, nn.Dropout, nn.Identity)  # of no effect on numbers that lie in a row


@torch.no_grad()
def export_network(network: nn.Module, example: Tensor) -> dict[str, Any]:
    """The layers of `network` in evaluation mode, for network.js; `example` [1, ...] is any input.

    A layer reads the output of the layer before it, or of those that its `reads` numbers: 0 is the input, 1 the first
    layer. Batch normalisation is folded into the layer before it. Raises ValueError for what network.js lacks.
    """
    traced = fx.symbolic_trace(copy.deepcopy(network).cpu().float().eval())
    ShapeProp(traced).propagate(example)
    layers: list[dict[str, Any]] = []
    parameters: list[list[Tensor]] = []  # of each layer
    number: dict[fx.Node, int] = {}  # of the layer that made a node's values
    for node in traced.graph.nodes:
        reads = [number[source] for source in node.all_input_nodes]
        module = _module(traced, node)
        number[node] = reads[0] if reads else 0
        if node.op in ("placeholder", "output") or isinstance(module, _NOTHING):
            continue
        source = node.all_input_nodes[0]
        before = _module(traced, source)
        if isinstance(module, _NORMALISATION) and isinstance(before, _WEIGHTED) and len(source.users) == 1:
            parameters[number[source] - 1] = _folded(before, module)
            continue
        kind, own = _described(node.target if module is None else module)
        shapes = {"input": _shape(source), "shape": _shape(node)}
        counts = {"parameters": [tensor.numel() for tensor in own]} if own else {}
        layers.append(kind | shapes | counts | ({} if reads == [len(layers)] else {"reads": reads}))
        parameters.append(own)
        number[node] = len(layers)
    numbers = [tensor.flatten() for own in parameters for tensor in own]
    return {"layers": layers, "weights": _halves(torch.cat([torch.zeros(0), *numbers]))}


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
    layers: Any = gan.generator.layers
    inputs = next(layer.in_features for layer in layers.modules() if isinstance(layer, nn.Linear))
    return export_network(layers, torch.zeros(1, inputs)) | {
        "key_dim": inputs - gan.noise_dim,
        "noise_dim": gan.noise_dim,
        "image_shape": list(gan.image_shape or ()),
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


def _described(operation: Any) -> tuple[dict[str, Any], list[Tensor]]:
    """What network.js must know of a module or function beside its shapes, and its weight and bias."""
    kind = {"kind": type(operation).__name__}
    if operation is operator.add:
        return {"kind": "Add"}, []
    if isinstance(operation, _WEIGHTED):
        return kind | _window(operation), _weight_and_bias(operation)
    if isinstance(operation, nn.GroupNorm) and operation.num_groups == 1 and operation.affine:
        return {"kind": "LayerNorm", "eps": operation.eps}, [operation.weight, operation.bias]
    if isinstance(operation, nn.LayerNorm) and len(operation.normalized_shape) == 1 and operation.bias is not None:
        return kind | {"eps": operation.eps}, [operation.weight, operation.bias]
    if isinstance(operation, nn.Upsample) and operation.mode == "nearest" and operation.scale_factor == 2:
        return kind, []
    if isinstance(operation, _PLAIN):
        slopes = {nn.LeakyReLU: "negative_slope", nn.ELU: "alpha"}
        slope = {"slope": getattr(operation, slopes[type(operation)])} if type(operation) in slopes else {}
        return kind | _window(operation) | slope, []
    raise ValueError(f"cannot run {operation} in a page: network.js has no such layer, or not in this place")


def _module(traced: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return traced.get_submodule(str(node.target)) if node.op == "call_module" else None


def _shape(node: fx.Node) -> list[int]:
    return list(node.meta["tensor_meta"].shape[1:])


def _weight_and_bias(layer: Any) -> list[Tensor]:
    outputs = layer.weight.shape[1 if isinstance(layer, nn.ConvTranspose2d) else 0]
    return [layer.weight, torch.zeros(outputs) if layer.bias is None else layer.bias]


def _folded(layer: Any, normalisation: Any) -> list[Tensor]:
    """The weight and bias with which `layer` does what `normalisation` does after it in evaluation mode."""
    if isinstance(layer, nn.Linear):
        return _weight_and_bias(fuse_linear_bn_eval(layer, normalisation))
    return _weight_and_bias(fuse_conv_bn_eval(layer, normalisation, transpose=isinstance(layer, nn.ConvTranspose2d)))


def _halves(numbers: Tensor) -> bytes:
    """Little-endian float16. Raises ValueError for numbers that it cannot hold."""
    if not bool(numbers.abs().le(65504).all()):
        raise ValueError("these weights do not fit into float16: not finite, or above 65504")
    return numbers.detach().cpu().numpy().astype("<f2").tobytes()
