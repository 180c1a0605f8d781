"""Another run beside this one: another strategy or searcher, judged in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from netadapt.errors import RunFolderError
from netadapt.report.records import OtherRun, TrainedNetwork
from netadapt.runs.strategy import STRATEGIES

if TYPE_CHECKING:
    from netadapt.config import RunConfig
    from netadapt.runs.folder import RunFolder

_SAME = ("device", "task", "final", "space")
"""Sections of a run file that are the same where networks compare; not the space's name."""


def other_run(
    folder: RunFolder,
    config: RunConfig,
    networks: Sequence[TrainedNetwork],
    reference: TrainedNetwork,
) -> OtherRun:
    """What is drawn and listed of the run in `folder`, whose `networks` these are.

    Its latencies are told as shares of the reference's, which both runs timed beside their own, and
    so as milliseconds of this run's `reference`.
    """
    own = next(n for n in networks if n.kind == "reference")
    found = [n for n in networks if n.kind == "found"]
    searched, seconds = config.search, folder.durations_s()
    steps = ("search", STRATEGIES.find(searched.strategy.name).prepares)
    per = reference.measured_ms / own.measured_ms
    return OtherRun(
        config.run.name,
        found_by(config),
        sum(seconds.get(step, 0.0) for step in steps),
        tuple(
            replace(
                n,
                label=f"{config.run.name}: {n.label}",
                measured_ms=reference.measured_ms * n.latency_ratio
                if n.latency_ratio is not None
                else per * n.measured_ms,
                predicted_ms=per * n.predicted_ms,
            )
            for n in found
        ),
    )


def found_by(config: RunConfig) -> str:
    """The strategy of a run, and its searcher where it has one."""
    strategy = config.search.strategy.name
    return f"{strategy}, {config.search.searcher.name}" if strategy == "supernet" else strategy


def check_comparable(config: RunConfig, other: RunConfig, folder: RunFolder) -> None:
    """Raises `RunFolderError` unless both runs' networks were trained and timed in one way."""
    one, two = config.decisive(), other.decisive()
    differing = sorted(
        key
        for key in one.keys() | two.keys()
        if key.split(".")[0] in _SAME and one.get(key) != two.get(key)
    )
    if differing:
        key = differing[0]
        more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
        raise RunFolderError(
            f"runs stand beside each other where device, task and final training are the same, "
            f"{folder.path} differs in {key} ({two.get(key)}, this run's {one.get(key)}){more}; "
            "run it again with these sections"
        )
