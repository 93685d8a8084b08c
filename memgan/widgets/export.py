"""What a page needs to run a network without Python: its layers, and its weights in float16."""

import math
import operator
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from memgan.gan import AdversarialModel, MemoryGAN
from memgan.memory import VMFMemory
from memgan.networks import ImageConvTranspose2d, detached_copy

__all__ = ["export_gan", "export_generator", "export_network"]

_WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
_NORMALISATION = (nn.BatchNorm1d, nn.BatchNorm2d)
_PLAIN = (nn.ReLU, nn.Tanh, nn.MaxPool2d)
_NOTHING = (nn.Flatten, nn.Unflatten, nn.Dropout, nn.Identity)  # of no effect on numbers that lie in a row
_OF_IMAGES = (nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.Upsample)  # whose input is [C, H, W]


@torch.no_grad()
def export_network(network: nn.Module, example: Tensor) -> dict[str, Any]:
    """The layers of `network` in evaluation mode, for network.js; `example` [1, ...] is any input.

    A layer reads the output of the layer before it, or of those that its `reads` numbers: 0 is the input, 1 the first
    layer. Batch normalisation is folded into the layer before it. Weights are those that a parametrization or a hook,
    such as spectral normalisation, makes of its parameters. Raises ValueError for what network.js lacks.
    """
    traced = _traced(network, example)
    layers: list[dict[str, Any]] = []
    parameters: list[list[Tensor]] = []  # of each layer
    number: dict[fx.Node, int] = {}  # of the layer that made a node's values
    for node in traced.graph.nodes:
        sources = _summands(node) if node.target is operator.add else node.all_input_nodes
        reads = [number[source] for source in sources]
        number[node] = reads[0] if reads else 0
        module = _module(traced, node)
        if node.op == "output" and reads != [len(layers)]:
            raise ValueError(f"cannot run {type(network).__name__} in a page: its last layer must be its only output")
        if node.op in ("placeholder", "output") or isinstance(module, _NOTHING):
            continue
        if isinstance(module, _NORMALISATION) and module.running_mean is not None:
            before = _module(traced, sources[0])
            if isinstance(before, _WEIGHTED) and len(sources[0].users) == 1:
                parameters[number[sources[0]] - 1] = _folded(before, module)
                continue
        layer, own = _described(node.target if module is None else module)
        layer["input"] = _shape(sources[0])
        layer["shape"] = _shape(node)
        if module is not None:
            _check_input(module, layer["input"])
            _check_that_nobody_reads_later(module, node, number)
        if own:
            layer["parameters"] = [tensor.numel() for tensor in own]
        if reads != [len(layers)]:
            layer["reads"] = reads
        layers.append(layer)
        parameters.append(own)
        number[node] = len(layers)
    numbers = [tensor.flatten() for own in parameters for tensor in own]
    return {"layers": layers, "weights": _halves(torch.cat(numbers) if numbers else example.new_zeros(0))}


