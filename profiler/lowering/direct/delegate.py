"""Operators as XNNPACK's nodes, in the order and with the numbers that the backend gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from netadapt.profiler.lowering.direct.layout import Placed, place
from netadapt.profiler.lowering.direct.operators import TO_NHWC, Graph, Operator
from netadapt.profiler.lowering.direct.record import Delegate, GraphRecord
from netadapt.profiler.lowering.direct.serialisers import xnnpack_constants as constants
from netadapt.profiler.lowering.direct.serialisers import xnnpack_schema as schema

OUTPUT_FIRST = (
    *("mean", "reshape", "divide", "hardswish", "sigmoid", "clamp", "pad", "slice", "bilinear"),
    "permute",
)
"""Operators whose output the backend numbers before their inputs."""


def delegate(graph: Graph) -> Delegate:
    """The backend's graph. Raises `UnknownModuleError` as `place` does."""
    return _Writer(graph, place(graph)).written()


class _Writer:
    def __init__(self, graph: Graph, placed: Placed) -> None:
        self.placed = placed
        outside = {*graph.inputs, *graph.scalars, *graph.constants}
        used = (value for op in graph.operators for value in op.inputs if value in outside)
        self.record = GraphRecord(tuple(dict.fromkeys(used)), placed.output)

    def written(self) -> Delegate:
        for op in self.placed.operators:
            self.record.add(self._node(op), op.handle, op.clamp)
        return self.record.delegate()

    def _node(self, op: Operator) -> Any:
        if op.kind == "convolution":
            return self._convolution(op)
        if op.kind == "linear":
            given = self._define(op.inputs[0])
            filters, bias = (self.record.constant(_plain(w)) for w in op.weights)
            return schema.XNNFullyConnected(given, filters, bias, self._define(op.output), 0)
        if op.kind in OUTPUT_FIRST:
            self._define(op.output)
        inputs = [self._define(value) for value in op.inputs]
        output = self._define(op.output)
        match op.kind:
            case "transpose" | "permute":
                perm = list(op.permutation)
                return schema.XNNStaticTranspose(len(perm), perm, *inputs, output, 0)
            case "mean":
                return schema.XNNGlobalAvgPooling2d(*inputs, output, constants.XNN_FLAG_KEEP_DIMS)
            case "reshape":
                shape = self.placed.shapes[op.output]
                return schema.XNNStaticReshape(len(shape), list(shape), *inputs, output, 0)
            case "bilinear":
                (_, _, *size) = self.placed.shapes[op.output]
                return schema.XNNStaticResizeBilinear2D(*size, *inputs, output, 0)
            case "pad":
                before, after = self._dims(op.inputs[0]), self._dims(op.output)
                missing = [b - a for a, b in zip(before, after, strict=True)]
                return schema.XNNStaticConstantPad([0] * 4, missing, 0.0, *inputs, output, 0)
            case "slice":
                sizes = self._dims(op.output)
                return schema.XNNStaticSlice(4, [0] * 4, sizes, *inputs, output, 0)
        return _PLAIN[op.kind](*inputs, output, 0)

    def _convolution(self, op: Operator) -> Any:
        given = self._define(op.inputs[0])
        weight, bias = map(_plain, op.weights)
        filters, depth, kernel, _ = weight.shape
        # What the backend takes for depthwise: one input channel a group, a grey stem included
        depthwise = depth == 1
        lying = weight.transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1))
        constant = self.record.constant(lying)
        output = self._define(op.output)
        shift = self.record.constant(bias)
        node = schema.XNNDepthwiseConv2d if depthwise else schema.XNNConv2d
        return node(
            *[op.padding] * 4,
            *(kernel, kernel, op.stride, op.stride, 1, 1),
            *(depth, filters // op.groups, op.groups, 0, 0),
            *(given, constant, shift, output, 0),
        )

    def _define(self, value: int) -> int:
        return self.record.define(value, self._dims(value))

    def _dims(self, value: int) -> list[int]:
        shape = self.placed.shapes[value]
        return [shape[i] for i in TO_NHWC] if value in self.placed.nhwc else list(shape)


_PLAIN: dict[str, Any] = {
    "add": schema.XNNAdd,
    "multiply": schema.XNNMultiply,
    "divide": schema.XNNDiv,
    "clamp": schema.XNNClamp,
    "hardswish": schema.XNNHardswish,
    "sigmoid": schema.XNNSigmoid,
}


def _plain(tensor: Tensor) -> np.ndarray[Any, Any]:
    values: np.ndarray[Any, Any] = tensor.detach().cpu().contiguous().numpy()
    return values
