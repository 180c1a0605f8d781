"""Whole programs of one delegate call: the ExecuTorch file around XNNPACK's graph."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from netadapt.profiler.lowering.direct.delegate import delegate
from netadapt.profiler.lowering.direct.nodes import NodeDraft, alone
from netadapt.profiler.lowering.direct.operators import Graph
from netadapt.profiler.lowering.direct.record import Delegate, to_bytes
from netadapt.profiler.lowering.direct.serialisers import (
    NamedDataStore,
    PTEFile,
    ScalarType,
    serialize_pte_binary,
    tree_flatten,
)
from netadapt.profiler.lowering.direct.serialisers import program_schema as schema
from netadapt.profiler.lowering.seam import Constant

WEIGHT_ALIGNMENT = 16
MEMORY_ALIGNMENT = 16
SPARE_MEMORY = 64
"""What the memory planner adds to the planned arena."""


def write_drafts(
    drafts: Sequence[Graph | NodeDraft], constants: Mapping[str, Constant] | None = None
) -> list[bytes]:
    """The `.pte` programs of these drafts, in their order, each with methods for the constants.

    Raises `LoweringError` for a node that is not of fp32.
    """
    getters = [_getter(name, value) for name, value in (constants or {}).items()]
    written = [
        alone(draft.node) if isinstance(draft, NodeDraft) else (draft, delegate(draft))
        for draft in drafts
    ]
    blobs = to_bytes([made.graph for _, made in written])
    return [
        _program(graph, made, blob, getters)
        for (graph, made), blob in zip(written, blobs, strict=True)
    ]


def _getter(name: str, value: Constant) -> schema.ExecutionPlan:
    """A method that takes nothing and gives back a constant; a sequence as so many outputs."""
    # As torch's pytree, which the exporter asks, takes values apart
    leaves, structure = tree_flatten(value)
    kinds = {float: schema.Double, bool: schema.Bool, int: schema.Int, str: schema.String}
    return schema.ExecutionPlan(
        name=name,
        container_meta_type=schema.ContainerMetadata("", structure.to_str()),
        values=[schema.EValue(kinds[type(leaf)](leaf)) for leaf in leaves],
        inputs=[],
        outputs=list(range(len(leaves))),
        chains=[schema.Chain(inputs=[], outputs=[], instructions=[], stacktrace=None)],
        operators=[],
        delegates=[],
        non_const_buffer_sizes=[0],
    )


def _program(
    graph: Graph, written: Delegate, blob: bytes, getters: Sequence[schema.ExecutionPlan]
) -> bytes:
    plan, buffers = _plan(graph, written)
    program = schema.Program(
        version=0,
        execution_plan=[plan, *getters],
        constant_buffer=[schema.Buffer(b""), *(schema.Buffer(data) for data in buffers)],
        backend_delegate_data=[schema.BackendDelegateInlineData(blob)],
        segments=[],
        constant_segment=schema.SubsegmentOffsets(segment_index=0, offsets=[]),
    )
    store = NamedDataStore()
    for name, data in written.weights:
        store.add_named_data(name, data, alignment=WEIGHT_ALIGNMENT)
    named = store.get_named_data_store_output() if written.weights else None
    file = PTEFile(program=program, named_data=named)
    return bytes(serialize_pte_binary(file, extract_delegate_segments=True, segment_alignment=128))


def _plan(graph: Graph, written: Delegate) -> tuple[schema.ExecutionPlan, list[bytes]]:
    """The plan, and the constants it needs beside the delegate's weights.

    Scalars are whole numbers that a portable operator turns into fp32 tensors at every call.
    """
    numbers = [number.to_bytes(8, "little") for number in graph.scalars.values()]
    tensors = [t.numpy().tobytes() for t in graph.constants.values()]
    buffers = list(dict.fromkeys((*tensors, *numbers)))
    values: list[schema.EValue] = []
    places: dict[int, int] = {}  # of the graph's values among the plan's
    planned: dict[int, int] = {}  # bytes of the plan's tensors

    def put(value: object) -> int:
        values.append(schema.EValue(value))
        return len(values) - 1

    def planned_tensor(value: int) -> None:
        # One that nothing is computed of stays as it was read
        shape = written.outside[value] if value in written.outside else graph.shapes[value]
        places[value] = put(_tensor(ScalarType.FLOAT, shape))
        planned[places[value]] = 4 * math.prod(shape)

    for value, data in zip(graph.constants, tensors, strict=True):
        shape = graph.shapes[value]
        places[value] = put(_tensor(ScalarType.FLOAT, shape, 1 + buffers.index(data)))
    constants = [put(_tensor(ScalarType.LONG, (), 1 + buffers.index(data))) for data in numbers]
    for value in graph.inputs:
        planned_tensor(value)
    instructions = []
    for constant, scalar in zip(constants, graph.scalars, strict=True):
        planned_tensor(scalar)
        arguments = [constant, put(schema.Bool(False)), put(schema.IntList([]))]
        arguments += [places[scalar], places[scalar]]
        instructions.append(schema.Instruction(schema.KernelCall(op_index=0, args=arguments)))
    planned_tensor(written.output)
    call = [places[value] for value in (*written.arguments, written.output)]
    instructions.append(schema.Instruction(schema.DelegateCall(delegate_index=0, args=call)))
    total = _allocate(values, planned)
    plan = schema.ExecutionPlan(
        name="forward",
        container_meta_type=schema.ContainerMetadata(_inputs(len(graph.inputs)), _OUTPUT),
        values=values,
        inputs=[places[value] for value in graph.inputs],
        outputs=[places[written.output]],
        chains=[schema.Chain(inputs=[], outputs=[], instructions=instructions, stacktrace=None)],
        operators=[schema.Operator(*_TO_FLOAT)] if constants else [],
        delegates=[
            schema.BackendDelegate(
                id="XnnpackBackend",
                processed=schema.BackendDelegateDataReference(
                    location=schema.DataLocation.INLINE, index=0
                ),
                compile_specs=[],
            )
        ],
        non_const_buffer_sizes=[0, total],
    )
    return plan, buffers


def _allocate(values: Sequence[schema.EValue], planned: dict[int, int]) -> int:
    """Give each tensor its place in the arena, the largest first; all live at the same time."""

    def aligned(place: int) -> int:
        return math.ceil(planned[place] / MEMORY_ALIGNMENT) * MEMORY_ALIGNMENT

    offset = 0
    for place in sorted(planned, key=lambda place: (aligned(place), place), reverse=True):
        tensor = values[place].val
        assert isinstance(tensor, schema.Tensor)
        tensor.allocation_info = schema.AllocationDetails(1, offset, 0)
        offset += aligned(place)
    return offset + SPARE_MEMORY


def _tensor(kind: ScalarType, shape: Sequence[int], buffer: int = 0) -> schema.Tensor:
    return schema.Tensor(
        scalar_type=kind,
        storage_offset=0,
        sizes=list(shape),
        dim_order=list(range(len(shape))),
        requires_grad=False,
        layout=0,
        data_buffer_idx=buffer,
        allocation_info=None,
        shape_dynamism=schema.TensorShapeDynamism.STATIC,
    )


_TO_FLOAT = ("dim_order_ops::_to_dim_order_copy", "out")
_LEAF = '{"type": null, "context": null, "children_spec": []}'
_OUTPUT = f"[1, {_LEAF}]"


def _inputs(count: int) -> str:
    """How a caller's arguments are nested, as torch's pytree writes it: a tuple of tensors."""
    leaves = ", ".join([_LEAF] * count)
    tuple_of = '{"type": "builtins.tuple", "context": "null", "children_spec": '
    nothing = '{"type": "builtins.dict", "context": "[]", "children_spec": []}'
    return f"[1, {tuple_of}[{tuple_of}[{leaves}]}}, {nothing}]}}]"
