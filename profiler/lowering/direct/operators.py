"""A module as the backend's operators, in NCHW and in the order they run.

Known are the modules of kernels and what does nothing in eval mode; a network of anything else has
no such list and is lowered the stock way. Debug handles count the operators of the exported
program, fused and vanishing ones included, as the exporter does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from netadapt.profiler.kernels import (
    Activation,
    Add,
    Bypass,
    ClampedLinear,
    ConvNorm,
    GlobalPool,
    Linear,
    Resize,
    Shape,
    SqueezeExcite,
    Upsample,
)
from netadapt.profiler.kernels.convolution import (
    DepthwiseConvNorm,
    PointwiseConvNorm,
    StandardConvNorm,
    strided,
)
from netadapt.profiler.kernels.squeeze_excite import GeneralSqueezeExcite

Clamp = tuple[float | str, float | str]
"""Lowest and highest value, as the backend's serialiser spells them."""

TO_NHWC, TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)

FUSED: dict[str, Clamp | None] = {"none": None, "relu": (0, "+inf"), "relu6": (0, 6)}


@dataclass(frozen=True, slots=True)
class Operator:
    """One node of the backend before its layout is chosen.

    Parameters
    ----------
    kind : str
        "convolution", "linear", "mean", "reshape", "add", "multiply", "divide", "clamp",
        "hardswish", "sigmoid", "pad", "slice", "bilinear" (up-sampling) or "permute".
    inputs : tuple of int
        Values of the graph.
    output : int
        The value it makes.
    handle : int
        Of the exported operator it comes from, from 1.
    clamp : Clamp, or None
        Fused into it.
    weights : tuple of Tensor
        Filters and bias, fp32, in PyTorch's layout.
    stride, padding, groups : int
        Of a convolution.
    permutation : tuple of int
        Of a permute: the inputs' dimensions in the output's order.
    """

    kind: str
    inputs: tuple[int, ...]
    output: int
    handle: int
    clamp: Clamp | None = None
    weights: tuple[Tensor, ...] = ()
    stride: int = 1
    padding: int = 0
    groups: int = 1
    permutation: tuple[int, ...] = ()


