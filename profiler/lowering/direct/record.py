"""XNNPACK's graph as its schema's records, and these as the bytes that the runtime reads."""

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

from netadapt.profiler.lowering.direct.serialisers import XNNPACK_SCHEMA, run_flatc
from netadapt.profiler.lowering.direct.serialisers import xnnpack_constants as constants
from netadapt.profiler.lowering.direct.serialisers import xnnpack_schema as schema
from netadapt.profiler.lowering.direct.serialisers import xnnpack_serialize as serialize


@dataclass(frozen=True, slots=True)
class Delegate:
    """What the backend is given.

    Parameters
    ----------
    graph : XNNGraph
    weights : tuple of (str, bytes)
        By the hash of their bytes, in the order they were defined.
    arguments : tuple of int
        Its caller's values that the delegate is called with, in order.
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


class GraphRecord:
    """A graph that is being written: values get their numbers as they are first used."""

    def __init__(self, arguments: Sequence[int], output: int) -> None:
        """A graph without nodes.

        Parameters
        ----------
        arguments : sequence of int
            The caller's values that it is given, in order.
        output : int
            The one that it gives.
        """
        self._arguments, self._output = tuple(arguments), output
        self._graph = schema.XNNGraph(
            "0", [], [], len(self._arguments) + 1, [], [], [schema.ConstantDataOffset(0, 0)]
        )
        self._ids: dict[int, int] = {}
        self._dims: dict[int, tuple[int, ...]] = {}
        self._weights: list[tuple[str, bytes]] = []

    def define(self, value: int, dims: Sequence[int]) -> int:
        """The number here of a value of the caller's, of dimensions as they lie in memory."""
        if value not in self._ids:
            external, flags = constants.XNN_INVALID_VALUE_ID, 0
            self._ids[value] = number = len(self._graph.xvalues)
            self._dims[value] = tuple(dims)
            if value in self._arguments:
                external = self._arguments.index(value)
                flags = constants.XNN_VALUE_FLAG_EXTERNAL_INPUT
                self._graph.input_ids.append(number)
            elif value == self._output:
                external, flags = len(self._arguments), constants.XNN_VALUE_FLAG_EXTERNAL_OUTPUT
                self._graph.output_ids.append(number)
            self._append(list(dims) or [1], 0, external, flags)
        return self._ids[value]

    def constant(self, values: np.ndarray[Any, Any]) -> int:
        """The number of a new constant of fp32, named by the hash of its bytes."""
        data = np.ascontiguousarray(values).tobytes()
        name = hashlib.sha256(data).hexdigest()
        self._weights.append((name, data))
        index = len(self._graph.constant_data)
        entry = schema.ConstantDataOffset(constants.UINT64_MAX, len(data), name)
        self._graph.constant_data.append(entry)
        return self._append(list(values.shape), index, constants.XNN_INVALID_VALUE_ID, 0)

    def add(self, node: Any, handle: int, clamp: tuple[float | str, float | str] | None) -> None:
        """Append a node of the schema."""
        bounds = None if clamp is None else schema.OutputMinMax(*clamp)
        self._graph.xnodes.append(schema.XNode(node, handle, bounds))

    def delegate(self) -> Delegate:
        """What was written."""
        outside = {value: self._dims[value] for value in (*self._arguments, self._output)}
        weights = tuple(self._weights)
        return Delegate(self._graph, weights, self._arguments, self._output, outside)

    def _append(self, dims: list[int], constant: int, external: int, flags: int) -> int:
        number = len(self._graph.xvalues)
        fp32 = schema.XNNDatatype.xnn_datatype_fp32
        value = schema.XNNTensorValue(fp32, len(dims), dims, constant, external, flags, number)
        self._graph.xvalues.append(schema.XValue(value))
        return number


def to_bytes(graphs: Sequence[schema.XNNGraph]) -> list[bytes]:
    """What the runtime reads of each graph: one call of the schema's compiler for all of them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "schema.fbs").write_bytes(XNNPACK_SCHEMA)
        paths = [folder / f"{index}.json" for index in range(len(graphs))]
        for path, graph in zip(paths, graphs, strict=True):
            path.write_text(json.dumps(graph, default=_members))
        run_flatc(["--binary", "-o", name, str(folder / "schema.fbs"), *map(str, paths)])
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
