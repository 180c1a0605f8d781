"""XNNPACK in fp32: all that knows this backend and the internals of the pinned torch.

About a third of a second of every call goes into tables of operator decompositions that are
rebuilt and installed anew although a program uses a handful of operators. `lean_decompositions`
installs those of the program at hand only; the programs are the same to the byte
(`tests/profiler/test_lowering.py` compares them).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from netadapt.profiler.graph import ModelGraph, Node, Outside, read_graph
from netadapt.profiler.kernels import Upsample
from netadapt.profiler.kernels.operation import Operation, call_text
from netadapt.profiler.lowering.direct.nodes import NodeDraft
from netadapt.profiler.lowering.direct.operators import Graph, UnknownModuleError, read_module
from netadapt.profiler.lowering.recipe import Recipe
from netadapt.profiler.lowering.seam import Constant, Draft, Lowering, quiet, refusal
from netadapt.profiler.rewrites import rewritten

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

    from netadapt.profiler.kernels import Shape

logger = logging.getLogger(__name__)


class XnnpackFp32(Lowering):
    """Partitioned to XNNPACK's fp32 kernels; what it does not take runs as portable operators."""

    recipe = Recipe("xnnpack", "fp32", 1)

    def export(self, module: nn.Module, inputs: Sequence[Tensor]) -> ExportedProgram:
        """See `Lowering.export`; nearest up-samplings of ours as what the backend takes."""
        exported = super().export(module, inputs)
        ups = (layer for layer in module.modules() if isinstance(layer, Upsample))
        nearest = any(layer.mode == "nearest" for layer in ups)
        return rewritten(exported, ["nearest_as_product"] if nearest else [])

    def to_program(
        self, exported: ExportedProgram, constants: Mapping[str, Constant] | None = None
    ) -> bytes:
        """See `Lowering.to_program`."""
        with quiet():
            try:
                return bytes(_to_edge(exported, constants).to_executorch().buffer)
            except Exception as error:  # backends raise what they like
                raise refusal("ExecuTorch", exported, error) from error

    def to_program_and_graph(self, exported: ExportedProgram) -> tuple[bytes, ModelGraph]:
        """The program, and what its runtime executes. Raises `LoweringError`."""
        with quiet():
            try:
                with _watched() as calls:
                    edge = _to_edge(exported, None)
                outside = tuple(
                    _outside(node) for node in edge.exported_program().graph.nodes if _runs(node)
                )
                return bytes(edge.to_executorch().buffer), ModelGraph(tuple(calls), outside)
            except Exception as error:  # backends raise what they like
                raise refusal("ExecuTorch", exported, error) from error

    def draft(
        self, module: nn.Module, input_shapes: Sequence[Shape], *, kernel: bool = False
    ) -> Draft | None:
        """See `Lowering.draft`; under the versions whose programs were compared only."""
        if isinstance(module, Operation):
            return NodeDraft(module.kernel.node)
        if not all(v.startswith(WRITTEN_UNDER) for v in self.versions()):
            return None
        try:
            return read_module(module, input_shapes)
        except UnknownModuleError as error:
            logger.debug("exported: %s", error)
            return None

    def write(
        self, drafts: Sequence[Draft], constants: Mapping[str, Constant] | None = None
    ) -> list[bytes]:
        """See `Lowering.write`."""
        with quiet():
            from netadapt.profiler.lowering.direct.program import write_drafts

            known = [draft for draft in drafts if isinstance(draft, Graph | NodeDraft)]
            return write_drafts(known, constants)


class XnnpackNativeFp32(XnnpackFp32):
    """The same, with kernels by themselves in the layout that the backend computes in.

    A kernel's program takes and gives NHWC, as the kernel does inside a network: nothing is spent
    on changing layouts, and element-wise kernels run in the order they have there. The exporter
    makes no such programs, so such kernels are written only. A network's program is the one that
    is shipped, and the same as of `XnnpackFp32`.
    """

    recipe = Recipe("xnnpack_native", "fp32", 1)
    has_layout_cost = False
    exports_kernels = False

    def draft(
        self, module: nn.Module, input_shapes: Sequence[Shape], *, kernel: bool = False
    ) -> Draft | None:
        """See `Lowering.draft`."""
        draft = super().draft(module, input_shapes, kernel=kernel)
        return replace(draft, native=True) if kernel and isinstance(draft, Graph) else draft

    def as_exported(self, draft: Draft) -> Draft:
        """See `Lowering.as_exported`."""
        return replace(draft, native=False) if isinstance(draft, Graph) else draft


