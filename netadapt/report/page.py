"""One self-contained HTML page of a report: styles and pictures inside, nothing fetched."""

from __future__ import annotations

import math
from importlib.resources import files
from pathlib import Path

from android_runner.files import write_atomically
from netadapt.report import figures
from netadapt.report.records import Budget, NetworkFigures, RunReport
from netadapt.text import duration, milliseconds, quantity


def write_page(report: RunReport, path: Path) -> None:
    """Write the page, whole or not at all."""
    write_atomically(path, render(report).encode())


def render(report: RunReport) -> str:
    """The page's HTML."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "ms": milliseconds,
        "duration": duration,
        "score": lambda value: _score(report, value),
        "quantity": quantity,
        "limit": _limit,
        "percent": lambda share: _number(100 * share, ".1f", " %"),
        "number": _number,
    }
    pictures = {name: Markup(svg) for name, svg in _pictures(report).items()}
    template = (files("netadapt.report") / "page.html.jinja").read_text("utf-8")
    return environment.from_string(template).render(
        report=report,
        pictures=pictures,
        verdict=_verdict(report),
        total_s=sum(step.seconds for step in report.durations),
    )


def _pictures(report: RunReport) -> dict[str, str]:
    """Markup by name, of those that the run has the numbers for."""
    pictures = {}
    if report.candidates:
        pictures["search"] = figures.search_path(report)
    if report.probes:
        pictures["loop"] = figures.loop_errors(report.probes)
    if report.predicted_measured:
        pictures["predicted"] = figures.predicted_measured(report.predicted_measured)
    if report.drawings:
        pictures["networks"] = figures.networks(report.drawings)
    if report.kernel_shares:
        labels = list(dict.fromkeys(label for share in report.kernel_shares for label in share.ms))
        pictures["kernels"] = figures.kernel_shares(report.kernel_shares, labels)
    if report.predictor:
        pictures["errors"] = figures.predictor_errors(report.predictor)
    if report.durations:
        pictures["durations"] = figures.durations(report.durations)
    return pictures


def _verdict(report: RunReport) -> str:
    """The run's outcome in one sentence."""
    found, reference = report.network("found"), report.network("reference")
    if found is None:
        steps = "none of its steps" if not report.durations else report.durations[-1].step
        return f"This run is not finished; the last step that did something is: {steps}."
    met = [b for b in report.budgets if b.used is not None]
    missed = [b.name.replace("_", " ") for b in met if b.used is not None and b.used > 1]
    start = "The budget is met" if not missed else f"The budget is missed in {', '.join(missed)}"
    sentence = (
        f"{start}: the found network takes {milliseconds(found.measured_ms)} when measured, "
        f"at {_score(report, found.score)} {report.score_name} on the test images"
    )
    if reference is not None:
        sentence += (
            f"; the reference takes {milliseconds(reference.measured_ms)} at "
            f"{_score(report, reference.score)}"
        )
    scaled = report.network("scaled")
    if scaled is not None:
        sentence += f", and the reference scaled to the same latency {_compared(report, scaled)}"
    return f"{sentence}."


def _compared(report: RunReport, scaled: NetworkFigures) -> str:
    return f"reaches {_score(report, scaled.score)} in {milliseconds(scaled.measured_ms)}"


def _score(report: RunReport, value: float) -> str:
    return f"{100 * value:.1f} %" if report.score_is_share else f"{value:.4g}"


def _number(value: float, form: str, unit: str = "") -> str:
    """A dash where nothing tells."""
    return "-" if math.isnan(value) else f"{value:{form}}{unit}"


def _limit(budget: Budget, value: float) -> str:
    if budget.unit == "ms":
        return milliseconds(value)
    return f"{quantity(value)} {budget.unit}"
