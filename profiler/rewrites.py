"""Exact rewrites of an exported model: the same numbers, in operators that the backend takes.

Off unless they are asked for, each by its name. A rewrite changes the exported program where it
stands, so that its operators keep the module and the line of the model that they come from.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from netadapt.profiler.errors import LoweringError
from netadapt.profiler.lowering.seam import quiet

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node

aten = torch.ops.aten


def rewritten(exported: ExportedProgram, names: Sequence[str]) -> ExportedProgram:
    """A copy of `exported` with the rewrites of these names, in their order.

    Raises `LoweringError` for a name that is none's.
    """
    if unknown := [name for name in names if name not in REWRITES]:
        raise LoweringError(
            f"a rewrite is one of {', '.join(REWRITES)}, got {unknown[0][:80]!r}; correct it"
        )
    if not names:
        return exported
    with quiet():
        program = copy.deepcopy(exported)
    for name in names:
        for node in [n for n in program.graph.nodes if n.target in REWRITES[name][0]]:
            REWRITES[name][1](program, node)
        program.graph.eliminate_dead_code()
        program.graph_module.recompile()
    return program


def applicable(exported: ExportedProgram) -> list[str]:
    """The names of the rewrites that would change something."""
    called = {node.target for node in exported.graph.nodes}
    return [name for name, (targets, _) in REWRITES.items() if called & targets]


def _split_as_slices(program: ExportedProgram, node: Node) -> None:
    """Each part of a split by itself: XNNPACK slices, but has no split of channels."""
    if any(user.target is not operator.getitem for user in node.users):
        return
    given, dim = node.args[0], _argument(node, 2, "dim", 0)
    start = 0
    parts = {int(str(user.args[1])): user for user in node.users}
    for index, value in enumerate(node.meta["val"]):
        size = int(value.shape[dim])
        if index in parts:
            with program.graph.inserting_before(node):
                part = program.graph.call_function(
                    aten.slice.Tensor, (given, dim, start, start + size)
                )
            part.meta = dict(node.meta, val=value)
            parts[index].replace_all_uses_with(part)
            program.graph.erase_node(parts[index])
        start += size


def _hardsigmoid_with_maps(program: ExportedProgram, node: Node) -> None:
    """`clamp(x + 3, 0, 6) / 6` with 3 and 6 as constant tensors of x's dimensions.

    As exported these are whole numbers of no dimension: each is turned into a tensor outside of
    the backend at every call, and the backend leaves NHWC for them.
    """
    given: Any = node.args[0]
    value = node.meta["val"]
    three, six = (_constant(program, node, number, value) for number in (3.0, 6.0))
    with program.graph.inserting_before(node):
        added = program.graph.call_function(aten.add.Tensor, (given, three))
        clamped = program.graph.call_function(aten.hardtanh.default, (added, 0.0, 6.0))
        divided = program.graph.call_function(aten.div.Tensor, (clamped, six))
    for made in (added, clamped, divided):
        made.meta = dict(node.meta, val=value)
    node.replace_all_uses_with(divided)
    program.graph.erase_node(node)


def _constant(program: ExportedProgram, node: Node, number: float, like: Any) -> Node:
    from executorch.backends.transforms.utils import create_constant_placeholder
    from torch.export.graph_signature import InputKind

    first = next(n for n in program.graph.nodes if n.op == "placeholder")
    name = f"c_{node.name}_{number:g}"
    with program.graph.inserting_before(first):
        made: Node = create_constant_placeholder(
            exp_program=program,
            graph=program.graph,
            name=name,
            kind=InputKind.CONSTANT_TENSOR,
            data=torch.full((1,) * like.dim(), number, dtype=like.dtype),
        )
    return made


def _argument(node: Node, position: int, name: str, otherwise: int) -> int:
    given = node.args[position] if len(node.args) > position else node.kwargs.get(name, otherwise)
    return int(str(given))


REWRITES: dict[str, tuple[frozenset[Any], Callable[[ExportedProgram, Node], None]]] = {
    "split_as_slices": (
        frozenset({aten.split_with_sizes.default, aten.split.Tensor, aten.chunk.default}),
        _split_as_slices,
    ),
    "hardsigmoid_with_maps": (frozenset({aten.hardsigmoid.default}), _hardsigmoid_with_maps),
}
"""By name: the operators that a rewrite is for, and what is done with each of them."""
