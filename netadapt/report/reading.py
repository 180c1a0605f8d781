"""From a run's folder, finished or not, to the records of its report."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from netadapt import assembly
from netadapt.budgets import budgets_of
from netadapt.config import RunConfig
from netadapt.folder import TRAINED, RunFolder
from netadapt.report.records import (
    Budget,
    Candidate,
    Drawing,
    Duration,
    Fact,
    KernelShare,
    Layer,
    NetworkFigures,
    PathStep,
    PredictedMeasured,
    PredictionErrors,
    Probe,
    RunReport,
)
from netadapt.result import NetworkResult, RunResult
from predictor.predictor import LatencyPredictor
from predictor.report import ErrorFigures, PredictorReport
from profiler.kernels import Kernel
from profiler.table import LatencyTable, Row
from search.space import Arch, Space
from search.trials import Iteration, accepted_path, read_iterations

UNITS = {"latency": "ms", "macs": "MACs", "params": "parameters", "planned_memory": "bytes"}


def read_run(folder: RunFolder) -> RunReport:
    """The report of the run in `folder`, with what is there of it.

    Raises `RunFolderError` for a folder without a run, and what its files' readers raise.
    """
    config = folder.read_config()
    space = assembly.make_space(config)
    task = assembly.make_task(config)
    result = RunResult.load(folder.result) if folder.result.exists() else None
    predictor = LatencyPredictor.load(folder.predictor) if folder.predictor.exists() else None
    rows = _rows(folder.table)
    budget = budgets_of(config.search.constraints)[0]
    trials = folder.search(budget.label).trials
    iterations = read_iterations(trials) if trials.exists() else ()
    archs = _archs(space, result, iterations)
    metric = _search_metric(config)
    path = _path(iterations, metric)
    probes = _probes(iterations)
    known = {m.arch for i in iterations for m in i.measured}
    return RunReport(
        name=config.run.name,
        finished=result is not None,
        score_name=task.metric_name,
        score_is_share=task.metric_name == "accuracy",
        budgets=_budgets(config, result, _reference_ms(space, rows)),
        networks=_networks(result),
        scaled_variants=_variants(result),
        search_metric=metric,
        search_unit=UNITS[metric],
        candidates=tuple(
            Candidate(i.number, t.score, t.predicted[metric]) for i in iterations for t in i.trials
        ),
        path=path,
        probes=probes,
        found_alone_ms=_alone_ms(result, iterations),
        predicted_measured=_pairs(predictor, rows, probes, known),
        drawings=tuple(_drawing(space, label, arch) for label, arch in archs.items()),
        kernel_shares=_kernel_shares(space, predictor, archs),
        predictor=() if predictor is None else _prediction_errors(predictor.report_),
        conditions=_conditions(rows),
        settings=_settings(config),
        durations=tuple(Duration(step, s) for step, s in folder.durations_s().items()),
    )


def _rows(table: Path) -> list[Row]:
    if not table.exists():
        return []
    with LatencyTable(table, must_exist=True) as latencies:
        return latencies.rows(samples=False)


def _archs(
    space: Space, result: RunResult | None, iterations: Sequence[Iteration]
) -> dict[str, Arch]:
    """The reference beside the found network, or beside the last one that the search kept."""
    if result is not None:
        return {
            "reference": space.reference(),
            "found": Arch.from_json(result.searches[0].found.arch),
        }
    kept = accepted_path(iterations)
    if not kept:
        return {}
    return {"reference": space.reference(), "kept so far": Arch.from_json(kept[-1].arch)}


def _reference_ms(space: Space, rows: Sequence[Row]) -> float | None:
    name = space.reference().to_json()
    return next((row.latency_us / 1e3 for row in rows if row.label == name), None)


def _budgets(
    config: RunConfig, result: RunResult | None, reference_ms: float | None
) -> tuple[Budget, ...]:
    """What must be met; of an unfinished run those that are known already."""
    if result is None:
        given = config.search.constraints
        budget = budgets_of(given)[0]
        latency_ms = None if reference_ms is None else budget.in_ms(reference_ms)
        limits = {
            "latency": latency_ms,
            "macs": given.macs,
            "params": given.params,
            "planned_memory": given.planned_memory_bytes,
        }
        return tuple(
            Budget(name, UNITS[name], limit, None)
            for name, limit in limits.items()
            if limit is not None
        )
    found = result.searches[0].found
    reached = {
        "latency": found.measured_ms,
        "macs": found.macs,
        "params": found.params,
        "planned_memory": found.planned_memory_bytes,
    }
    return tuple(
        Budget(name, UNITS[name], limit, reached[name])
        for name, limit in result.searches[0].constraints.items()
    )


def _figures(label: str, network: NetworkResult) -> NetworkFigures:
    return NetworkFigures(
        label,
        network.accuracy,
        network.predicted_ms,
        network.measured_ms,
        network.macs,
        network.params,
        network.depth,
    )


def _networks(result: RunResult | None) -> tuple[NetworkFigures, ...]:
    if result is None:
        return ()
    first = result.searches[0]
    named = {"reference": result.reference, "found": first.found, "scaled": first.scaled}
    return tuple(_figures(label, network) for label, network in named.items() if network)


def _variants(result: RunResult | None) -> tuple[NetworkFigures, ...]:
    if result is None:
        return ()
    return tuple(
        _figures(f"{n.multiplier:g} x, {_kernels_text(n.kernel_sizes)}", n)
        for n in result.searches[0].scaled_variants
    )


def _kernels_text(kernel_sizes: str | None) -> str:
    return "own kernels" if kernel_sizes == "own" else f"all {kernel_sizes}x{kernel_sizes}"


def _search_metric(config: RunConfig) -> str:
    """Latency where it is constrained, else the first of the other constraints."""
    given = config.search.constraints.model_dump(exclude_none=True)
    names = {"latency_ms": "latency", "latency_share": "latency"}
    names |= {"planned_memory_bytes": "planned_memory"}
    return next(names.get(key, key) for key in given)


def _path(iterations: Sequence[Iteration], metric: str) -> tuple[PathStep, ...]:
    measured = {i.number: i.accepted.measured_ms for i in iterations if i.accepted is not None}
    return tuple(
        PathStep(
            t.iteration,
            t.score,
            t.predicted[metric],
            measured[t.iteration] if metric == "latency" else None,
        )
        for t in accepted_path(iterations)
    )


def _probes(iterations: Sequence[Iteration]) -> tuple[Probe, ...]:
    """What was measured in the search, as it was predicted when it was proposed."""
    found = []
    for iteration in iterations:
        predicted = {t.arch: t.predicted for t in iteration.trials}
        kept = iteration.accepted.arch if iteration.accepted is not None else None
        found += [
            Probe(
                iteration.number,
                predicted[m.arch]["latency"],
                m.measured_ms,
                m.arch == kept,
                iteration.guard,
            )
            for m in iteration.measured
            if "latency" in predicted[m.arch]
        ]
    return tuple(found)


def _alone_ms(result: RunResult | None, iterations: Sequence[Iteration]) -> tuple[float, ...]:
    """Of an unfinished run the last network that was timed by itself."""
    if result is not None:
        return result.searches[0].found_alone_ms
    confirmed = [i.confirmed for i in iterations if i.confirmed is not None]
    return confirmed[-1].both_ms if confirmed else ()


def _pairs(
    predictor: LatencyPredictor | None,
    rows: Sequence[Row],
    probes: Sequence[Probe],
    known: set[str],
) -> tuple[PredictedMeasured, ...]:
    """Measured candidates as predicted when they were proposed, all others by the predictor."""
    pairs = [
        PredictedMeasured(
            "kept in the search" if probe.kept else "measured beside them",
            probe.predicted_ms,
            probe.measured_ms,
        )
        for probe in probes
    ]
    others = [row for row in rows if row.kernels and row.label not in known]
    if predictor is None or not others:
        return tuple(pairs)
    networks = [[Kernel.from_key(key) for key in row.kernels or ()] for row in others]
    predicted = predictor.predict_networks(networks)
    intervals = predictor.predict_networks_interval(networks)
    for row, ms, (low, high) in zip(others, predicted, intervals, strict=True):
        group = (
            "trained" if (row.label or "").startswith(TRAINED) else "other networks of the table"
        )
        pairs.append(
            PredictedMeasured(group, float(ms), row.latency_us / 1e3, float(low), float(high))
        )
    return tuple(pairs)


def _drawing(space: Space, label: str, arch: Arch) -> Drawing:
    sizes = space.sizes
    layers = [Layer("stem", sizes[0], arch.stem, space.stem.max_width, stride=space.stem.stride)]
    for index, (spec, block) in enumerate(zip(space.blocks, arch.blocks, strict=True)):
        layers.append(
            Layer(
                name=f"block {index + 1}",
                size_px=sizes[index + 1],
                width=block.width,
                max_width=spec.max_width,
                expansion=block.expansion,
                max_expansion=spec.max_expansion,
                kernel_size=block.kernel_size,
                stride=spec.stride,
                se=spec.se,
            )
        )
    layers.append(Layer("head", sizes[-1], arch.head, space.head.max_width))
    layers.append(Layer("hidden", 1, arch.hidden, space.hidden.max_width))
    return Drawing(label, space.depth(arch), tuple(layers))


def _kernel_shares(
    space: Space, predictor: LatencyPredictor | None, archs: Mapping[str, Arch]
) -> tuple[KernelShare, ...]:
    if predictor is None:
        return ()
    totals: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(archs, 0.0))
    for label, arch in archs.items():
        kernels = space.kernels(arch)
        for kernel, ms in zip(kernels, predictor.predict(kernels), strict=True):
            totals[kernel.type_name][label] += float(ms)
    return tuple(KernelShare(name, ms) for name, ms in totals.items())


def _prediction_errors(report: PredictorReport) -> tuple[PredictionErrors, ...]:
    subjects: list[tuple[str, ErrorFigures | None]] = [
        *report.by_type,
        ("all kernels", report.kernels),
        ("networks", report.networks),
        ("networks, plain sum", report.plain_sum),
    ]
    return tuple(PredictionErrors(name, figures) for name, figures in subjects if figures)


def _conditions(rows: Sequence[Row]) -> tuple[Fact, ...]:
    """What the table says about how its rows were taken; ranges go over all of them."""
    if not rows:
        return ()
    facts = []
    for provenance in dict.fromkeys(row.provenance for row in rows):
        facts += [
            Fact("Device", f"{provenance.device_id}: {provenance.model}"),
            Fact("Chip", provenance.soc),
            Fact("System", f"{provenance.os}, {provenance.abi}"),
            Fact("Cores used", f"{provenance.cpus}; {provenance.threads} thread(s)"),
            Fact("Precision", provenance.precision),
            Fact("Runtime", f"ExecuTorch {provenance.runtime_version}"),
            Fact("Runtime's build", provenance.build_options),
            Fact("Runner's hash", provenance.runner_sha256),
            Fact("Conditions' hash", provenance.fingerprint),
        ]
    flagged = sum(row.quality != "ok" for row in rows)
    repeats = statistics.median(abs(row.repeat_dev) for row in rows)
    facts += [
        Fact("Measured", f"{_earliest(rows)} to {_latest(rows)} UTC"),
        Fact("Rows", f"{len(rows)}, {flagged} of them flagged as unsteady"),
        Fact("Repeated measurement", f"median deviation {100 * repeats:.1f} %"),
        Fact("Frequency", _range(rows, "freq_khz", 1e6, "GHz")),
        Fact("Temperature", _range(rows, "temperature_c", 1, "°C")),
        Fact("Load average", _range(rows, "load_avg", 1, "")),
        Fact("Sentinel kernel", _sentinel(rows)),
    ]
    return tuple(facts)


def _earliest(rows: Sequence[Row]) -> str:
    return min(row.measured_at for row in rows)[:16].replace("T", " ")


def _latest(rows: Sequence[Row]) -> str:
    return max(row.measured_at for row in rows)[:16].replace("T", " ")


def _range(rows: Sequence[Row], field: str, per_unit: float, unit: str) -> str:
    """Smallest to largest of a value before and after; the system may not tell it."""
    values = [
        getattr(row.conditions, f"{field}_{when}") for row in rows for when in ("before", "after")
    ]
    known = [value / per_unit for value in values if value is not None]
    if not known:
        return "not told by the system"
    return f"{min(known):.3g} to {max(known):.3g} {unit}".rstrip()


def _sentinel(rows: Sequence[Row]) -> str:
    known = [row.sentinel_us for row in rows if row.sentinel_us is not None]
    if not known:
        return "none was timed along"
    middle = statistics.median(known)
    return (
        f"{middle:.1f} us in the middle, {100 * (min(known) / middle - 1):+.1f} % to "
        f"{100 * (max(known) / middle - 1):+.1f} %"
    )


def _settings(config: RunConfig) -> tuple[Fact, ...]:
    return tuple(Fact(key, str(value)) for key, value in config.flat().items())
