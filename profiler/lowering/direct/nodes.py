"""Programs of single nodes: what one operation of anybody's model takes by itself.

The node stands as it does in its graph: the same shapes, layout, attributes and fused clamp, its
weights drawn anew. No layout is changed around it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Set
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from netadapt.profiler.errors import LoweringError
from netadapt.profiler.graph import Node
from netadapt.profiler.lowering.direct.operators import Graph

if TYPE_CHECKING:
    from netadapt.profiler.lowering.direct.record import Delegate


@dataclass(frozen=True, slots=True)
class NodeDraft:
    """What the program of a node by itself is written from."""

    node: Node

    @property
    def layers(self) -> Set[str]:
        """None: the exporter makes no such program that this one could be held against."""
        return frozenset()

    def content(self) -> str:
        """A digest of all that decides the program."""
        return hashlib.sha256(repr(self.node).encode()).hexdigest()


def alone(node: Node) -> tuple[Graph, Delegate]:
    """The backend's graph of this node, with what it is called with.

    Raises `LoweringError` for one that is not of fp32.
    """
    # Here, since a lowering that only reads modules needs no serialiser
    from netadapt.profiler.lowering.direct.record import GraphRecord
    from netadapt.profiler.lowering.direct.serialisers import xnnpack_constants as constants
    from netadapt.profiler.lowering.direct.serialisers import xnnpack_schema as schema

    tensors = [*(value for _, value in node.inputs), node.output[1]]
    if unusual := sorted({value.datatype for value in tensors} - {"fp32"}):
        raise LoweringError(
            f"nodes are timed by themselves in fp32, {node.described} has {unusual[0]}; time the "
            "model as a whole"
        )
    given = [
        number
        for number, (_, value) in zip(node.values, node.inputs, strict=False)
        if not value.constant
    ]
    arguments, output = tuple(dict.fromkeys(given)), node.values[-1]
    record = GraphRecord(arguments, output)
    made = getattr(schema, f"XNN{node.op}")
    ids = {f.name: constants.XNN_INVALID_VALUE_ID for f in fields(made) if f.name.endswith("_id")}
    rng = np.random.default_rng(0)
    for (name, value), number in zip((*node.inputs, node.output), node.values, strict=True):
        if value.constant:
            weights = rng.standard_normal(value.dims, dtype=np.float32)
            ids[name] = record.constant(weights / max(value.dims[-1], 1) ** 0.5)
        else:
            ids[name] = record.define(number, value.dims)
    attributes = {
        n: list(value) if isinstance(value, tuple) else value for n, value in node.attributes
    }
    record.add(made(**ids | attributes), 1, node.clamp)
    return Graph(inputs=list(arguments), output=output), record.delegate()
