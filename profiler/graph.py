"""A program as its runtime's graph: what is executed, node by node, whatever the model is called.

The graph is taken from the backend itself, after all of its passes: operators that it fused, folded
or removed are no nodes, changes of memory layout are. What the backend did not take runs as
portable operators outside of it, each with its name and the line of the model that it comes from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

Attribute = int | float | str | tuple[int, ...]
_NO_VALUE = 4294967295  # of an input that a node goes without, such as a bias
_OUTPUTS = ("output_id", "output_value_id", "output_index_id")


@dataclass(frozen=True, slots=True)
class TensorValue:
    """A tensor of the graph.

    Parameters
    ----------
    dims : tuple of int
        As it lies in memory.
    datatype : str
        The backend's word, e.g. "fp32".
    constant : bool
        Whether it is a weight.
    """

    dims: tuple[int, ...]
    datatype: str
    constant: bool

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.dims)


@dataclass(frozen=True, slots=True)
class Node:
    """An operation of the backend.

    Parameters
    ----------
    op : str
        The backend's name for it, e.g. "Conv2d".
    inputs : tuple of (str, TensorValue)
        By the name of their field, weights among them.
    output : tuple of (str, TensorValue)
        The same of its result.
    attributes : tuple of (str, Attribute)
        Everything else that it is told: kernel size, stride, padding, ...
    clamp : tuple of (float or str, float or str), or None
        Lowest and highest value of the output, fused into it.
    module : str
        Path of the model's module that it comes from; "" where the backend added it.
    values : tuple of int
        Numbers of inputs and output in their graph, inputs first.
    """

    op: str
    inputs: tuple[tuple[str, TensorValue], ...]
    output: tuple[str, TensorValue]
    attributes: tuple[tuple[str, Attribute], ...]
    clamp: tuple[float | str, float | str] | None
    module: str
    values: tuple[int, ...]

    def number(self, attribute: str) -> int:
        """A whole number that the node is told, e.g. its "kernel_height"."""
        return int(str(dict(self.attributes)[attribute]))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and matrix products; others have none."""
        if "group_input_channels" in dict(self.attributes):
            sizes = ("kernel_width", "kernel_height", "group_input_channels")
            return self.output[1].elements * math.prod(map(self.number, sizes))
        if self.op == "FullyConnected":
            return self.output[1].elements * self.inputs[0][1].dims[-1]
        return 0

    @property
    def operation(self) -> str:
        """What it is without its shapes, e.g. `Conv2d 3x3/2`."""
        known = dict(self.attributes)
        if "kernel_height" not in known:
            return self.op
        size = f"{known['kernel_height']}x{known['kernel_width']}"
        step = known["subsampling_height"]
        return f"{self.op} {size}" + (f"/{step}" if step != 1 else "")

    @property
    def described(self) -> str:
        """Name and shapes in one line, e.g. `Conv2d 3x3/2 1x224x224x3 -> 1x112x112x16 relu`."""
        given = [_shape(value) for _, value in self.inputs if not value.constant]
        words = [self.operation, f"{', '.join(given)} -> {_shape(self.output[1])}"]
        if self.clamp is not None:
            low, high = map(float, self.clamp)
            words.append(f"in {low:g}..{high:g}")
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Outside:
    """An operator that the backend did not take.

    Parameters
    ----------
    op : str
        As ExecuTorch calls it, e.g. "aten.split_with_sizes_copy.default".
    module : str
        Path of the model's module that it comes from.
    where : str
        File and line of the model, "" where nobody noted them.
    arguments : str
        What it is called with, see `netadapt.profiler.kernels.PortableKernel`.
    tensors : tuple of (shape, str)
        Shape and data type of each tensor among them.
    """

    op: str
    module: str
    where: str
    arguments: str
    tensors: tuple[tuple[tuple[int, ...], str], ...]


@dataclass(frozen=True, slots=True)
class ModelGraph:
    """A whole program.

    Parameters
    ----------
    calls : tuple of tuple of Node
        Each call of the backend, its nodes in order.
    outside : tuple of Outside
    """

    calls: tuple[tuple[Node, ...], ...]
    outside: tuple[Outside, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Of all calls, in order."""
        return tuple(node for call in self.calls for node in call)

    @property
    def macs(self) -> int:
        """Of all nodes."""
        return sum(node.macs for node in self.nodes)


def read_graph(graph: Any, modules: Mapping[int, str]) -> tuple[Node, ...]:
    """The nodes of an XNNPACK graph record.

    Parameters
    ----------
    graph : XNNGraph
    modules : mapping of int to str
        The model's module behind each debug handle.
    """
    values = [_value(entry.xvalue_union) for entry in graph.xvalues]
    nodes = []
    for entry in graph.xnodes:
        record = entry.xnode_union
        given, outputs, attributes = [], [], []
        for field in fields(record):
            value = getattr(record, field.name)
            if field.name in _OUTPUTS:
                outputs.append((field.name, value))
            elif not field.name.endswith("_id"):
                attributes.append((field.name, tuple(value) if isinstance(value, list) else value))
            elif value != _NO_VALUE:
                given.append((field.name, value))
        (name, output), *_ = outputs
        clamp = entry.output_min_max
        nodes.append(
            Node(
                op=type(record).__name__.removeprefix("XNN"),
                inputs=tuple((field, values[number]) for field, number in given),
                output=(name, values[output]),
                attributes=tuple(attributes),
                clamp=clamp and (_bound(clamp.output_min), _bound(clamp.output_max)),
                module=modules.get(entry.debug_handle, ""),
                values=(*(number for _, number in given), output),
            )
        )
    return tuple(nodes)


def _value(record: Any) -> TensorValue:
    tensor = getattr(record, "tensor_value", record)  # a quantized one wraps it
    datatype = tensor.datatype.name.removeprefix("xnn_datatype_")
    return TensorValue(tuple(tensor.dims), datatype, tensor.constant_buffer_idx != 0)


def _bound(value: float | str) -> float | str:
    return value if isinstance(value, str) else float(value)


def _shape(value: TensorValue) -> str:
    return "x".join(map(str, value.dims))