WRITTEN_UNDER = ("torch 2.13.", "executorch 1.4.")
"""Others number and order what they write in ways of their own."""


def _to_edge(exported: ExportedProgram, constants: Mapping[str, Constant] | None) -> Any:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    with lean_decompositions(exported):
        return to_edge_transform_and_lower(
            exported,
            partitioner=[XnnpackPartitioner()],
            constant_methods=None if constants is None else dict(constants),
        )


@contextmanager
def _watched() -> Iterator[list[tuple[Node, ...]]]:
    """The nodes of each call of the backend that is made within, after all of its passes."""
    from executorch.backends.xnnpack import xnnpack_preprocess

    backend: Any = xnnpack_preprocess.XnnpackBackend
    preprocess, serialize = backend.preprocess, xnnpack_preprocess.serialize_xnnpack_binary
    calls: list[tuple[Node, ...]] = []
    modules: dict[int, str] = {}

    def watched_preprocess(edge_program: Any, specs: Any) -> Any:
        modules.clear()
        for node in edge_program.graph.nodes:
            if isinstance(handle := node.meta.get("debug_handle"), int):
                modules[handle] = _module(node)
        return preprocess(edge_program, specs)

    def watched_serialize(graph: Any, constants: Any) -> Any:
        calls.append(read_graph(graph, modules))
        return serialize(graph, constants)

    backend.preprocess = staticmethod(watched_preprocess)
    xnnpack_preprocess.serialize_xnnpack_binary = watched_serialize
    try:
        yield calls
    finally:
        backend.preprocess = staticmethod(preprocess)
        xnnpack_preprocess.serialize_xnnpack_binary = serialize


def _module(node: Any) -> str:
    """The path of the model's innermost module that an exported operator comes from."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(path) for path, _ in stack.values()]
    return paths[-1].removeprefix("L['self'].") if paths else ""


def _runs(node: Any) -> bool:
    """Whether an operator of the edge program is executed outside of the backend."""
    free = ("executorch_call_delegate", "getitem")
    return node.op == "call_function" and getattr(node.target, "__name__", "") not in free


def _outside(node: Any) -> Outside:
    from torch.fx.node import map_arg

    lines = [line.strip() for line in str(node.meta.get("stack_trace") or "").splitlines()]
    files = [line for line in lines if line.startswith("File ")]
    where = files[-1].rpartition(", in ")[0].removeprefix("File ") if files else ""
    args, kwargs = map_arg((node.args, node.kwargs), lambda given: given.meta["val"])
    arguments, tensors = call_text(args, kwargs)
    name = str(getattr(node.target, "__name__", node.target))
    return Outside(name, _module(node), where, arguments, tuple(tensors))


@contextmanager
def lean_decompositions(exported: ExportedProgram) -> Iterator[None]:
    """Install only the decompositions of operators that `exported` calls while it is lowered.

    Private names of the pinned torch are replaced for the time being; where they are not found
    (another torch), lowering takes its ordinary, slower way.
    """
    import torch._export.utils as export_utils
    import torch.export.exported_program

    exported_program: Any = torch.export.exported_program
    names = ("_collect_all_valid_cia_ops_for_namespace", "_materialize_cpp_cia_ops")
    install = getattr(exported_program, "_override_composite_implicit_decomp", None)
    if install is None or not all(hasattr(export_utils, name) for name in names):
        logger.debug("torch has no decomposition tables where expected: lowering unassisted")
        yield
        return

    operators = {node.target for node in exported.graph.nodes if node.op == "call_function"}

    def install_used(table: dict[Any, Any]) -> Any:
        return install({op: how for op, how in table.items() if op in operators})

    originals = {name: getattr(export_utils, name) for name in names}
    exported_program._override_composite_implicit_decomp = install_used
    for name, original in originals.items():
        setattr(export_utils, name, _remembered(original))
    try:
        yield
    finally:
        exported_program._override_composite_implicit_decomp = install
        for name, original in originals.items():
            setattr(export_utils, name, original)


@functools.cache
def _remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    # One memory for the process: the operators registered do not change between two programs.
    return functools.cache(function)