@dataclass(slots=True)
class Graph:
    """Operators, and the shapes of all values.

    Parameters
    ----------
    shapes : list of Shape
        Of every value by its number, in NCHW; () of a scalar.
    inputs : list of int
        Values that the program is given, in the order of its arguments.
    scalars : dict of int to int
        Values that are whole numbers of the module, and which.
    constants : dict of int to Tensor
        Values that are fp32 tensors of the program, given to the backend at every call.
    operators : list of Operator
    output : int
        The value that the program gives.
    layers : set of str
        Classes of the modules it was read from; "alone" where one was the whole program.
    handles : int
        Operators of the exported program so far.
    native : bool
        Whether the program takes and gives what the backend computes in, NHWC, instead of NCHW.
    """

    shapes: list[Shape] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    scalars: dict[int, int] = field(default_factory=dict)
    constants: dict[int, Tensor] = field(default_factory=dict)
    operators: list[Operator] = field(default_factory=list)
    output: int = -1
    layers: set[str] = field(default_factory=set)
    handles: int = 0
    native: bool = False

    def content(self) -> str:
        """A digest of all that decides the program: operators, shapes and weights."""
        ends = (self.inputs, self.scalars, self.output, self.native)
        digest = hashlib.sha256(repr((self.shapes, ends)).encode())
        for op in self.operators:
            numbers = (op.kind, op.inputs, op.output, op.handle, op.clamp)
            digest.update(repr((*numbers, op.stride, op.padding, op.groups)).encode())
            digest.update(repr(op.permutation).encode())
        weights = (tensor for op in self.operators for tensor in op.weights)
        for tensor in (*weights, *self.constants.values()):
            digest.update(repr(tuple(tensor.shape)).encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def value(self, shape: Shape) -> int:
        """A new value of this shape."""
        self.shapes.append(shape)
        return len(self.shapes) - 1

    def handle(self) -> int:
        """The next exported operator's debug handle."""
        self.handles += 1
        return self.handles

    def add(self, kind: str, shape: Shape, *inputs: int, handle: int = 0, **rest: Any) -> int:
        """The output, of `shape`, of a new operator; without a handle it takes the next."""
        output = self.value(shape)
        handle = handle or self.handle()
        self.operators.append(Operator(kind, inputs, output, handle, **rest))
        return output

    def scalar(self, number: int) -> int:
        """A value that is this number."""
        self.scalars[value := self.value(())] = number
        return value

    def constant(self, tensor: Tensor) -> int:
        """A value that is this tensor."""
        self.constants[value := self.value(tuple(tensor.shape))] = tensor
        return value

    def fused(self, activation: str) -> Clamp | None:
        """The clamp of an activation behind an operator, which keeps a handle of its own."""
        if activation != "none":
            self.handle()
        return FUSED[activation]


class UnknownModuleError(Exception):
    """A network has something that cannot be written directly; it goes the stock way."""


def read_module(module: nn.Module, input_shapes: Sequence[Shape]) -> Graph:
    """The operators of `module` in eval mode, norms folded, for inputs of these shapes.

    Raises `UnknownModuleError` for a module that is not made of those known here alone, or uses one
    of them twice.
    """
    graph = Graph()
    graph.inputs = [graph.value(shape) for shape in input_shapes]
    if any(m._forward_hooks or m._forward_pre_hooks for m in module.modules()):
        raise UnknownModuleError("hooks may compute anything")
    if type(module) in _WRITERS:
        graph.output = _write(graph, module, graph.inputs)
        graph.layers = {f"{name} alone" for name in graph.layers}
    else:
        graph.output = _network(graph, module)
        graph.layers.add(type(module).__name__)
    if not graph.operators or graph.output in graph.inputs:
        raise UnknownModuleError("nothing is computed")
    return graph


def _network(graph: Graph, network: nn.Module) -> int:
    """Write what a network of known modules runs; returns its output."""
    try:
        traced = _Tracer().trace(network)
    except Exception as error:  # a forward may do with a proxy what it likes, and fail as it likes
        raise UnknownModuleError(f"{type(network).__name__} cannot be traced") from error
    given = [node for node in traced.nodes if node.op == "placeholder"]
    if len(given) != len(graph.inputs):
        raise UnknownModuleError(f"{len(given)} arguments of {len(graph.inputs)} inputs")
    values = dict(zip(given, graph.inputs, strict=True))
    seen: set[str] = set()
    for node in traced.nodes:
        arguments = [values.get(argument) for argument in node.args]
        if node.op == "placeholder":
            continue
        if node.op == "output":
            (output,) = arguments
            if output is None:
                raise UnknownModuleError("an output of several tensors")
            return output
        name = str(node.target)
        inputs = [value for value in arguments if value is not None]
        if node.op != "call_module" or node.kwargs or len(inputs) < len(arguments) or name in seen:
            raise UnknownModuleError(f"{node.format_node()} is not known, or used twice")
        seen.add(name)
        layer = network.get_submodule(name)
        if isinstance(layer, Resize):
            (values[node],) = inputs
            if tuple(graph.shapes[values[node]][2:]) != layer.size:
                raise UnknownModuleError(f"images of another size than {layer.size}")
        else:
            values[node] = _write(graph, layer, inputs)
    raise UnknownModuleError("no output")


def _write(graph: Graph, module: nn.Module, inputs: Sequence[int]) -> int:
    writer = _WRITERS.get(type(module))
    if writer is None:
        raise UnknownModuleError(f"{type(module).__name__} is not known")
    graph.layers.add(type(module).__name__)
    return writer(graph, module, *inputs)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in _WRITERS or type(m) is Resize


def _convolution(graph: Graph, layer: ConvNorm, x: int) -> int:
    conv = layer.conv
    weight, bias = conv.weight, conv.bias
    if (norm := layer.norm) is not None:
        if norm.running_mean is None or norm.running_var is None:
            raise UnknownModuleError("a norm without statistics")
        mean, variance, eps = norm.running_mean, norm.running_var, norm.eps
        weight, bias = fuse_conv_bn_weights(
            weight, bias, mean, variance, eps, norm.weight, norm.bias
        )
    return _convolved(graph, conv, weight, bias, layer.activation, x)


def _convolved(
    graph: Graph,
    conv: nn.Conv2d,
    weight: Tensor,
    bias: Tensor | None,
    activation: str,
    x: int,
) -> int:
    (kernel, width), (stride, across) = conv.kernel_size, conv.stride
    padding = conv.padding
    usual = type(conv) is nn.Conv2d and conv.dilation == (1, 1) and conv.padding_mode == "zeros"
    square = kernel == width and stride == across and padding == (kernel // 2, kernel // 2)
    if not usual or not square or bias is None or weight.dtype != torch.float32:
        raise UnknownModuleError(f"{conv} is not usual")
    (batch, channels, *size) = graph.shapes[x]
    if channels != conv.in_channels:
        raise UnknownModuleError(f"{conv} of {channels} channels")
    height, breadth = (strided(n, stride) for n in size)
    handle = graph.handle()
    return graph.add(
        "convolution",
        (batch, weight.shape[0], height, breadth),
        x,
        handle=handle,
        clamp=graph.fused(activation),
        weights=(weight.detach(), bias.detach()),
        stride=stride,
        padding=kernel // 2,
        groups=conv.groups,
    )


def _linear(graph: Graph, layer: Linear, x: int, activation: str = "none") -> int:
    linear = layer.linear
    if type(linear) is not nn.Linear or linear.weight.dtype != torch.float32:
        raise UnknownModuleError(f"{linear} is not usual")
    weights = (linear.weight.detach(), linear.bias.detach())
    handle = graph.handle()
    shape = (*graph.shapes[x][:-1], linear.out_features)
    clamp = graph.fused(activation)
    return graph.add("linear", shape, x, handle=handle, clamp=clamp, weights=weights)


def _clamped_linear(graph: Graph, layer: ClampedLinear, x: int) -> int:
    return _linear(graph, layer, x, layer.activation)


def _mean(graph: Graph, x: int) -> int:
    (batch, channels, _, _) = graph.shapes[x]
    return graph.add("mean", (batch, channels, 1, 1), x)


def _global_pool(graph: Graph, layer: GlobalPool, x: int) -> int:
    mean = _mean(graph, x)
    return graph.add("reshape", graph.shapes[mean][:2], mean)


def _activation(graph: Graph, layer: Activation, x: int) -> int:
    return _activated(graph, layer.function, x)


def _activated(graph: Graph, function: str, x: int) -> int:
    shape = graph.shapes[x]
    if function in ("hardswish", "sigmoid"):
        return graph.add(function, shape, x)
    handle = graph.handle()
    if function == "silu":
        return graph.add("multiply", shape, x, graph.add("sigmoid", shape, x, handle=handle),
                         handle=handle)  # fmt: skip
    if function != "hardsigmoid":
        raise UnknownModuleError(f"{function} is not known")
    y = graph.add("add", shape, x, graph.scalar(3), handle=handle)
    y = graph.add("clamp", shape, y, handle=handle, clamp=(0, "inf"))
    y = graph.add("clamp", shape, y, handle=handle, clamp=("-inf", 6))
    return graph.add("divide", shape, y, graph.scalar(6), handle=handle)


def _squeeze_excite(graph: Graph, layer: SqueezeExcite, x: int) -> int:
    fused = layer.activation if layer.activation in FUSED else "none"
    y = _mean(graph, x)
    y = _convolved(graph, layer.reduce, layer.reduce.weight, layer.reduce.bias, fused, y)
    if fused == "none":
        y = _activated(graph, layer.activation, y)
    y = _convolved(graph, layer.expand, layer.expand.weight, layer.expand.bias, "none", y)
    return graph.add("multiply", graph.shapes[x], x, _activated(graph, layer.gate, y))


def _add(graph: Graph, layer: Add, x: int, y: int) -> int:
    return graph.add("add", graph.shapes[x], x, y)


def _bypass(graph: Graph, layer: Bypass, x: int, y: int) -> int:
    fitted = []
    for value in (x, y):
        (batch, channels, *size) = graph.shapes[value]
        shape = (batch, layer.out_channels, *size)
        if channels != layer.out_channels:
            value = graph.add("pad" if channels < layer.out_channels else "slice", shape, value)
        fitted.append(value)
    return graph.add("add", graph.shapes[fitted[0]], *fitted)


def _upsample(graph: Graph, layer: Upsample, x: int) -> int:
    (batch, channels, height, width) = graph.shapes[x]
    shape = (batch, channels, 2 * height, 2 * width)
    if layer.mode == "bilinear":
        return graph.add("bilinear", shape, x)
    # As `netadapt.profiler.rewrites` has it
    y = graph.add("permute", (batch, height, width, channels), x, permutation=TO_NHWC)
    y = graph.add("reshape", (batch * height, 1, width, 1, channels), y)
    ones = graph.constant(torch.ones((1, 2, 1, 2, 1)))
    y = graph.add("multiply", (batch * height, 2, width, 2, channels), y, ones)
    y = graph.add("reshape", (batch, 2 * height, 2 * width, channels), y)
    return graph.add("permute", shape, y, permutation=TO_NCHW)


def _dropout(graph: Graph, layer: nn.Module, x: int) -> int:
    graph.handle()  # gone in the backend, counted by the exporter
    return x


def _identity(graph: Graph, layer: nn.Module, x: int) -> int:
    return x


_WRITERS: dict[type[nn.Module], Callable[..., int]] = {
    ConvNorm: _convolution,
    StandardConvNorm: _convolution,
    PointwiseConvNorm: _convolution,
    DepthwiseConvNorm: _convolution,
    Linear: _linear,
    ClampedLinear: _clamped_linear,
    GlobalPool: _global_pool,
    Activation: _activation,
    SqueezeExcite: _squeeze_excite,
    GeneralSqueezeExcite: _squeeze_excite,
    Add: _add,
    Bypass: _bypass,
    Upsample: _upsample,
    nn.Dropout: _dropout,
    nn.Identity: _identity,
}
"""How each known module is written, by its very class: a subclass may compute anything."""

KNOWN_LAYERS = frozenset(layer.__name__ for layer in _WRITERS)
"""What a `Graph.layers` may name, but for networks' own classes."""
