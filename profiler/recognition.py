"""A graph of the backend as kernels: what of it the table knows, and what stands alone.

Each kernel type says what a run of nodes may be (`Kernel.from_nodes`); that is believed where the
backend, given the kernel by itself in its own layout, has the very same nodes: operators, shapes,
attributes, fused clamps, and who takes whose output. A node of no type is a `NodeKernel`, an
operator outside of the backend a `PortableKernel`. So nothing that runs goes uncounted.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from netadapt.profiler.graph import ModelGraph, Node, Outside, read_graph
from netadapt.profiler.kernels import Kernel, NodeKernel, PortableKernel, kernel_types

SCALAR = "dim_order_ops._to_dim_order_copy.default"
"""What turns a number that a kernel computes with into a tensor, outside of the backend."""


@dataclass(frozen=True, slots=True)
class Part:
    """A kernel of a graph.

    Parameters
    ----------
    kernel : Kernel
    nodes : tuple of Node
        What the backend runs of it, in order; none of a `PortableKernel`.
    module : str
        Path of the model's module that all of it comes from.
    where : str
        File and line of the model, "" where nobody noted them.
    """

    kernel: Kernel
    nodes: tuple[Node, ...]
    module: str
    where: str = ""

    @property
    def described(self) -> str:
        """Name and shapes in one line, e.g. `Conv2d 3x3/2 1x224x224x3 -> 1x112x112x16 in 0..6`."""
        if isinstance(self.kernel, PortableKernel):
            given = ", ".join("x".join(map(str, shape)) for shape, _ in self.kernel.tensors)
            return f"{self.kernel.op} {given} (outside of XNNPACK)"
        if len(self.nodes) == 1:
            return self.nodes[0].described
        all_shapes = (*self.kernel.input_shapes, self.kernel.output_shape)
        *inputs, output = ("x".join(map(str, shape)) for shape in all_shapes)
        name = self.kernel.type_name
        return f"{name} {', '.join(inputs)} -> {output}, {len(self.nodes)} operations"

    @property
    def operation(self) -> str:
        """What it is without its shapes, e.g. `Conv2d 3x3/2`, `squeeze_excite`."""
        if isinstance(self.kernel, PortableKernel):
            return f"{self.kernel.op} (outside of XNNPACK)"
        return self.nodes[0].operation if len(self.nodes) == 1 else self.kernel.type_name

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return sum(node.macs for node in self.nodes)


def recognise(graph: ModelGraph) -> list[Part]:
    """Return the kernels of a graph in the order they run, those outside of the backend last."""
    parts = []
    scalars = 0
    for call in graph.calls:
        first = 0
        while first < len(call):
            kernel, count = _longest(call[first:])
            nodes = call[first : first + count]
            parts.append(Part(kernel, nodes, _common([node.module for node in nodes])))
            scalars += _own(kernel)[1] if kernel.is_layer else 0
            first += count
    return [*parts, *_outside(graph.outside, scalars)]


def kernels_of(graph: ModelGraph) -> list[Kernel]:
    """Return the layers among the kernels of a graph, in the order they run."""
    return [part.kernel for part in recognise(graph) if part.kernel.is_layer]


def _longest(nodes: Sequence[Node]) -> tuple[Kernel, int]:
    """The kernel that most of the nodes from the first on are, and how many."""
    found: tuple[Kernel, int] = (NodeKernel.of(nodes[0]), 1)
    for cls in kernel_types().values():
        for kernel in cls.from_nodes(nodes):
            own = _own(kernel)[0]
            better = len(own) > found[1] or not found[0].is_layer
            if better and _signature(nodes[: len(own)]) == own:
                found = kernel, len(own)
    return found


@functools.lru_cache(maxsize=1 << 14)
def _own(kernel: Kernel) -> tuple[tuple[object, ...], int]:
    """The signature of the kernel's own nodes, and how many scalars it is given."""
    from netadapt.profiler.lowering.direct.delegate import delegate
    from netadapt.profiler.lowering.direct.operators import UnknownModuleError, read_module

    try:
        graph = replace(read_module(kernel.module(), kernel.input_shapes), native=True)
    except UnknownModuleError:  # a type of somebody else's, which is exported
        return (), 0
    return _signature(read_graph(delegate(graph).graph, {})), len(graph.scalars)


def _signature(nodes: Sequence[Node]) -> tuple[object, ...]:
    """What is the same of equal runs: all but the numbers of values, weights and names."""
    numbers: dict[int, int] = {}
    return tuple(
        (
            node.op,
            tuple((name, _sizes(value.dims), value.constant) for name, value in node.inputs),
            _sizes(node.output[1].dims),
            node.attributes,
            node.clamp and tuple(map(float, node.clamp)),
            tuple(numbers.setdefault(value, len(numbers)) for value in node.values),
        )
        for node in nodes
    )


def _sizes(dims: Sequence[int]) -> tuple[int, ...]:
    """Dimensions beyond 1: a vector is the same work as a map of one pixel."""
    return tuple(size for size in dims if size != 1)


def _outside(outside: Sequence[Outside], scalars: int) -> list[Part]:
    """Operators outside of the backend, without the scalars that kernels bring themselves."""
    left = Counter({SCALAR: scalars})
    parts = []
    for each in outside:
        if left[each.op] > 0:
            left[each.op] -= 1
        else:
            parts.append(Part(PortableKernel.of(each), (), each.module, each.where))
    return parts


def _common(paths: Sequence[str]) -> str:
    """The innermost module that all of these are in; the backend's own nodes have none."""
    named = [path.split(".") for path in paths if path]
    if not named:
        return ""
    shared = []
    for steps in zip(*named, strict=False):
        if len(set(steps)) > 1:
            break
        shared.append(steps[0])
    return ".".join(shared)