def export_gan(gan: MemoryGAN) -> dict[str, Any]:
    """The generator of `gan` and its memory, for gan.js.

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


def export_generator(gan: AdversarialModel) -> dict[str, Any]:
    """The generator of `gan`, baselines included, for gan.js; its input is `key_dim` numbers of a key, then z.

    Raises ValueError for a generator that is not made of `layers`, the first of them linear.
    """
    layers: Any = getattr(gan.generator, "layers", None)
    linear = [] if layers is None else [layer for layer in layers.modules() if isinstance(layer, nn.Linear)]
    if not linear:
        kind = type(gan.generator).__name__
        raise ValueError(f"expected a generator whose `layers` turn a key and z into an image, got a {kind}")
    if gan.image_shape is None:
        raise ValueError("the model does not know the shape of its images yet: set gan.image_shape = (C, H, W)")
    inputs = linear[0].in_features
    example = torch.zeros(1, inputs, dtype=torch.float32, device="cpu")
    return export_network(layers, example) | {
        "key_dim": inputs - gan.noise_dim,
        "noise_dim": gan.noise_dim,
        "image_shape": list(gan.image_shape),
    }


def _traced(network: nn.Module, example: Tensor) -> fx.GraphModule:
    """The operations of `network` in evaluation mode, in their order, each with the shape of its output.

    Its weights are plain: parametrizations and hooks are gone. Raises ValueError where it computes something else than
    `network`: where a hook does more than to make a weight, and where tracing does not see that a value is changed.
    """
    network = detached_copy(network).cpu().float().eval()
    for module in list(network.modules()):
        if parametrize.is_parametrized(module):
            _make_plain(module)
        if type(module) is ImageConvTranspose2d:  # the same numbers, and fx takes a layer of PyTorch's own as one step
            cast(Any, module).__class__ = nn.ConvTranspose2d
    generator = torch.Generator(device="cpu").manual_seed(0)
    anything = torch.empty_like(example).uniform_(-1, 1, generator=generator)
    # A layer may write into what it is given, so each call is given its own. In this one the hooks of spectral_norm,
    # weight_norm and prune make their weights.
    expected = network(anything.clone())
    if not isinstance(expected, Tensor):
        got = type(expected).__name__
        raise ValueError(f"cannot run {type(network).__name__} in a page: expected it to return a tensor, got {got}")
    for module in network.modules():
        module._forward_pre_hooks.clear()
        module._forward_hooks.clear()
    if not _is_close(network(anything.clone()), expected):
        raise ValueError("a hook changes what a layer computes, which a page cannot do: remove the hook before")
    traced = fx.symbolic_trace(network)
    ShapeProp(traced).propagate(example.clone())
    if not _is_close(traced(anything.clone()), expected):
        raise ValueError(
            f"cannot run {type(network).__name__} in a page: it computes something else than the sequence of its "
            "layers; does it change a value in place, as `+=` does?"
        )
    return traced


def _is_close(answer: Tensor, expected: Tensor) -> bool:
    return torch.allclose(answer, expected, rtol=1e-4, atol=1e-5, equal_nan=True)


def _make_plain(module: Any) -> None:
    """Put numbers in the place of the parametrizations of `module`.

    `parametrize.remove_parametrizations` would take them from the original too, which has the same class as its copy.
    """
    weights = {name: getattr(module, name).detach() for name in module.parametrizations}
    original_class = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    module.__class__ = original_class
    for name, weight in weights.items():
        module.register_parameter(name, nn.Parameter(weight))


def _window(layer: nn.Module) -> dict[str, int]:
    """Kernel, stride and padding of a layer that has them; the same both ways. Raises ValueError for other windows."""
    if not hasattr(layer, "kernel_size"):
        return {}
    # all that network.js can do
    expected = {"dilation": 1, "groups": 1, "output_padding": 0, "padding_mode": "zeros", "ceil_mode": False}
    if isinstance(layer, nn.MaxPool2d):
        expected["padding"] = 0
    unknown = [name for name, value in expected.items() if set(_both_ways(layer, name, value)) != {value}]
    window: dict[str, int] = {}
    for name, attribute in {"kernel": "kernel_size", "stride": "stride", "padding": "padding"}.items():
        lengths = set(_both_ways(layer, attribute, None))
        if len(lengths) > 1 or not all(isinstance(length, int) for length in lengths):  # padding may be a word
            unknown.append(name)
        else:
            window[name] = lengths.pop()
    if unknown:
        raise ValueError(f"cannot run {layer} in a page: network.js knows no such {', '.join(unknown)}")
    return window


def _both_ways(layer: nn.Module, name: str, default: Any) -> tuple[Any, ...]:
    """A setting of a layer along height and width; where the layer has one number for both, that number."""
    value = getattr(layer, name, default)
    return value if isinstance(value, tuple) else (value,)


def _described(operation: Any) -> tuple[dict[str, Any], list[Tensor]]:
    """What network.js must know of a module or function beside its shapes, and its weight and bias."""
    kind = type(operation).__name__
    if operation is operator.add:
        return {"kind": "Add"}, []
    if type(operation) in _WEIGHTED:
        return {"kind": kind} | _window(operation), _weight_and_bias(operation)
    if isinstance(operation, nn.GroupNorm) and operation.num_groups == 1 and operation.affine:
        return {"kind": "LayerNorm", "eps": operation.eps}, [operation.weight, operation.bias]
    if isinstance(operation, nn.LayerNorm) and len(operation.normalized_shape) == 1 and operation.bias is not None:
        return {"kind": kind, "eps": operation.eps}, [operation.weight, operation.bias]
    if isinstance(operation, nn.Upsample) and operation.mode == "nearest" and operation.scale_factor == 2:
        return {"kind": "Upsample"}, []  # nn.UpsamplingNearest2d is one, too
    if isinstance(operation, nn.LeakyReLU):
        return {"kind": kind, "slope": operation.negative_slope}, []
    if isinstance(operation, nn.ELU):
        return {"kind": kind, "slope": operation.alpha}, []
    if type(operation) in _PLAIN:
        return {"kind": kind} | _window(operation), []
    raise ValueError(f"cannot run {operation} in a page: network.js has no such layer, or not in this place")


def _summands(node: fx.Node) -> list[fx.Node]:
    """The two values that `node` adds up. Raises ValueError for a constant, and where one is repeated to fit."""
    summands = [value for value in node.args if isinstance(value, fx.Node)]
    if len(summands) < len(node.args) or any(_shape(summand) != _shape(node) for summand in summands):
        terms = " + ".join(str(value) for value in node.args)
        raise ValueError(f"cannot run {terms} in a page: network.js adds up two layers whose outputs have one shape")
    return summands


def _check_input(layer: nn.Module, shape: list[int]) -> None:
    """Raises ValueError where `layer` takes its input, of `shape`, in another way than network.js does."""
    if isinstance(layer, _OF_IMAGES) and len(shape) != 3:
        raise ValueError(f"cannot run {layer} in a page: network.js takes an image [C, H, W] there, got {shape}")
    there_are = math.prod(shape)
    taken = there_are
    if isinstance(layer, nn.Linear):
        taken = layer.in_features
    elif isinstance(layer, nn.LayerNorm):
        taken = layer.normalized_shape[0]
    if taken != there_are:
        raise ValueError(
            f"cannot run {layer} in a page: network.js takes all {there_are} numbers of {shape} at once, and never the "
            "last axis alone"
        )


def _check_that_nobody_reads_later(layer: nn.Module, node: fx.Node, number: dict[fx.Node, int]) -> None:
    """Raises ValueError where `layer` changes its input in place, and another layer reads the input after that.

    `number` has the nodes up to `node`, which is that of `layer`; those with one number share their values.
    """
    if not getattr(layer, "inplace", False):
        return
    for other, made_by in number.items():
        if other is node or made_by != number[node]:
            continue
        if any(user not in number for user in other.users):
            raise ValueError(
                f"cannot run {layer} in a page: it changes {other}, which is read again; leave out inplace"
            )


def _module(traced: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return traced.get_submodule(str(node.target)) if node.op == "call_module" else None


def _shape(node: fx.Node) -> list[int]:
    """The shape of a node's values without the batch. Raises ValueError where they are no batch of one."""
    values = node.meta.get("tensor_meta")
    if not isinstance(values, TensorMetadata) or values.shape[:1] != (1,):
        raise ValueError(f"cannot run {node} in a page: expected its output to be one tensor [1, ...]")
    return list(values.shape[1:])


def _weight_and_bias(layer: Any) -> list[Tensor]:
    """The weight of `layer` and its bias, which is zero where the layer has none."""
    if layer.bias is not None:
        return [layer.weight, layer.bias]
    outputs = layer.weight.shape[1] if isinstance(layer, nn.ConvTranspose2d) else layer.weight.shape[0]
    return [layer.weight, layer.weight.new_zeros(outputs)]


def _folded(layer: Any, normalisation: Any) -> list[Tensor]:
    """The weight and bias with which `layer` does what `normalisation` does after it in evaluation mode."""
    if isinstance(layer, nn.Linear):
        return _weight_and_bias(fuse_linear_bn_eval(layer, normalisation))
    is_transposed = isinstance(layer, nn.ConvTranspose2d)
    return _weight_and_bias(fuse_conv_bn_eval(layer, normalisation, transpose=is_transposed))


def _halves(numbers: Tensor) -> bytes:
    """Little-endian float16. Raises ValueError for numbers that it cannot hold."""
    if not bool(numbers.abs().le(65504).all()):
        raise ValueError("these weights do not fit into float16: not finite, or above 65504")
    return numbers.detach().cpu().numpy().astype("<f2").tobytes()
