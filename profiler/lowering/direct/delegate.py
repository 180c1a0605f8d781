"""A graph as XNNPACK's own: nodes and values of its schema, weights as named data."""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_origin, get_type_hints

import numpy as np
from executorch.backends.xnnpack.serialization import xnnpack_graph_schema as schema
from executorch.backends.xnnpack.serialization import xnnpack_graph_serialize as serialize
from executorch.backends.xnnpack.utils.xnnpack_constants import (
    UINT64_MAX,
    XNN_FLAG_KEEP_DIMS,
    XNN_INVALID_VALUE_ID,
    XNN_VALUE_FLAG_EXTERNAL_INPUT,
    XNN_VALUE_FLAG_EXTERNAL_OUTPUT,
)
from executorch.exir._serialize._flatbuffer import _run_flatc
from torch import Tensor

from netadapt.profiler.lowering.direct.layout import Placed, place
from netadapt.profiler.lowering.direct.operators import Graph, Operator

TO_NHWC, TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)
OUTPUT_FIRST = ("mean", "reshape", "divide", "hardswish", "sigmoid", "clamp", "pad", "slice")
"""Operators whose output the backend numbers before their inputs."""


@dataclass(frozen=True, slots=True)
class Delegate:
    """What the backend is given.

    Parameters
    ----------
    graph : XNNGraph
    weights : tuple of (str, bytes)
        By the hash of their bytes, in the order they were defined.
    arguments : tuple of int
        Values of the `Graph` that the delegate is called with, in order.
    output : int
        The value that it gives.
    outside : dict of int to tuple of int
        Dimensions of arguments and output, as they lie in memory.
    """

    graph: schema.XNNGraph
    weights: tuple[tuple[str, bytes], ...]
    arguments: tuple[int, ...]
    output: int
    outside: dict[int, tuple[int, ...]]


def delegate(graph: Graph) -> Delegate:
    """The backend's graph. Raises `UnknownModuleError` as `place` does."""
    return _Writer(graph, place(graph)).written()


