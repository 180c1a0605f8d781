"""Modules, kernels and networks to programs: lowered once for a recipe, and kept in a cache.

Exporting costs far more than timing. So a lowering writes what it can without the exporter, a share
of that is exported as well and compared, what has to be exported is so in parallel processes, and
programs are kept by content: each is made once for a recipe, whoever asks.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from netadapt.profiler.errors import LoweringError
from netadapt.profiler.graph import ModelGraph
from netadapt.profiler.kernels import Shape
from netadapt.profiler.lowering.cache import GRAPH, ProgramCache
from netadapt.profiler.lowering.registry import find_lowering
from netadapt.profiler.lowering.seam import Constant, Draft, Lowering
from netadapt.profiler.lowering.subject import ShapedNetwork, Subject
from netadapt.profiler.lowering.workers import in_processes, one_thread
from netadapt.profiler.lowering.writing import Result, stamp_of, write_compared

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from netadapt.profiler.lowering.xnnpack import XnnpackFp32

logger = logging.getLogger(__name__)

KERNELS_PAY_FROM = 12
NETWORKS_PAY_FROM = 3
"""Fewer programs than this are exported right here: a worker process imports for seconds."""
WRITTEN_AT_A_TIME = 64


def lower(
    module: nn.Module,
    inputs: Sequence[Tensor],
    constants: Mapping[str, Constant] | None = None,
    *,
    lowering: Lowering | None = None,
    cache: ProgramCache | None = None,
) -> bytes:
    """Lower `module` in eval mode for inputs of these shapes to the bytes of a `.pte` program.

    In which memory format weights and inputs lie makes no difference.

    Parameters
    ----------
    constants: become methods beside `forward` that take nothing and give back their value, a
        sequence as so many outputs; `forward` is the same with or without them.
    lowering: None takes the default recipe's.
    cache: where one says that programs with layers of all these kinds were written as the exporter
        makes them, this one is written too; without it is exported.

    Raises `LoweringError` where export or the backend refuses.
    """
    lowering = lowering or find_lowering()
    if cache is not None and cache.trusts_written():
        draft = lowering.draft(module, [tuple(x.shape) for x in inputs])
        if draft is not None and set(draft.layers) <= cache.compared(stamp_of(lowering)):
            with one_thread():
                return lowering.write([draft], constants)[0]
    return lowering.to_program(lowering.export(module, inputs), constants)


def lower_exported(
    exported: ExportedProgram, cache: ProgramCache, lowering: XnnpackFp32
) -> tuple[bytes, ModelGraph]:
    """The program of a model that was exported, and what its runtime executes; both are kept.

    Raises `LoweringError` where the backend refuses.
    """
    codec = TypeAdapter(ModelGraph)
    key = _content_key(exported, lowering)
    program, text = cache.get(key), cache.get(key, GRAPH)
    if program is not None and text is not None:
        try:
            return program, codec.validate_json(text)
        except ValidationError:  # of another version's form
            logger.info("the program cache's graph %s is of another form: lowered again", key)
    program, graph = lowering.to_program_and_graph(exported)
    cache.put(key, program)
    cache.put(key, codec.dump_json(graph), GRAPH)
    return program, graph


@dataclass(frozen=True, slots=True)
class LoweringFailure:
    """A subject that could not be lowered, and why."""

    subject: Subject
    message: str


def lower_subjects(
    subjects: Sequence[Subject],
    cache: ProgramCache,
    *,
    lowering: Lowering | None = None,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[LoweringFailure]:
    """See that the cache holds the program of every subject; returns those that cannot be lowered.

    Parameters
    ----------
    lowering: None takes the default recipe's.
    workers: processes at a time; None takes one for each core.
    on_progress: called with (done, total) after each subject.
    """
    lowering = lowering or find_lowering()
    wanted = list(dict.fromkeys(subjects))
    jobs = [_Job(subject, subject.kernel.input_shapes) for subject in wanted]
    made = _make(jobs, cache, lowering, workers, KERNELS_PAY_FROM, on_progress, keep=False)
    return [
        LoweringFailure(subject, str(result))
        for subject, result in zip(wanted, made, strict=True)
        if isinstance(result, LoweringError)
    ]


def lower_networks(
    networks: Sequence[ShapedNetwork],
    cache: ProgramCache,
    *,
    lowering: Lowering | None = None,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[bytes]:
    """The programs of whole networks, in their order.

    The parameters are those of `lower_subjects`. Raises `LoweringError` for the first that cannot
    be lowered.
    """
    lowering = lowering or find_lowering()
    jobs = [_Job(network.module, (network.input_shape,)) for network in networks]
    programs = []
    for result in _make(jobs, cache, lowering, workers, NETWORKS_PAY_FROM, on_progress):
        if isinstance(result, LoweringError):
            raise result
        programs.append(result)
    return programs


@dataclass(frozen=True, slots=True)
class _Job:
    """A program that is wanted: of a subject, or of a network for inputs of these shapes."""

    source: Subject | nn.Module
    input_shapes: tuple[Shape, ...]

    def module(self) -> nn.Module:
        return self.source.module() if isinstance(self.source, Subject) else self.source

    def key(self, lowering: Lowering, draft: Draft | None) -> str | None:
        """In the cache; None where only the exporter knows."""
        if isinstance(self.source, Subject):
            return self.source.cache_key(lowering)
        if draft is None:
            return None
        return hashlib.sha256("\n".join((*lowering.stamp, draft.content())).encode()).hexdigest()


def _make(
    jobs: Sequence[_Job],
    cache: ProgramCache,
    lowering: Lowering,
    workers: int | None,
    pays_from: int,
    on_progress: Callable[[int, int], None] | None,
    *,
    keep: bool = True,
) -> list[Result]:
    """The programs of `jobs`, in their order, which the cache then holds; empty ones unless `keep`.

    A table's programs together may need more memory than there is.
    """
    results: dict[int, Result] = {}

    def note(found: Mapping[int, Result]) -> None:
        for index, result in found.items():
            results[index] = result if keep or isinstance(result, LoweringError) else b""
        if on_progress:
            on_progress(len(results), len(jobs))

    networks: dict[int, Draft] = {}
    keys: dict[int, str] = {}
    for index, job in enumerate(jobs):
        draft = None
        if not isinstance(job.source, Subject) and (draft := _draft(job, cache, lowering)):
            networks[index] = draft
        if key := job.key(lowering, draft):
            keys[index] = key
            if (kept := cache.get(key)) is not None:
                results[index] = kept if keep else b""
    note({})
    exported = functools.partial(_exported, jobs, cache, lowering, workers, pays_from)
    missing = [index for index in keys if index not in results]
    for first in range(0, len(missing), WRITTEN_AT_A_TIME):
        batch = {
            index: draft
            for index in missing[first : first + WRITTEN_AT_A_TIME]
            if (draft := networks.get(index) or _draft(jobs[index], cache, lowering))
        }
        written = write_compared(batch, cache, lowering, exported)
        for index, program in written.items():
            cache.put(keys[index], program, written=True)
        note(written)
    left = [index for index in range(len(jobs)) if index not in results]
    if not lowering.exports_kernels:
        note(
            {
                i: _only_written(s, lowering)
                for i in left
                if isinstance(s := jobs[i].source, Subject) and s.kernel.is_layer
            }
        )
        left = [index for index in left if index not in results]
    with closing(exported(left)) as rest:
        for index, data in rest:
            if isinstance(data, bytes) and index in keys:
                cache.put(keys[index], data)
            note({index: data})
    return [results[index] for index in range(len(jobs))]


def _only_written(subject: Subject, lowering: Lowering) -> LoweringError:
    return LoweringError(
        f"kernels of recipe {lowering.recipe.name} are written without the exporter, "
        f"{subject.name} cannot be under {', '.join(lowering.versions())}; take another recipe"
    )


def _draft(job: _Job, cache: ProgramCache, lowering: Lowering) -> Draft | None:
    if not cache.trusts_written():
        return None
    with one_thread():
        kernel = isinstance(job.source, Subject)
        return lowering.draft(job.module(), job.input_shapes, kernel=kernel)


def _exported(
    jobs: Sequence[_Job],
    cache: ProgramCache,
    lowering: Lowering,
    workers: int | None,
    pays_from: int,
    indices: Sequence[int],
) -> Generator[tuple[int, Result]]:
    """The programs of the jobs of these indices, each with its index; in processes if it pays."""
    arguments = [(jobs[index], lowering, cache.folder) for index in indices]
    with closing(in_processes(_export, arguments, workers, pays_from)) as made:
        yield from zip(indices, made, strict=True)


def _export(job: _Job, lowering: Lowering, folder: Path) -> Result:
    with one_thread():
        inputs = tuple(torch.zeros(shape) for shape in job.input_shapes)
        try:
            exported = lowering.export(job.module(), inputs)
            if isinstance(job.source, Subject):
                return lowering.to_program(exported)
            # The same network may have been asked for before: the exporter alone tells.
            cache, key = ProgramCache(folder), _content_key(exported, lowering)
            data = cache.get(key)
            if data is None:
                data = lowering.to_program(exported)
                cache.put(key, data)
            return data
        except LoweringError as error:
            return LoweringError(str(error))  # without what it came from, which may not travel


def _content_key(exported: ExportedProgram, lowering: Lowering) -> str:
    digest = hashlib.sha256("\n".join(lowering.stamp).encode())
    digest.update(exported.graph_module.code.encode())
    for node in exported.graph.nodes:  # the code leaves the shapes of the inputs out
        digest.update(f"{node.name} {node.meta.get('val')}".encode())
    for name, tensor in (*exported.state_dict.items(), *exported.constants.items()):
        digest.update(name.encode())
        if isinstance(tensor, Tensor):
            digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()
