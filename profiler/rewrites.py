"""Exact rewrites of an exported model: the same numbers, in operators that the backend takes.

Off unless they are asked for, each by its name. A rewrite changes the exported program where it
stands, so that its operators keep the module and the line of the model that they come from.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.fx.node import map_arg

from netadapt.profiler.errors import LoweringError
from netadapt.profiler.lowering.seam import quiet

if TYPE_CHECKING:
    from torch import Tensor
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
        for node in [n for n in program.graph.nodes if REWRITES[name].fits(n)]:
            REWRITES[name].apply(program, node)
        program.graph.eliminate_dead_code()
        program.graph_module.recompile()
    return program


def applicable(exported: ExportedProgram) -> list[str]:
    """The names of the rewrites that would change something."""
    nodes = list(exported.graph.nodes)
    return [name for name, rewrite in REWRITES.items() if any(map(rewrite.fits, nodes))]


def _split_as_slices(program: ExportedProgram, node: Node) -> None:
    """Each part of a split by itself: XNNPACK slices, but has no split of channels."""
    given, dim = node.args[0], _argument(node, 2, "dim", 0)
    start = 0
    parts = {int(str(user.args[1])): user for user in node.users}
    for index, value in enumerate(node.meta["val"]):
        size = int(value.shape[dim])
        if index in parts:
            part = _called(program, node, aten.slice.Tensor, given, dim, start, start + size)
            parts[index].replace_all_uses_with(part)
            program.graph.erase_node(parts[index])
        start += size


def _hardsigmoid_with_maps(program: ExportedProgram, node: Node) -> None:
    """`clamp(x + 3, 0, 6) / 6` with 3 and 6 as constant tensors of x's dimensions.

    As exported these are whole numbers of no dimension: each is turned into a tensor outside of
    the backend at every call, and the backend leaves NHWC for them.
    """
    like = node.meta["val"]
    three, six = (
        _constant(program, node, f"{n:g}", torch.full((1,) * like.dim(), n, dtype=like.dtype))
        for n in (3.0, 6.0)
    )
    added = _called(program, node, aten.add.Tensor, node.args[0], three)
    clamped = _called(program, node, aten.hardtanh.default, added, 0.0, 6.0)
    divided = _called(program, node, aten.div.Tensor, clamped, six)
    node.replace_all_uses_with(divided)
    program.graph.erase_node(node)


def _nearest_as_product(program: ExportedProgram, node: Node) -> None:
    """Pixels, channels last, times ones of as many rows and columns as each is to be seen.

    `(B H, 1, W, 1, C)` times `(1, rows, 1, columns, 1)`: the backend has no nearest up-sampling,
    but a product of tensors that are stretched to each other.
    """
    given: Any = node.args[0]
    before, after = given.meta["val"], node.meta["val"]
    batch, channels, height, width = before.shape
    rows, columns = after.shape[2] // height, after.shape[3] // width
    ones = torch.ones((1, rows, 1, columns, 1), dtype=before.dtype)
    last = _called(program, node, aten.permute.default, given, [0, 2, 3, 1])
    split = _called(
        program, node, aten.reshape.default, last, [batch * height, 1, width, 1, channels]
    )
    product = _called(program, node, aten.mul.Tensor, split, _constant(program, node, "ones", ones))
    size = [batch, height * rows, width * columns, channels]
    joined = _called(program, node, aten.reshape.default, product, size)
    first = _called(program, node, aten.permute.default, joined, [0, 3, 1, 2])
    node.replace_all_uses_with(first)
    program.graph.erase_node(node)


def _repeats(node: Node) -> bool:
    """Whether every pixel is seen equally often; torch's counting may round to the one beside."""
    given, seen, after = cast("Node", node.args[0]), cast("Any", node.target), node.meta["val"]
    (_, _, height, width) = given.meta["val"].shape
    numbers = torch.arange(float(height * width)).view(1, 1, height, width)
    rows, columns = after.shape[2] // height, after.shape[3] // width
    stretched = numbers.repeat_interleave(rows, 2).repeat_interleave(columns, 3)
    return torch.equal(seen(numbers, *node.args[1:], **node.kwargs), stretched)


def _called(program: ExportedProgram, node: Node, operation: Any, *args: Any) -> Node:
    """A call of an operator in front of `node`, said to come from where that one does."""
    with program.graph.inserting_before(node):
        made = program.graph.call_function(operation, args)
    made.meta = dict(node.meta, val=operation(*map_arg(args, lambda given: given.meta["val"])))
    return made


def _constant(program: ExportedProgram, node: Node, name: str, data: Tensor) -> Node:
    from executorch.backends.transforms.utils import create_constant_placeholder
    from torch.export.graph_signature import InputKind

    first = next(n for n in program.graph.nodes if n.op == "placeholder")
    with program.graph.inserting_before(first):
        made: Node = create_constant_placeholder(
            exp_program=program,
            graph=program.graph,
            name=f"c_{node.name}_{name}",
            kind=InputKind.CONSTANT_TENSOR,
            data=data,
        )
    return made


def _argument(node: Node, position: int, name: str, otherwise: int) -> int:
    given = node.args[position] if len(node.args) > position else node.kwargs.get(name, otherwise)
    return int(str(given))


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What may be done with some operators.

    Parameters
    ----------
    operators : set of OpOverload
        Those it is for.
    apply : callable
        Does it to one of them, in place.
    possible : callable
        Whether it can be done to one of them.
    """

    operators: frozenset[Any]
    apply: Callable[[ExportedProgram, Node], None]
    possible: Callable[[Node], bool] = lambda node: True

    def fits(self, node: Node) -> bool:
        """Whether `apply` changes this node of a program."""
        return node.target in self.operators and self.possible(node)


REWRITES: dict[str, Rewrite] = {
    "split_as_slices": Rewrite(
        frozenset({aten.split_with_sizes.default, aten.split.Tensor, aten.chunk.default}),
        _split_as_slices,
        lambda node: all(user.target is operator.getitem for user in node.users),
    ),
    "hardsigmoid_with_maps": Rewrite(frozenset({aten.hardsigmoid.default}), _hardsigmoid_with_maps),
    "nearest_as_product": Rewrite(
        frozenset({aten.upsample_nearest2d.vec}), _nearest_as_product, _repeats
    ),
}
"""By name."""
