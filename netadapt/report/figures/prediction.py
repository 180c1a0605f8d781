"""How far predictions are off: of whole networks, and of kinds of kernels."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.ticker import FuncFormatter

from netadapt.predictor.report import LearningRound
from netadapt.report.figures.canvas import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    RED,
    Layout,
    canvas,
    legend_above,
    number_axis,
    words,
)
from netadapt.report.records import PredictedMeasured, PredictionErrors
from netadapt.text import LatencyUnit

GROUP_STYLES = {
    "other networks of the table": (GREY, "s"),
    "measured beside them": (ORANGE, "v"),
    "kept in the search": (BLUE, "o"),
    "trained": (GREEN, "D"),
}


def residuals(pairs: Sequence[PredictedMeasured], layout: Layout) -> str:
    """Error of the predicted latency in % against the measured latency, 90 % intervals."""
    unit = LatencyUnit.of(p.measured_ms for p in pairs)
    with canvas(
        "residuals",
        layout,
        title="How far networks were predicted off, against their measured latency",
        description=_described(pairs),
        height_in=4.0,
    ) as made:
        axes = made.axes
        axes.axhspan(-5, 5, color=INK, alpha=0.1, lw=0, label="within 5 %")
        axes.axhline(0, color=INK, lw=0.8)
        for group in dict.fromkeys(p.group for p in pairs):
            colour, marker = GROUP_STYLES.get(group, (PURPLE, "^"))
            members = [p for p in pairs if p.group == group]
            axes.plot(
                [p.measured_ms * unit.per_ms for p in members],
                [100 * p.error for p in members],
                marker,
                color=colour,
                ms=5.5,
                label=f"{group} ({len(members)})",
            )
            for p in members:
                if p.low_ms is not None and p.high_ms is not None:
                    axes.plot(
                        [p.measured_ms * unit.per_ms] * 2,
                        [100 * (end / p.measured_ms - 1) for end in (p.low_ms, p.high_ms)],
                        color=colour,
                        lw=1,
                        alpha=0.6,
                    )
        number_axis(axes, [p.measured_ms * unit.per_ms for p in pairs])
        # An interval may be as wide as it likes, the errors decide what is seen.
        most = 1.25 * max(7.0, *(abs(100 * p.error) for p in pairs))
        axes.set_ylim(-min(most, 100), most)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:+g}" if v else "0"))
        axes.set_xlabel(f"measured latency, {unit.name}")
        axes.set_ylabel("error of the prediction, %")
        legend_above(made, 3 if layout.columns > 1 else 1)
    return made.markup


def learning(rounds: Sequence[LearningRound], layout: Layout) -> str:
    """Doubt about unmeasured kernels and error on held-out ones against the rows learnt from."""
    first, last = rounds[0], rounds[-1]
    with canvas(
        "learning",
        layout,
        title="How sure the predictor is with more and more kernels measured",
        description=f"From {first.rows} to {last.rows} kernels the doubt about half of the "
        f"unmeasured ones went from {100 * first.doubt:.1f} to {100 * last.doubt:.1f} %, the mean "
        f"error on held-out ones from {first.mape_pct:.1f} to {last.mape_pct:.1f} %.",
        height_in=3.4,
    ) as made:
        axes = made.axes
        rows = [each.rows for each in rounds]
        doubts = [100 * each.doubt for each in rounds]
        axes.plot(rows, doubts, "-o", color=BLUE, ms=5, label="doubt about the unmeasured, median")
        errors = [each.mape_pct for each in rounds]
        axes.plot(rows, errors, "--^", color=ORANGE, ms=5, label="mean error on held-out ones")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("kernels measured")
        axes.set_ylabel("% of the latency")
        legend_above(made, 2 if layout.columns > 1 else 1)
    return made.markup


def predictor_errors(errors: Sequence[PredictionErrors], layout: Layout) -> str:
    """Mean error by kind of kernel, the noise of repeated measurement beside it."""
    rows = list(reversed(errors))
    described = "; ".join(
        f"{words(e.subject)}: mean error {e.figures.mape_pct:.1f} %, "
        f"repeated measurement {e.figures.repeat_median_pct:.1f} %"
        for e in errors
    )
    with canvas(
        "errors",
        layout,
        title="Mean error of held-out predictions beside the noise of measurement",
        description=f"{described}.",
        height_in=0.33 * len(rows) + 1.1,
    ) as made:
        axes = made.axes
        for y, row in enumerate(rows):
            axes.plot([0, row.figures.mape_pct], [y, y], color=INK, alpha=0.3, lw=1)
        axes.plot(
            [row.figures.mape_pct for row in rows],
            range(len(rows)),
            "o",
            color=BLUE,
            ms=7,
            label="prediction: mean absolute error",
        )
        axes.plot(
            [row.figures.repeat_median_pct for row in rows],
            range(len(rows)),
            "|",
            color=RED,
            ms=13,
            mew=2,
            label="repeated measurement: median deviation",
        )
        axes.set_yticks(range(len(rows)), [words(row.subject) for row in rows])
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_xlim(left=0)
        axes.set_xlabel("% of the measured latency")
        legend_above(made, 2 if layout.columns > 1 else 1)
    return made.markup


def _described(pairs: Sequence[PredictedMeasured]) -> str:
    said = []
    for group in dict.fromkeys(p.group for p in pairs):
        errors = [100 * p.error for p in pairs if p.group == group]
        near = sum(abs(error) <= 5 for error in errors)
        said.append(
            f"{group}: {near} of {len(errors)} within 5 %, "
            f"errors from {min(errors):+.1f} to {max(errors):+.1f} %"
        )
    return f"{'; '.join(said)}."
