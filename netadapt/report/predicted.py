"""What the predictor says of a run's networks: latencies by part, beside what was measured."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from netadapt.predictor.predictor import MemoisedPredictor
from netadapt.predictor.report import ErrorFigures, PredictorReport
from netadapt.profiler.kernels import Kernel
from netadapt.report.measured import Measured
from netadapt.report.records import (
    LatencyMap,
    LatencyPart,
    PredictedMeasured,
    PredictionErrors,
    SearchReport,
    WholeLatency,
)
from netadapt.runs.folder import TRAINED
from netadapt.runs.result import RunResult
from netadapt.search.space import Arch, Space
from netadapt.search.trials import Iteration

MAP_WIDTHS = 10
"""Channel numbers on each side of a latency map."""


def pairs(
    space: Space,
    predictor: MemoisedPredictor | None,
    table: Measured,
    searches: Sequence[SearchReport],
    logs: Mapping[str, Sequence[Iteration]],
    result: RunResult | None,
) -> tuple[PredictedMeasured, ...]:
    """Measured candidates as predicted when they were proposed, all others by the predictor."""
    found = [
        PredictedMeasured(
            "kept in the search" if probe.kept else "measured beside them",
            probe.predicted_ms,
            probe.measured_ms,
        )
        for search in searches
        for probe in search.probes
    ]
    if predictor is None:
        return tuple(found)
    archs = {m.arch for iterations in logs.values() for i in iterations for m in i.measured}
    known = {_keys(space, space.arch_from_json(arch)) for arch in archs}
    others = [
        ("other networks of the table", row.kernels, row.latency_us / 1e3)
        for row in table.networks
        if row.kernels is not None
        and row.kernels not in known
        and not (row.label or "").startswith(TRAINED)
    ]
    if result is not None:
        trained = [result.reference]
        for outcome in result.searches:
            trained += [outcome.found, *outcome.scaled_variants]
        others += [
            ("trained", _keys(space, space.arch_from_json(n.arch)), n.measured_ms) for n in trained
        ]
    if not others:
        return tuple(found)
    networks = [[Kernel.from_key(key) for key in keys] for _, keys, _ in others]
    times = predictor.predict_networks(networks)
    intervals = predictor.predict_networks_interval(networks)
    for (group, _, measured_ms), ms, (low, high) in zip(others, times, intervals, strict=True):
        found.append(PredictedMeasured(group, float(ms), measured_ms, float(low), float(high)))
    return tuple(found)


def wholes(
    space: Space,
    predictor: MemoisedPredictor | None,
    archs: Mapping[str, Arch],
    measured_ms: Mapping[str, float],
) -> tuple[WholeLatency, ...]:
    """Each network's sum over its kernels beside the whole, predicted and measured."""
    if predictor is None or not archs:
        return ()
    networks = [space.kernels(arch) for arch in archs.values()]
    return tuple(
        WholeLatency(
            label, float(sum(predictor.predict(kernels))), float(ms), measured_ms.get(label)
        )
        for label, kernels, ms in zip(
            archs, networks, predictor.predict_networks(networks), strict=True
        )
    )


def blocks(
    space: Space, predictor: MemoisedPredictor | None, archs: Mapping[str, Arch]
) -> tuple[LatencyPart, ...]:
    """Milliseconds of each block and of what comes before and after them."""
    if predictor is None or not archs:
        return ()
    by_network = {label: space.kernels_by_part(arch) for label, arch in archs.items()}
    names = [name for name, _ in next(iter(by_network.values()))]
    return tuple(
        LatencyPart(
            name,
            {
                label: float(sum(predictor.predict(parts[index][1])))
                for label, parts in by_network.items()
            },
        )
        for index, name in enumerate(names)
    )


def kernel_types(
    space: Space, predictor: MemoisedPredictor | None, archs: Mapping[str, Arch]
) -> tuple[LatencyPart, ...]:
    """Milliseconds of all kernels of a type."""
    if predictor is None:
        return ()
    totals: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(archs, 0.0))
    for label, arch in archs.items():
        kernels = space.kernels(arch)
        for kernel, ms in zip(kernels, predictor.predict(kernels), strict=True):
            totals[kernel.type_name][label] += float(ms)
    return tuple(LatencyPart(name, ms) for name, ms in totals.items())


def latency_map(space: Space, predictor: MemoisedPredictor | None) -> LatencyMap | None:
    """Of the kernel with channels in and out, at its size, that the reference spends most on.

    Its channels go from the space's step to the most that the table has of the type.
    """
    if predictor is None:
        return None
    kernels = [k for k in space.kernels(space.reference()) if _has_channels(k)]
    if not kernels:
        return None
    totals: dict[Kernel, float] = defaultdict(float)
    for kernel, ms in zip(kernels, predictor.predict(kernels), strict=True):
        totals[_with_channels(kernel, 1, 1)] += float(ms)
    shape = max(totals, key=totals.__getitem__)
    rows = {Kernel.from_key(s.key) for s in predictor.predictor.data_.kernels if s.copies == 1}
    alike = [k for k in rows if k.type_name == shape.type_name]
    ins, outs = (
        _widths([getattr(k, side) for k in alike]) for side in ("in_channels", "out_channels")
    )
    cells = [[_with_channels(shape, i, o) for i in ins] for o in outs]
    times = iter(predictor.predict([cell for row in cells for cell in row]))
    return LatencyMap(
        kernel_type=shape.type_name,
        size=_size_text(shape),
        in_channels=ins,
        out_channels=outs,
        ms=tuple(tuple(float(next(times)) for _ in row) for row in cells),
        measured=tuple(tuple(cell in rows for cell in row) for row in cells),
    )


def errors(report: PredictorReport) -> tuple[PredictionErrors, ...]:
    """Errors on held-out data, by kernel type, of all kernels and of networks."""
    subjects: list[tuple[str, ErrorFigures | None]] = [
        *report.by_type,
        ("all kernels", report.kernels),
        ("networks", report.networks),
        ("networks, plain sum", report.plain_sum),
    ]
    return tuple(PredictionErrors(name, figures) for name, figures in subjects if figures)


def _keys(space: Space, arch: Arch) -> tuple[str, ...]:
    return tuple(kernel.key for kernel in space.kernels(arch))


def _has_channels(kernel: Kernel) -> bool:
    names = {field.name for field in dataclasses.fields(kernel)}
    return {"in_channels", "out_channels", "height", "width"} <= names


def _with_channels(kernel: Kernel, in_channels: int, out_channels: int) -> Kernel:
    channels: Any = {"in_channels": in_channels, "out_channels": out_channels}
    return dataclasses.replace(kernel, **channels)


def _widths(channels: Sequence[int]) -> tuple[int, ...]:
    """About `MAP_WIDTHS` multiples of what divides all `channels`, evenly up to the most."""
    most, step = max(channels), math.gcd(*channels)
    stride = step * max(1, round(most / step / MAP_WIDTHS))
    return tuple(range(stride, most + 1, stride)) or (most,)


def _size_text(kernel: Kernel) -> str:
    """Everything about a kernel but its channels, e.g. `12x12 px, kernel size 3, stride 1`."""
    fields = {f.name: getattr(kernel, f.name) for f in dataclasses.fields(kernel)}
    rest = {
        name: value
        for name, value in fields.items()
        if name not in ("in_channels", "out_channels", "height", "width") and value != "none"
    }
    return ", ".join(
        [
            f"{fields['height']}x{fields['width']} px",
            *(f"{name.replace('_', ' ')} {value}" for name, value in rest.items()),
        ]
    )
