"""What XNNPACK is given to run: operators of programs as they are lowered, layout changes aside.

Each is named with the clamp that is fused into it, e.g. `Conv2d`, `Conv2d[0, 6]`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from netadapt.profiler.kernels import (
    ActivationKernel,
    Kernel,
    SqueezeExciteKernel,
    UpsampleKernel,
)
from netadapt.profiler.kernels.squeeze_excite import USUAL

LAYOUT = {"StaticTranspose", "StaticReshape"}
CLAMPS = {"none": "", "relu": "[0, +inf]", "relu6": "[0, 6]"}
ACTIVATIONS = {"hardswish": ["Hardswish"], "silu": ["Sigmoid", "Multiply"]}
GATES = {"hardsigmoid": ["Add", "Clamp[0, inf]", "Clamp[-inf, 6]", "Div"], "sigmoid": ["Sigmoid"]}
OTHERS = {
    "standard_conv": "Conv2d",
    "pointwise_conv": "Conv2d",
    "depthwise_conv": "DepthwiseConv2d",
    "linear": "FullyConnected",
    "clamped_linear": "FullyConnected",
    "add": "Add",
    "global_pool": "GlobalAvgPooling2d",
}


def expected_ops(kernels: Iterable[Kernel]) -> Counter[str]:
    """What programs of these kernels have for XNNPACK to run."""
    return Counter(op for kernel in kernels for op in _ops(kernel))


def _ops(kernel: Kernel) -> list[str]:
    if isinstance(kernel, ActivationKernel):
        return ACTIVATIONS[kernel.function]
    if isinstance(kernel, SqueezeExciteKernel):
        usual = (getattr(kernel, name, USUAL[i]) for i, name in enumerate(("activation", "gate")))
        activation, gate = usual
        inner = ["Conv2d[0, +inf]"] if activation == "relu" else ["Conv2d", *ACTIVATIONS["silu"]]
        return ["GlobalAvgPooling2d", *inner, "Conv2d", *GATES[gate], "Multiply"]
    if kernel.type_name == "bypass":
        (_, channels, *_), (_, filters, *_) = kernel.input_shapes
        wanted = kernel.output_shape[1]
        pads = sum(count < wanted for count in (channels, filters))
        return [*["StaticConstantPad"] * pads, *["StaticSlice"] * (channels > wanted), "Add"]
    if isinstance(kernel, UpsampleKernel):
        return ["StaticResizeBilinear2D" if kernel.mode == "bilinear" else "Multiply"]
    name = OTHERS[kernel.type_name]
    if name == "Conv2d" and kernel.input_shapes[0][1] == 1:
        name = "DepthwiseConv2d"  # a dense convolution of one channel is one, too
    return [name + CLAMPS[getattr(kernel, "activation", "none")]]


@contextmanager
def lowered_ops() -> Iterator[Counter[str]]:
    """Counts the operators of all programs that are lowered within."""
    from executorch.backends.xnnpack import xnnpack_preprocess

    serialize = xnnpack_preprocess.serialize_xnnpack_binary
    found: Counter[str] = Counter()

    def listen(graph: Any, *arguments: Any, **named: Any) -> Any:
        for node in graph.xnodes:
            name = type(node.xnode_union).__name__.removeprefix("XNN")
            limits = node.output_min_max
            if name not in LAYOUT:
                clamp = f"[{limits.output_min}, {limits.output_max}]" if limits else ""
                found[name + clamp] += 1
        return serialize(graph, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xnnpack_preprocess, "serialize_xnnpack_binary", listen)
        yield found
