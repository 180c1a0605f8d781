"""One self-contained HTML page of a report: styles and pictures inside, nothing fetched."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

from netadapt.android_runner.files import write_atomically
from netadapt.report import verdict
from netadapt.report.figures import (
    latency,
    maps,
    masking,
    networks,
    prediction,
    search,
    tradeoff,
    training,
)
from netadapt.report.figures.canvas import words
from netadapt.report.records import Budget, RunReport
from netadapt.report.rendering import Draw, rendered
from netadapt.text import LatencyUnit, duration, quantity


def write_page(report: RunReport, path: Path) -> None:
    """Write the page, whole or not at all."""
    write_atomically(path, render(report).encode())


def render(report: RunReport) -> str:
    """The page's HTML."""
    # One unit for all whole networks of the page, so that they can be compared at a glance
    unit = LatencyUnit.of(_whole_latencies(report))
    filters: dict[str, Callable[..., object]] = {
        "ms": unit.text,
        "bare_ms": unit.number,
        "duration": duration,
        "score": lambda value: _score(report, value),
        "interval": lambda estimate: verdict.uncertainty(report, estimate),
        "gain": lambda estimate: verdict.gain(report, estimate),
        "times": lambda estimate: (
            f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
        ),
        "quantity": quantity,
        "limit": lambda value, budget: _limit(budget, value, unit),
        "percent": lambda share: _number(100 * share, ".1f", " %"),
        "number": _number,
        "words": words,
        "metric": verdict.metric,
        "choice": verdict.choice,
    }
    return rendered(
        "page.html.jinja",
        report.name,
        _pictures(report),
        filters,
        report=report,
        kicker=" · ".join(fact.value for fact in report.about[:3]) or "netadapt run",
        points=verdict.points(report),
        verdicts=verdict.verdicts(report, unit),
        unit=unit,
        scale=LatencyUnit.of(n.measured_ms for n in report.beside_published),
        total_s=sum(step.seconds for step in report.durations),
    )


def _pictures(report: RunReport) -> dict[str, Draw]:
    """Pictures by name, of those that the run has the numbers for."""
    wanted: dict[str, Draw] = {}
    if report.networks:
        wanted["tradeoff"] = partial(tradeoff.tradeoff, report)
    for one in report.searches:
        if one.masking:
            wanted[f"masking-{one.name}"] = partial(masking.masking_path, one)
            wanted[f"choices-{one.name}"] = partial(masking.choices, one)
        if one.candidates:
            wanted[f"search-{one.name}"] = partial(search.search_path, report, one)
        if one.probes:
            wanted[f"loop-{one.name}"] = partial(search.loop_errors, one)
    if report.drawings:
        wanted["networks"] = partial(networks.networks, report.drawings)
    for examples in report.examples:
        wanted[f"maps-{examples.name}"] = partial(maps.maps, examples)
    if report.blocks:
        wanted["blocks"] = partial(latency.blocks, report.blocks)
    if report.kernel_types:
        wanted["kernels"] = partial(latency.kernel_types, report.kernel_types)
    if report.latency_map is not None:
        wanted["channels"] = partial(latency.latency_map, report.latency_map)
    if report.predicted_measured:
        wanted["residuals"] = partial(prediction.residuals, report.predicted_measured)
    if report.predictor:
        wanted["errors"] = partial(prediction.predictor_errors, report.predictor)
    if len(report.learning) > 1:
        wanted["learning"] = partial(prediction.learning, report.learning)
    if report.losses:
        wanted["losses"] = partial(training.losses, report.losses)
    if report.durations:
        wanted["durations"] = partial(training.durations, report.durations)
    return wanted


def _whole_latencies(report: RunReport) -> list[float]:
    found = [ms for n in report.networks for ms in (n.predicted_ms, n.measured_ms)]
    found += [b.limit for s in report.searches for b in s.budgets if b.unit == "ms"]
    return found + [ms for s in report.searches for ms in s.found_alone_ms]


def _score(report: RunReport, value: float) -> str:
    return f"{100 * value:.1f} %" if report.score_is_share else f"{value:.4g}"


def _number(value: float, form: str, unit: str = "") -> str:
    """A dash where the number is not known."""
    return "-" if math.isnan(value) else f"{value:{form}}{unit}"


def _limit(budget: Budget, value: float, unit: LatencyUnit) -> str:
    if budget.unit == "ms":
        return unit.text(value)
    return f"{quantity(value)} {budget.unit}"
