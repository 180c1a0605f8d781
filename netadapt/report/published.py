"""Published networks beside a run's own: timed under the run's conditions, or not on its page."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from netadapt.errors import ConfigError
from netadapt.profiler.lowering.registry import recipe_of_networks
from netadapt.profiler.provenance import flat
from netadapt.profiler.table import LatencyTable, Provenance
from netadapt.reference import reference_networks
from netadapt.report.records import PublishedNetwork
from netadapt.search.task import Task

_WORDNET = re.compile(r"n\d{8}")
_DERIVED = {"fingerprint", "precision"}
_NAMED = 3
"""Conditions that differ are named up to so many: all of them do on another device."""


def read_published(
    path: Path, provenance: Provenance | None, task: Task
) -> tuple[PublishedNetwork, ...]:
    """Those that `netadapt reference` timed into the table at `path`, as far as they compare.

    Raises `ConfigError` where none was timed under `provenance`, that of the run, `TableError` for
    what is no table.
    """
    again = f"`netadapt reference --table {path}` with the run's device, --threads and --cpus"
    if provenance is None:
        raise ConfigError(
            "published networks stand beside a run that has measured something, this one has not; "
            "leave --reference out"
        )
    known = {network.name: network for network in reference_networks()}
    with LatencyTable(path, must_exist=True) as table:
        rows = [row for row in table.rows(samples=False) if row.label in known]
    if not rows:
        raise ConfigError(
            f"a table of published networks is one that has been filled by `netadapt reference`, "
            f"{path} has none of them; do {again}"
        )
    differing = {p: _differing(p, provenance) for p in dict.fromkeys(r.provenance for r in rows)}
    if least := min(differing.values(), key=len):
        more = f" and {len(least) - _NAMED} more" if len(least) > _NAMED else ""
        raise ConfigError(
            f"published networks stand beside a run where both were timed under the same "
            f"conditions, those in {path} differ in {', '.join(least[:_NAMED])}{more}; do {again}"
        )
    alike = [row for row in rows if not differing[row.provenance]]
    # A network that another version of timm built is another row: the last one counts
    latest = {row.label: row for row in sorted(alike, key=lambda row: row.measured_at)}
    comparable = _is_imagenet(task)
    found = [
        PublishedNetwork(
            label=name,
            metrics=tuple(map(str, network.metrics)),
            source=network.source,
            score=network.top1 / 100 if comparable and network.top1 is not None else None,
            measured_ms=row.latency_us / 1e3,
            quality=row.quality,
            macs=network.macs * 1e6,
            params=network.parameters,
        )
        for name, network in known.items()
        if (row := latest.get(name)) is not None
    ]
    return tuple(sorted(found, key=lambda network: network.measured_ms))


def _differing(theirs: Provenance, own: Provenance) -> list[str]:
    """Conditions that differ, with both values; none where whole networks compare."""
    one, other = (flat(replace(p, recipe=recipe_of_networks(p.recipe))) for p in (theirs, own))
    return [
        f"{name} ({one[name]}, the run's {other[name]})"
        for name in one
        if name not in _DERIVED and one[name] != other[name]
    ]


def _is_imagenet(task: Task) -> bool:
    """Whether it is judged by classes that are as many and named as ImageNet's."""
    return (
        task.metric_name == "accuracy"
        and len(task.labels) == 1000
        and all(map(_WORDNET.fullmatch, task.labels))
    )
