"""Where the backend changes memory layout between NCHW and NHWC.

Follows XNNPACK's `ChannelsLastTaggedReshapePass`: convolutions, means and up-samplings want NHWC,
reshapes and linear layers NCHW, everything else takes what its inputs have, and one
layout where these differ; a value is changed once, right behind what makes it. The exporter's
programs take and give NCHW; one in the backend's native layout is given NHWC and gives what comes
out, so that a kernel by itself runs as it does inside a network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from netadapt.profiler.lowering.direct.operators import (
    TO_NCHW,
    TO_NHWC,
    Graph,
    Operator,
    UnknownModuleError,
)

WANT_NHWC = ("convolution", "mean", "bilinear")
WANT_NCHW = ("reshape", "linear")


@dataclass(frozen=True, slots=True)
class Placed:
    """Operators with their changes of layout, and which values lie in NHWC.

    A change is an `Operator` of kind "transpose", which no graph has of itself.
    """

    operators: tuple[Operator, ...]
    shapes: tuple[tuple[int, ...], ...]
    nhwc: frozenset[int]
    output: int


def place(graph: Graph) -> Placed:
    """The graph with its changes of layout. Raises `UnknownModuleError` where none is possible."""
    return _Placing(graph).done()


class _Placing:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.shapes = list(graph.shapes)
        self.nhwc: set[int] = set()
        self.changed: dict[int, int] = {}
        # Changes right behind the operator, or the program's input, that makes a value
        self.behind: dict[int, Operator] = {}

    def done(self) -> Placed:
        if self.graph.native:
            self.nhwc |= {v for v in self.graph.inputs if len(self.shapes[v]) == 4}
        placed = [self._fitted(op) for op in self.graph.operators]
        output = self.graph.output
        if not self.graph.native:
            output = self._in_nchw(output)
        elif self.graph.operators[-1].kind == "permute":
            # In a network, convolutions and additions follow
            output = self._in_nhwc(output)
        operators = [self.behind[value] for value in self.graph.inputs if value in self.behind]
        for op in placed:
            operators.append(op)
            if op.output in self.behind:
                operators.append(self.behind[op.output])
        return Placed(tuple(operators), tuple(self.shapes), frozenset(self.nhwc), output)

    def _fitted(self, op: Operator) -> Operator:
        inputs = op.inputs
        if op.kind in WANT_NHWC:
            inputs = tuple(map(self._in_nhwc, inputs))
            self.nhwc.add(op.output)
        elif op.kind in WANT_NCHW:
            inputs = tuple(map(self._in_nchw, inputs))
        elif any(value in self.nhwc for value in inputs):
            if all(len(self.shapes[value]) == 4 for value in inputs):
                inputs = tuple(map(self._in_nhwc, inputs))
                self.nhwc.add(op.output)
            else:
                inputs = tuple(map(self._in_nchw, inputs))
        return replace(op, inputs=inputs)

    def _in_nhwc(self, value: int) -> int:
        if value in self.nhwc:
            return value
        if len(self.shapes[value]) != 4:
            raise UnknownModuleError("a value of other than 4 dimensions has no NHWC")
        return self._change(value, to_nhwc=True)

    def _in_nchw(self, value: int) -> int:
        return self._change(value, to_nhwc=False) if value in self.nhwc else value

    def _change(self, value: int, *, to_nhwc: bool) -> int:
        if value not in self.changed:
            self.shapes.append(self.shapes[value])
            other = len(self.shapes) - 1
            self.changed[value], self.changed[other] = other, value
            order = TO_NHWC if to_nhwc else TO_NCHW
            self.behind[value] = Operator(
                "transpose", (value,), other, _NO_HANDLE, permutation=order
            )
            if to_nhwc:
                self.nhwc.add(other)
        return self.changed[value]


_NO_HANDLE = 65535  # the backend's own, of nodes that no exported operator stands behind
