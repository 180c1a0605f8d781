"""A run's outcome in sentences: differences with their intervals, not pairs of figures."""

from __future__ import annotations

from netadapt.report.intervals import Estimate
from netadapt.report.records import RunReport, SearchReport, TrainedNetwork
from netadapt.text import LatencyUnit

MINUS = "\N{MINUS SIGN}"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"

_METRICS = {"macs": "MACs", "params": "parameters"}


def metric(name: str) -> str:
    """A constraint's name as people read it."""
    return _METRICS.get(name, name.replace("_", " "))


def verdicts(report: RunReport, unit: LatencyUnit) -> tuple[str, ...]:
    """What each search has come to, largest budget first; where none has, how far the run is."""
    said = tuple(
        _outcome(report, search, found, unit)
        for search in report.searches
        if (found := report.network("found", search.label)) is not None
    )
    if said:
        return said
    steps = report.durations[-1].step if report.durations else "none of its steps"
    return (f"This run is not finished; the last step that did something is: {steps}.",)


def choice(lead: Estimate) -> str:
    """How clear a search's last choice was: by how much the loss of the next best is above."""
    said = (
        f"The loss of the next best candidate of the last iteration is {lead.value:.3f} "
        f"{PLUS_MINUS} {lead.half_width:.3f} higher on the same images"
    )
    return f"{said}: a clear choice." if lead.low > 0 else f"{said}: about as good."


def speed(estimate: Estimate) -> str:
    """E.g. `2.2 times faster (2.1 to 2.3)`; the other way round below 1."""
    word, value, low, high = "faster", estimate.value, estimate.low, estimate.high
    if value < 1:
        word, value, low, high = "slower", 1 / value, 1 / high, 1 / low
    return f"{value:.2f} times {word} ({low:.2f} to {high:.2f})"


def gain(report: RunReport, estimate: Estimate) -> str:
    """A difference of scores, e.g. `-0.7 +- 1.8`, with real signs."""
    scale, form = (100.0, ".1f") if report.score_is_share else (1.0, ".3g")
    number = f"{scale * estimate.value:+{form}}".replace("-", MINUS)
    if not float(f"{scale * estimate.value:{form}}"):
        number = number[1:]  # a difference that is rounded away has no sign
    return number if estimate.half_width == 0 else f"{number} {uncertainty(report, estimate)}"


def points(report: RunReport) -> str:
    """What a difference of scores is of."""
    return f"{'points of ' if report.score_is_share else 'in '}{report.score_name}"


def uncertainty(report: RunReport, estimate: Estimate) -> str:
    """E.g. `+- 1.8`, with a real sign, in the score's unit."""
    if report.score_is_share:
        return f"{PLUS_MINUS} {100 * estimate.half_width:.1f}"
    return f"{PLUS_MINUS} {estimate.half_width:.3g}"


def _outcome(
    report: RunReport, search: SearchReport, found: TrainedNetwork, unit: LatencyUnit
) -> str:
    reference, scaled = report.reference, report.network("scaled", search.label)
    sentences = []
    if reference is not None:
        change = found.score_gain(reference)
        sentences.append(
            f"{_subject(report, search)} is {speed(found.times_faster(reference))} than the "
            f"reference at {gain(report, change)} {points(report)}{_too_close(change, found)}."
        )
    latency = search.budget("latency")
    missed = [metric(b.name) for b in search.budgets if b.used is not None and b.used > 1]
    state = f"misses its budget in {', '.join(missed)}" if missed else "meets its budget"
    if latency is not None and latency.used is not None:
        state += (
            f": it takes {unit.text(found.measured_ms)} of {unit.text(latency.limit)} when "
            f"measured, {100 * latency.used:.1f} %"
        )
    sentences.append(f"It {state}.")
    if scaled is not None:
        change = found.score_gain(scaled)
        share = 100 * (found.times_faster(scaled).value - 1)
        how = "as fast" if abs(share) < 0.05 else f"{abs(share):.1f} % slower"
        if share <= -0.05:
            how = f"{abs(share):.1f} % faster"
        sentences.append(
            f"Against the reference scaled in width to about that latency ({how}) it is at "
            f"{gain(report, change)} {points(report)}{_too_close(change, found)}."
        )
    return " ".join(sentences)


def _subject(report: RunReport, search: SearchReport) -> str:
    if len(report.searches) == 1:
        return "The found network"
    return f"Budget {search.given}: the found network"


def _too_close(change: Estimate, network: TrainedNetwork) -> str:
    """Said of a difference that the test images are too few for."""
    if change.half_width == 0 or change.conclusive:
        return ""
    return f" (too close to call on {network.images:,} test images)"
