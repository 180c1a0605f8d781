"""Operations of anybody's model that are no layer of ours: known only where they were measured.

Their fields are all that decides what is executed, as JSON, so that equal operations are one row of
a table whichever model they stand in. Nothing is concluded from one to another.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NoReturn, Self

import torch
from torch import Tensor, nn

from netadapt.profiler.graph import Node, Outside, TensorValue
from netadapt.profiler.kernels.base import Kernel, Shape

_PLACE = "@"
"""Marks a tensor among the arguments of an operator, where its number follows."""


class Operation(nn.Module):
    """Stands for a `NodeKernel`: the backend has it, torch has not."""

    def __init__(self, kernel: NodeKernel) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, *inputs: Tensor) -> NoReturn:
        raise NotImplementedError(f"{self.kernel.op} is the backend's own; its program is written")


class _Operation(Kernel):
    """What both have in common: nothing is concluded from one to another, and none is chained."""

    is_layer: ClassVar[bool] = False

    @property
    def keeps_shape(self) -> bool:
        return False

    @property
    def carries_layout_cost(self) -> bool:
        return False


@dataclass(frozen=True)
class NodeKernel(_Operation):
    """One node of the backend that no kernel type recognises, in the layout that it has there.

    Parameters
    ----------
    op : str
        The backend's name for it.
    tensors : str
        Inputs, weights among them, and last the output: field, dimensions, data type, whether it
        is a weight, and a number by which one that stands twice is known.
    attributes : str
        What else it is told, with its fused clamp.
    """

    type_name: ClassVar[str] = "node"
    module_type: ClassVar[type[nn.Module]] = Operation

    op: str
    tensors: str
    attributes: str

    @classmethod
    def of(cls, node: Node) -> Self:
        """The kernel that a node is."""
        numbers: dict[int, int] = {}
        tensors = [
            [name, value.dims, value.datatype, value.constant,
             numbers.setdefault(number, len(numbers))]
            for (name, value), number in zip((*node.inputs, node.output), node.values, strict=True)
        ]  # fmt: skip
        clamp = node.clamp and [str(float(bound)) for bound in node.clamp]
        return cls(node.op, _text(tensors), _text([node.attributes, clamp]))

    @cached_property
    def node(self) -> Node:
        """The node, of no module. Raises `ValueError` for fields that say none."""
        tensors, (attributes, clamp) = json.loads(self.tensors), json.loads(self.attributes)
        *inputs, output = [
            (name, TensorValue(tuple(dims), datatype, constant))
            for name, dims, datatype, constant, _ in tensors
        ]
        return Node(
            op=self.op,
            inputs=tuple(inputs),
            output=output,
            attributes=tuple((name, _tuples(value)) for name, value in attributes),
            clamp=clamp and (_bound(clamp[0]), _bound(clamp[1])),
            module="",
            values=tuple(number for *_, number in tensors),
        )

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        found = {}
        for number, (_, value) in zip(self.node.values, self.node.inputs, strict=False):
            if not value.constant:
                found[number] = value.dims
        return tuple(found.values())

    @property
    def output_shape(self) -> Shape:
        return self.node.output[1].dims

    @property
    def macs(self) -> int:
        return self.node.macs

    @property
    def params(self) -> int:
        return sum(value.elements for _, value in self.node.inputs if value.constant)

    def module(self) -> nn.Module:
        return Operation(self)

    @classmethod
    def from_module(cls, module: nn.Module, inputs: Sequence[Shape]) -> Self:
        assert isinstance(module, Operation)
        assert isinstance(module.kernel, cls)
        return module.kernel


class PortableOperation(nn.Module):
    """The operator of a `PortableKernel`; gives one tensor, or several.

    Tensors of fp32 are inputs, those of other types constants: nobody passes them in from outside.
    """

    def __init__(self, kernel: PortableKernel) -> None:
        super().__init__()
        self.kernel = kernel
        self.operator = _operator(kernel.op)
        for number, (shape, dtype) in enumerate(kernel.tensors):
            if dtype != "float32":
                constant = torch.zeros(shape, dtype=getattr(torch, dtype))
                self.register_buffer(f"tensor{number}", constant)

    def forward(self, *inputs: Tensor) -> Any:
        given = iter(inputs)
        tensors = [
            next(given) if dtype == "float32" else getattr(self, f"tensor{number}")
            for number, (_, dtype) in enumerate(self.kernel.tensors)
        ]
        positional, named = json.loads(self.kernel.arguments)
        return self.operator(*_filled(positional, tensors), **_filled(named, tensors))


@dataclass(frozen=True)
class PortableKernel(_Operation):
    """An operator that the backend did not take, run by ExecuTorch's portable kernels.

    Parameters
    ----------
    op : str
        As ExecuTorch calls it, e.g. "aten.split_with_sizes_copy.default".
    arguments : str
        What it is called with: positional and named, "@0" for the first tensor.
    shapes : str
        Of the tensors, each with its data type.
    """

    type_name: ClassVar[str] = "portable"
    module_type: ClassVar[type[nn.Module]] = PortableOperation

    op: str
    arguments: str
    shapes: str

    @classmethod
    def of(cls, operator: Outside) -> Self:
        """The kernel that an operator outside of the backend is."""
        return cls(operator.op, operator.arguments, _text(operator.tensors))

    @cached_property
    def tensors(self) -> tuple[tuple[Shape, str], ...]:
        """Shape and data type of each tensor that it is called with."""
        return tuple((tuple(shape), str(dtype)) for shape, dtype in json.loads(self.shapes))

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return tuple(shape for shape, dtype in self.tensors if dtype == "float32")

    @property
    def output_shape(self) -> Shape:
        with torch.no_grad():
            outputs = self.module()(*(torch.zeros(shape) for shape in self.input_shapes))
        first = outputs if isinstance(outputs, Tensor) else outputs[0]
        return tuple(first.shape)

    def module(self) -> nn.Module:
        return PortableOperation(self).eval()

    @classmethod
    def from_module(cls, module: nn.Module, inputs: Sequence[Shape]) -> Self:
        assert isinstance(module, PortableOperation)
        assert isinstance(module.kernel, cls)
        return module.kernel


def call_text(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[str, list[tuple[Shape, str]]]:
    """The arguments of a call as text, and shape and data type of the tensors among them.

    Tensors may be torch's fake ones. What is neither number, text, list nor tensor (a data type, a
    layout) is named.
    """
    tensors: list[tuple[Shape, str]] = []

    def plain(value: Any) -> Any:
        if isinstance(value, Tensor):
            tensors.append((tuple(map(int, value.shape)), str(value.dtype).removeprefix("torch.")))
            return f"{_PLACE}{len(tensors) - 1}"
        if isinstance(value, list | tuple):
            return [plain(each) for each in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        return str(value)

    positional = [plain(value) for value in args]
    return _text([positional, {name: plain(value) for name, value in kwargs.items()}]), tensors


def _filled(value: Any, tensors: Sequence[Tensor]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(each, tensors) for name, each in value.items() if name != "dim_order"}
    if isinstance(value, list):
        return [_filled(each, tensors) for each in value]
    if isinstance(value, str) and value.startswith(_PLACE):
        return tensors[int(value[len(_PLACE) :])]
    if isinstance(value, str) and value.startswith("torch."):
        return getattr(torch, value.removeprefix("torch."))
    return value


_EDGE_ONLY = {
    "dim_order_ops._to_dim_order_copy": "aten._to_copy",
    "dim_order_ops._clone_dim_order": "aten.clone",
    "dim_order_ops._empty_dim_order": "aten.empty",
}
"""Operators that ExecuTorch makes of torch's."""


def _operator(name: str) -> Any:
    path, _, overload = name.rpartition(".")
    namespace, _, packet = _EDGE_ONLY.get(path, path).partition(".")
    return getattr(getattr(getattr(torch.ops, namespace), packet), overload)


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _bound(text: str) -> float | str:
    return {"inf": "inf", "-inf": "-inf"}.get(text) or float(text)


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), default=dataclasses.asdict)