class _Writer:
    def __init__(self, graph: Graph, placed: Placed) -> None:
        self.placed = placed
        outside = {*graph.inputs, *graph.scalars}
        used = (value for op in graph.operators for value in op.inputs if value in outside)
        self.arguments = tuple(dict.fromkeys(used))
        external = len(self.arguments) + 1
        self.graph = schema.XNNGraph(
            "0", [], [], external, [], [], [schema.ConstantDataOffset(0, 0)]
        )
        self.ids: dict[int, int] = {}
        self.weights: list[tuple[str, bytes]] = []

    def written(self) -> Delegate:
        for op in self.placed.operators:
            clamp = None if op.clamp is None else schema.OutputMinMax(*op.clamp)
            self.graph.xnodes.append(schema.XNode(self._node(op), op.handle, clamp))
        output = self.placed.output
        outside = {value: self._lying(value) for value in (*self.arguments, output)}
        return Delegate(self.graph, tuple(self.weights), self.arguments, output, outside)

    def _node(self, op: Operator) -> Any:
        if op.kind == "convolution":
            return self._convolution(op)
        if op.kind == "linear":
            given = self._define(op.inputs[0])
            filters, bias = (self._constant(w.shape, w.numpy()) for w in map(_plain, op.weights))
            return schema.XNNFullyConnected(given, filters, bias, self._define(op.output), 0)
        if op.kind in OUTPUT_FIRST:
            self._define(op.output)
        inputs = [self._define(value) for value in op.inputs]
        output = self._define(op.output)
        match op.kind:
            case "transpose":
                perm = TO_NHWC if op.output in self.placed.nhwc else TO_NCHW
                return schema.XNNStaticTranspose(4, list(perm), *inputs, output, 0)
            case "mean":
                return schema.XNNGlobalAvgPooling2d(*inputs, output, XNN_FLAG_KEEP_DIMS)
            case "reshape":
                shape = self.placed.shapes[op.output]
                return schema.XNNStaticReshape(len(shape), list(shape), *inputs, output, 0)
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
        lying = weight.numpy().transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1))
        constant = self._constant(lying.shape, lying)
        output = self._define(op.output)
        shift = self._constant(bias.shape, bias.numpy())
        node = schema.XNNDepthwiseConv2d if depthwise else schema.XNNConv2d
        return node(
            *[op.padding] * 4,
            *(kernel, kernel, op.stride, op.stride, 1, 1),
            *(depth, filters // op.groups, op.groups, 0, 0),
            *(given, constant, shift, output, 0),
        )

    def _define(self, value: int) -> int:
        if value not in self.ids:
            output = value == self.placed.output
            given = value in self.arguments
            external, flags = XNN_INVALID_VALUE_ID, 0
            self.ids[value] = number = len(self.graph.xvalues)
            if given:
                external, flags = self.arguments.index(value), XNN_VALUE_FLAG_EXTERNAL_INPUT
                self.graph.input_ids.append(number)
            elif output:
                external, flags = len(self.arguments), XNN_VALUE_FLAG_EXTERNAL_OUTPUT
                self.graph.output_ids.append(number)
            self._value(self._dims(value), 0, external, flags)
        return self.ids[value]

    def _dims(self, value: int) -> list[int]:
        return list(self._lying(value)) or [1]

    def _lying(self, value: int) -> tuple[int, ...]:
        shape = self.placed.shapes[value]
        return tuple(shape[i] for i in TO_NHWC) if value in self.placed.nhwc else shape

    def _constant(self, shape: Sequence[int], values: np.ndarray[Any, Any]) -> int:
        data = np.ascontiguousarray(values).tobytes()
        name = hashlib.sha256(data).hexdigest()
        self.weights.append((name, data))
        index = len(self.graph.constant_data)
        self.graph.constant_data.append(schema.ConstantDataOffset(UINT64_MAX, len(data), name))
        return self._value(list(shape), index, XNN_INVALID_VALUE_ID, 0)

    def _value(self, dims: list[int], constant: int, external: int, flags: int) -> int:
        number = len(self.graph.xvalues)
        fp32 = schema.XNNDatatype.xnn_datatype_fp32
        value = schema.XNNTensorValue(fp32, len(dims), dims, constant, external, flags, number)
        self.graph.xvalues.append(schema.XValue(value))
        return number


_PLAIN: dict[str, Any] = {
    "add": schema.XNNAdd,
    "multiply": schema.XNNMultiply,
    "divide": schema.XNNDiv,
    "clamp": schema.XNNClamp,
    "hardswish": schema.XNNHardswish,
    "sigmoid": schema.XNNSigmoid,
}


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()


def to_bytes(graphs: Sequence[schema.XNNGraph]) -> list[bytes]:
    """What the runtime reads of each graph: one call of the schema's compiler for all of them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "schema.fbs").write_bytes(serialize._get_schema_bytes())
        paths = [folder / f"{index}.json" for index in range(len(graphs))]
        for path, graph in zip(paths, graphs, strict=True):
            path.write_text(json.dumps(graph, default=_members))
        _run_flatc(["--binary", "-o", name, str(folder / "schema.fbs"), *map(str, paths)])
        compiled = [path.with_suffix(".bin").read_bytes() for path in paths]
    return [_with_header(data) for data in compiled]


def _members(value: Any) -> dict[str, Any]:
    """A record of the schema as flatc reads it: unions carry the name of what they hold."""
    record: type[Any] = type(value)
    if not is_dataclass(record):
        raise TypeError(f"{value!r} is no record of the schema")
    found: dict[str, Any] = {}
    for name, union in _layout(record):
        found[name] = member = getattr(value, name)
        if union:
            found[f"{name}_type"] = type(member).__name__
    return found


@functools.cache
def _layout(record: type[Any]) -> tuple[tuple[str, bool], ...]:
    hints = get_type_hints(record)
    return tuple(
        (f.name, isinstance(f.type, str) and get_origin(hints[f.name]) is Union)
        for f in fields(record)
    )


def _with_header(flatbuffer: bytes) -> bytes:
    """The graph as `serialize_xnnpack_binary` puts it, whose weights are all named data."""
    align = serialize.CONSTANT_TENSOR_ALIGNMENT
    head = serialize._aligned_size(serialize.XNNHeader.EXPECTED_LENGTH, align)
    body = serialize._aligned_size(len(flatbuffer), align)
    header = serialize.XNNHeader(head, len(flatbuffer), head + body, 0).to_bytes()
    return serialize._pad_to(header, head) + serialize._pad_to(flatbuffer, body)
