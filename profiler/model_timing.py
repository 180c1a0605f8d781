"""How long a model takes on a device, as a whole and node by node."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from netadapt.android_runner.device import Device, Failure, Program, RunSpec
from netadapt.profiler.errors import MeasurementError
from netadapt.profiler.graph import ModelGraph, Node
from netadapt.profiler.timing import Gate, Timing, time_programs

WHOLE = "the model"
AT_A_TIME = 48
"""Programs in one runner process."""


@dataclass(frozen=True, slots=True)
class NodeTiming:
    """A node and what it takes by itself.

    Parameters
    ----------
    node : Node
    ms : float
    quality : str
        "ok", or why two runs of it are not believed.
    """

    node: Node
    ms: float
    quality: str


@dataclass(frozen=True, slots=True)
class ModelTiming:
    """A model on a device.

    Parameters
    ----------
    threads : int
    ms : float
        Of the whole model.
    repeat_dev : float
        Its second run against the first, as a share.
    quality : str
        As of a node.
    nodes : tuple of NodeTiming
        Empty where they were not asked for.
    """

    threads: int
    ms: float
    repeat_dev: float
    quality: str
    nodes: tuple[NodeTiming, ...]

    @property
    def sum_ms(self) -> float:
        """Of all nodes by themselves."""
        return sum(timing.ms for timing in self.nodes)


def time_model(
    device: Device,
    program: bytes,
    graph: ModelGraph | None,
    spec: RunSpec,
    gate: Gate | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ModelTiming:
    """Time a program, and the nodes of its graph where one is given, each by itself.

    Nodes that are alike are timed once. Raises `MeasurementError` where a program fails to run,
    and `LoweringError` for a node that cannot be timed alone.
    """
    nodes = () if graph is None else graph.nodes
    programs = {WHOLE: program} | _alone(nodes)
    names = {data: name for name, data in programs.items()}  # alike ones are one
    wanted = [Program(name, data) for data, name in names.items()]
    timings: dict[str, Timing] = {}
    for first in range(0, len(wanted), AT_A_TIME):
        batch = wanted[first : first + AT_A_TIME]

        def report(done: int, total: int, before: int = first, size: int = len(batch)) -> None:
            if on_progress:
                on_progress(before + round(size * done / max(total, 1)), len(wanted))

        for answer in time_programs(device, batch, spec, gate or Gate(), on_progress=report):
            if isinstance(answer, Failure):
                raise MeasurementError(
                    f"a model must run on the device to be timed, {answer.program} did not "
                    f"({answer.kind}: {answer.message}); see `netadapt devices`"
                )
            timings[answer.program] = answer
    whole = timings[names[program]]
    found = []
    for node in nodes:
        timing = timings[names[programs[_name(node)]]]
        found.append(NodeTiming(node, timing.latency_us / 1e3, timing.quality))
    return ModelTiming(
        spec.threads, whole.latency_us / 1e3, whole.repeat_dev, whole.quality, tuple(found)
    )


def _alone(nodes: Sequence[Node]) -> dict[str, bytes]:
    from netadapt.profiler.lowering.direct.nodes import write_nodes

    unique = {_name(node): node for node in nodes}
    return dict(zip(unique, write_nodes(list(unique.values())), strict=True)) if unique else {}


def _name(node: Node) -> str:
    """Readable, and the same for nodes that are alike."""
    alike = (node.op, node.inputs, node.output, node.attributes, node.clamp)
    return f"{node.described} {hashlib.sha256(repr(alike).encode()).hexdigest()[:8]}"
