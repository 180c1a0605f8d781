"""Modules, kernels and networks to programs: lowered once for a recipe, and kept in a cache.

Lowering costs far more than timing, so it runs in parallel processes and its results are kept by
content: a program is lowered once for a recipe, whoever asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from netadapt.profiler.errors import LoweringError
from netadapt.profiler.kernels import Shape
from netadapt.profiler.lowering.cache import ProgramCache
from netadapt.profiler.lowering.registry import find_lowering
from netadapt.profiler.lowering.seam import Constant, Lowering
from netadapt.profiler.lowering.subject import Subject
from netadapt.profiler.lowering.workers import in_processes, one_thread

if TYPE_CHECKING:
    from torch.export import ExportedProgram

KERNELS_PAY_FROM = 12
NETWORKS_PAY_FROM = 3
"""Fewer programs than this are lowered right here: a worker process imports for seconds."""


def lower(
    module: nn.Module,
    inputs: Sequence[Tensor],
    constants: Mapping[str, Constant] | None = None,
    *,
    lowering: Lowering | None = None,
) -> bytes:
    """Lower `module` in eval mode for inputs of these shapes to the bytes of a `.pte` program.

    In which memory format weights and inputs lie makes no difference.

    Parameters
    ----------
    constants: become methods beside `forward` that take nothing and give back their value, a
        sequence as so many outputs; `forward` is the same with or without them.
    lowering: None takes the default recipe's.

    Raises `LoweringError` where export or the backend refuses.
    """
    lowering = lowering or find_lowering()
    return lowering.to_program(lowering.export(module, inputs), constants)


def lower_cached(
    module: nn.Module,
    inputs: Sequence[Tensor],
    cache: ProgramCache,
    *,
    lowering: Lowering | None = None,
) -> bytes:
    """`lower`, unless the cache holds the program of the same graph and weights."""
    lowering = lowering or find_lowering()
    exported = lowering.export(module, inputs)
    key = _content_key(exported, lowering)
    data = cache.get(key)
    if data is None:
        data = lowering.to_program(exported)
        cache.put(key, data)
    return data


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
    missing = [s for s in dict.fromkeys(subjects) if cache.get(s.cache_key(lowering)) is None]
    done, total = len(subjects) - len(missing), len(subjects)
    if on_progress:
        on_progress(done, total)
    failures = []
    lowered = in_processes(
        _lower_into_cache,
        [(s, lowering, cache.folder) for s in missing],
        workers,
        KERNELS_PAY_FROM,
    )
    with closing(lowered):
        for failure in lowered:
            done += 1
            if failure is not None:
                failures.append(failure)
            if on_progress:
                on_progress(done, total)
    return failures


def lower_networks(
    networks: Sequence[nn.Module],
    input_shape: Shape,
    cache: ProgramCache,
    *,
    lowering: Lowering | None = None,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[bytes]:
    """The programs of whole networks, in their order, for inputs of `input_shape`.

    The parameters are those of `lower_subjects`. Raises `LoweringError` for the first that cannot
    be lowered.
    """
    lowering = lowering or find_lowering()
    programs = []
    lowered = in_processes(
        _lower_network,
        [(network, input_shape, lowering, cache.folder) for network in networks],
        workers,
        NETWORKS_PAY_FROM,
    )
    with closing(lowered):
        for program in lowered:
            programs.append(program)
            if on_progress:
                on_progress(len(programs), len(networks))
    return programs


def _lower_into_cache(subject: Subject, lowering: Lowering, folder: Path) -> LoweringFailure | None:
    with one_thread():
        try:
            data = lower(subject.module(), subject.kernel.example_inputs(), lowering=lowering)
        except LoweringError as error:
            return LoweringFailure(subject, str(error))
    ProgramCache(folder).put(subject.cache_key(lowering), data)
    return None


def _lower_network(
    network: nn.Module, input_shape: Shape, lowering: Lowering, folder: Path
) -> bytes:
    with one_thread():
        inputs = (torch.zeros(input_shape),)
        return lower_cached(network, inputs, ProgramCache(folder), lowering=lowering)


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
