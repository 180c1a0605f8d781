"""Pictures of a report as inline SVG that takes its text colour from the page, light or dark.

Every function takes records and gives SVG markup; colours are Okabe and Ito's (2008), which
colour-blind readers tell apart, and no picture tells by colour alone.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from netadapt.report.records import (
    Drawing,
    Duration,
    KernelShare,
    Layer,
    PredictedMeasured,
    PredictionErrors,
    Probe,
    RunReport,
)
from netadapt.text import duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
)
# Stands for the page's text colour until the markup is finished.
INK = "#010203"
GROUP_STYLES = {
    "other networks of the table": (SKY, "s"),
    "measured beside them": (ORANGE, "v"),
    "kept in the search": (BLUE, "o"),
    "trained": (RED, "D"),
}
NETWORK_COLOURS = {"reference": ORANGE, "found": BLUE, "scaled": GREEN}
_WIDTH_IN = 7.6

_STYLE = {
    "svg.fonttype": "none",  # text stays text: sharp, small, in the page's font
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def search_path(report: RunReport) -> str:
    """Score against what the search had to lower, all candidates, the kept ones joined in order."""
    scale = 100.0 if report.score_is_share else 1.0
    metric = report.search_metric.replace("_", " ")
    with _figure("search-path", f"Score against {metric} of every candidate", 4.6) as (
        figure,
        axes,
    ):
        dots = [(c.predicted, c.score * scale) for c in report.candidates]
        axes.plot(*zip(*dots, strict=True), ".", color=INK, alpha=0.28, ms=5, label="candidate")
        line = [(s.predicted, s.score * scale) for s in report.path]
        if line:
            axes.plot(
                *zip(*line, strict=True), "-o", color=BLUE, ms=5, lw=1.6, label="kept, as predicted"
            )
        timed = [(s.measured, s.score * scale) for s in report.path if s.measured is not None]
        if timed:
            axes.plot(
                *zip(*timed, strict=True), "x", color=RED, ms=6, mew=1.5, label="kept, as measured"
            )
        budget = report.search_budget
        if budget is not None:
            axes.axvline(budget.limit, color=RED, ls="--", lw=1.2)
            axes.annotate(
                "budget",
                (budget.limit, 0.02),
                xycoords=("data", "axes fraction"),
                xytext=(5, 0),
                textcoords="offset points",
                color=RED,
                fontsize=10,
            )
        _plain_axis(axes, [x for x, _ in (*dots, *line, *timed)])
        axes.set_xlabel(f"{metric}, {report.search_unit} (the search goes from right to left)")
        unit = ", %" if report.score_is_share else ""
        axes.set_ylabel(f"{report.score_name} on validation images{unit}")
        axes.legend(loc="lower right")
        return _markup(figure)


def predicted_measured(pairs: Sequence[PredictedMeasured]) -> str:
    """Predicted against measured latency, the diagonal and +-5 % around it."""
    values = [v for p in pairs for v in (p.predicted_ms, p.measured_ms)]
    low, high = min(values) * 0.93, max(values) * 1.07
    with _figure("predicted-measured", "Predicted against measured", 4.4) as (figure, axes):
        axes.fill_between(
            [low, high],
            [low * 0.95, high * 0.95],
            [low * 1.05, high * 1.05],
            color=INK,
            alpha=0.1,
            lw=0,
            label="within 5 %",
        )
        axes.plot([low, high], [low, high], color=INK, lw=0.8)
        for group in dict.fromkeys(p.group for p in pairs):
            colour, marker = GROUP_STYLES.get(group, (PURPLE, "^"))
            members = [p for p in pairs if p.group == group]
            xs = [p.measured_ms for p in members]
            axes.plot(
                xs,
                [p.predicted_ms for p in members],
                marker,
                color=colour,
                ms=5.5,
                label=f"{group} ({len(members)})",
            )
            for p in members:
                if p.low_ms is not None and p.high_ms is not None:
                    axes.plot(
                        [p.measured_ms] * 2, [p.low_ms, p.high_ms], color=colour, lw=1, alpha=0.7
                    )
        _plain_axis(axes, values)
        _plain_axis(axes, values, vertical=True)
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)
        axes.set_xlabel("measured, ms")
        axes.set_ylabel("predicted, ms")
        axes.legend(loc="upper left")
        return _markup(figure)


def loop_errors(probes: Sequence[Probe]) -> str:
    """Error of the prediction along the search, all measured candidates, the guard band behind."""
    with _figure("loop-errors", "Prediction error along the search", 3.2) as (figure, axes):
        guards = {p.iteration: 100 * p.guard for p in probes}
        if any(guards.values()):
            axes.fill_between(
                list(guards),
                [-guard for guard in guards.values()],
                list(guards.values()),
                color=INK,
                alpha=0.1,
                lw=0,
                label="guard band",
            )
        axes.axhline(0, color=INK, lw=0.8)
        for kept, (colour, marker), label in (
            (False, GROUP_STYLES["measured beside them"], "measured beside it"),
            (True, GROUP_STYLES["kept in the search"], "kept"),
        ):
            dots = [(p.iteration, 100 * p.error) for p in probes if p.kept == kept]
            if dots:
                line = "-" if kept else ""
                axes.plot(
                    *zip(*dots, strict=True), line + marker, color=colour, ms=5, lw=1.2, label=label
                )
        # The first network is predicted without any correction and may be far off.
        later = [abs(100 * p.error) for p in probes if p.iteration > 0]
        limit = 1.3 * max([*later, *(guards[i] for i in guards if i > 0), 2.0])
        first = next((100 * p.error for p in probes if p.iteration == 0), 0.0)
        if abs(first) > limit:
            edge = limit if first > 0 else -limit
            axes.annotate(
                f"{first:+.0f} %",
                (0, edge),
                xytext=(6, -10 if first > 0 else 4),
                textcoords="offset points",
                fontsize=10,
            )
        axes.set_ylim(-limit, limit)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("iteration")
        axes.set_ylabel("predicted against measured, %")
        axes.legend(loc="lower right", ncols=3)
        return _markup(figure)


def networks(drawings: Sequence[Drawing]) -> str:
    """Networks side by side, a row a layer: bars as wide as the layers, outlines of the largest."""
    rows = max(len(d.layers) for d in drawings)
    widest = max(max(x.max_width, x.max_expansion) for d in drawings for x in d.layers)
    with _figure(
        "networks", "Networks layer by layer", 0.36 * rows + 1.1, columns=len(drawings)
    ) as (figure, _):
        for axes, drawing in zip(figure.axes, drawings, strict=True):
            colour = NETWORK_COLOURS.get(drawing.label, PURPLE)
            for row, layer in enumerate(drawing.layers):
                _draw_layer(axes, row, layer, colour, widest)
            _stage_lines(axes, drawing.layers)
            axes.set_ylim(rows - 0.4, -0.7)
            axes.set_xlim(-0.56 * widest, 1.5 * widest)
            axes.set_title(f"{drawing.label}: depth {drawing.depth:.1f}", fontsize=12, loc="left")
            axes.axis("off")
        return _markup(figure)


def kernel_shares(shares: Sequence[KernelShare], labels: Sequence[str]) -> str:
    """Milliseconds by kernel type, a bar for each network."""
    shares = sorted(shares, key=lambda s: max(s.ms.values(), default=0.0))
    height = 0.8 / len(labels)
    with _figure(
        "kernel-shares", "Milliseconds by kernel type", 0.32 * len(shares) * len(labels) + 1.2
    ) as (figure, axes):
        top = max((ms for s in shares for ms in s.ms.values()), default=1.0)
        for index, label in enumerate(labels):
            # The first label is the upper bar of each group.
            offset = (len(labels) - 1) * height / 2 - index * height
            ys = [row + offset for row in range(len(shares))]
            xs = [s.ms.get(label, 0.0) for s in shares]
            axes.barh(ys, xs, height * 0.9, color=NETWORK_COLOURS.get(label, PURPLE), label=label)
            for x, y in zip(xs, ys, strict=True):
                axes.text(x + 0.008 * top, y, f"{x:.3g}", va="center", fontsize=9)
        axes.set_yticks(range(len(shares)), [s.kernel_type.replace("_", " ") for s in shares])
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, top * 1.12)
        axes.set_xlabel("predicted ms in the network")
        axes.legend(loc="lower right")
        return _markup(figure)


def predictor_errors(errors: Sequence[PredictionErrors]) -> str:
    """Mean error by kind of kernel, the noise of repeated measurement beside it."""
    rows = list(reversed(errors))
    with _figure("predictor-errors", "Prediction errors", 0.36 * len(rows) + 1.1) as (figure, axes):
        for y, row in enumerate(rows):
            axes.plot([0, row.figures.mape_pct], [y, y], color=INK, alpha=0.25, lw=1)
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
        axes.set_yticks(range(len(rows)), [row.subject.replace("_", " ") for row in rows])
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
        axes.set_xlim(left=0)
        axes.set_xlabel("% of the measured latency")
        axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)
        return _markup(figure)


def durations(steps: Sequence[Duration]) -> str:
    """Wall time of each step, first step on top."""
    rows = list(reversed(steps))
    top = max(s.seconds for s in steps)
    with _figure("durations", "Time of each step", 0.34 * len(rows) + 0.9) as (figure, axes):
        axes.barh(range(len(rows)), [s.seconds for s in rows], 0.6, color=SKY)
        for y, step in enumerate(rows):
            axes.text(
                step.seconds + 0.01 * top, y, duration(step.seconds), va="center", fontsize=10
            )
        axes.set_yticks(range(len(rows)), [s.step for s in rows])
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
        axes.set_xlim(0, top * 1.18)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda s, _: duration(s)))
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 3, 6, 10]))
        return _markup(figure)


def _draw_layer(axes: Axes, row: int, layer: Layer, colour: str, widest: int) -> None:
    largest = max(layer.max_width, layer.max_expansion)
    axes.text(-0.55 * widest, row, layer.name, va="center", fontsize=9.5)
    axes.barh(row, largest, 0.72, facecolor="none", edgecolor=INK, alpha=0.3, lw=0.8)
    if layer.removed:
        axes.text(
            largest + 0.02 * widest, row, "removed", va="center", fontsize=9.5, style="italic"
        )
        return
    if layer.expansion:
        axes.barh(row, layer.expansion, 0.72, color=colour, alpha=0.3, lw=0)
    axes.barh(row, layer.width, 0.36, color=colour, lw=0)
    axes.text(largest + 0.02 * widest, row, _layer_label(layer), va="center", fontsize=9.5)


def _layer_label(layer: Layer) -> str:
    parts = [f"{layer.kernel_size}x{layer.kernel_size}"] if layer.kernel_size else []
    parts.append(f"{layer.expansion} to {layer.width}" if layer.expansion else f"{layer.width}")
    parts += ["SE"] if layer.se else []
    return " · ".join(parts)


def _stage_lines(axes: Axes, layers: Sequence[Layer]) -> None:
    """A thin line wherever the feature maps get smaller."""
    for row, (before, after) in enumerate(pairwise(layers)):
        if before.size_px != after.size_px:
            axes.axhline(row + 0.5, color=INK, alpha=0.25, lw=0.8, ls=":")


def _plain_axis(axes: Axes, values: Sequence[float], *, vertical: bool = False) -> None:
    """An axis with plain numbers, logarithmic where the values span much."""
    axis = axes.yaxis if vertical else axes.xaxis
    if values and max(values) > 6 * min(values):
        (axes.set_yscale if vertical else axes.set_xscale)("log")
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        wide = max(values) > 60 * min(values)
        minor = FuncFormatter(lambda v, _: f"{v:g}" if f"{v:.0e}"[0] in "25" else "")
        axis.set_minor_formatter(NullFormatter() if wide else minor)


@contextmanager
def _figure(
    name: str, title: str, height_in: float, columns: int = 1
) -> Iterator[tuple[Figure, Axes]]:
    # Ids that are stable and clash with no other picture's on the page
    style: Any = _STYLE | {"svg.hashsalt": name}
    with plt.rc_context(style):
        figure, grid = plt.subplots(
            1, columns, figsize=(_WIDTH_IN, height_in), layout="constrained", squeeze=False
        )
        figure.set_label(title)
        try:
            yield figure, grid[0][0]
        finally:
            plt.close(figure)


def _markup(figure: Figure) -> str:
    """SVG to be put into a page: no XML header, no metadata, sized by the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    opening = f'<svg role="img" aria-label="{html.escape(str(figure.get_label()))}" '
    svg = re.sub(r'^<svg (.*?)width="[^"]*"', rf"{opening}\1", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'^(<svg [^>]*?)height="[^"]*"', r"\1", svg, count=1, flags=re.DOTALL)
    return svg.replace(INK, "currentColor")
