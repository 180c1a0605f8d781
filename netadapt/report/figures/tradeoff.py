"""The main picture: score against measured latency of every trained network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from textwrap import shorten
from typing import TYPE_CHECKING

from netadapt.report.figures.canvas import (
    BLUE,
    FOUND_COLOURS,
    GREY,
    KIND_STYLES,
    NORMAL,
    RED,
    SMALL,
    Layout,
    around,
    canvas,
    legend_above,
    number_axis,
)
from netadapt.report.records import PublishedNetwork, RunReport, TrainedNetwork
from netadapt.text import LatencyUnit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST_NAME = 24
"""Of another run, in letters: the legend is as wide as its columns on a phone."""

_LEGEND = {
    "reference": "reference",
    "found": "found by the search",
    "scaled": "reference, scaled",
}


def tradeoff(report: RunReport, layout: Layout) -> str:
    """Every trained network with both its intervals, the budgets, the found ones joined.

    Published networks whose scores compare are numbered as in the page's table of them.
    """
    published = [(n.measured_ms, n.score) for n in report.published if n.score is not None]
    unit = LatencyUnit.of([n.measured_ms for n in report.networks] + [ms for ms, _ in published])
    scale = 100.0 if report.score_is_share else 1.0
    limits = [b.limit for s in report.searches if (b := s.budget("latency")) is not None]
    with canvas(
        "tradeoff",
        layout,
        title=f"{report.score_name} against measured latency of every trained network",
        description=_described(report, unit, limits),
        height_in=4.9 if layout.columns > 1 else 4.3,
    ) as made:
        axes = made.axes
        for index, limit in enumerate(limits):
            axes.axvline(
                limit * unit.per_ms,
                color=RED,
                ls=(0, (5, 3)),
                lw=1.3,
                label=None if index else ("latency budget" + "s" * (len(limits) > 1)),
            )
        found = [n for n in report.networks if n.kind == "found"]
        if len(found) > 1:
            front = sorted((n.measured_ms * unit.per_ms, n.score * scale) for n in found)
            axes.plot(*zip(*front, strict=True), "-", color=BLUE, lw=1.6, alpha=0.6)
        for kind, label in _LEGEND.items():
            networks = [n for n in report.networks if n.kind == kind]
            _points(axes, networks, label, KIND_STYLES[kind], unit, scale)
        for run, colour in zip(report.beside, cycle(FOUND_COLOURS[1:])):
            label = shorten(f"run {run.name}", LONGEST_NAME, placeholder="...")
            _points(axes, run.networks, label, (colour, "P"), unit, scale)
        _numbered(axes, [(ms * unit.per_ms, score * scale) for ms, score in published])
        spans = [n.score_interval for n in report.trained]
        scores = [end for s in spans for end in (s.low, s.high)] + [s for _, s in published]
        low, high = around(min(scores) * scale, max(scores) * scale, 0.1)
        axes.set_ylim(low, high + 0.08 * (high - low))
        reach = [
            n.measured_ms * (1 + sign * n.measured_spread)
            for n in report.trained
            for sign in (-1, 1)
        ]
        reach += [*limits, *(ms for ms, _ in published)]
        left, right = around(min(reach), max(reach), 0.08)
        axes.set_xlim(left * unit.per_ms, right * unit.per_ms)
        number_axis(axes, [])
        named = [n for n in report.networks if n.kind != "scaled"]
        _names(axes, named, unit, scale, layout)
        axes.set_xlabel(f"measured latency, {unit.name}")
        share = ", %" if report.score_is_share else ""
        axes.set_ylabel(f"{report.score_name} on test images{share}")
        legend_above(made)
    return made.markup


def _points(
    axes: Axes,
    networks: Sequence[TrainedNetwork],
    label: str,
    style: tuple[str, str],
    unit: LatencyUnit,
    scale: float,
) -> None:
    """`style`: colour and marker."""
    if not networks:
        return
    colour, marker = style
    spans = [n.score_interval for n in networks]
    xs = [n.measured_ms * unit.per_ms for n in networks]
    axes.errorbar(
        xs,
        [n.score * scale for n in networks],
        xerr=[x * n.measured_spread for x, n in zip(xs, networks, strict=True)],
        yerr=(
            [(s.value - s.low) * scale for s in spans],
            [(s.high - s.value) * scale for s in spans],
        ),
        fmt=marker,
        color=colour,
        ms=8 if networks[0].kind != "scaled" else 6.5,
        elinewidth=1.2,
        capsize=3,
        label=label,
    )


def _numbered(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    for number, (x, y) in enumerate(points, 1):
        axes.plot(
            [x], [y], "s", color=GREY, mfc="none", ms=6, label=None if number > 1 else "published"
        )
        axes.annotate(
            str(number), (x, y), xytext=(0, 5), textcoords="offset points", color=GREY,
            fontsize=SMALL, ha="center",
        )  # fmt: skip


def _names(
    axes: Axes,
    networks: Sequence[TrainedNetwork],
    unit: LatencyUnit,
    scale: float,
    layout: Layout,
) -> None:
    """Each network's label above its interval, higher where another one is in the way."""
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    # About what a letter and a line take, as shares of the axes
    letter, line = 0.105 / (layout.width_in - 0.8), 0.07
    taken: list[tuple[float, float, float]] = []
    for network in sorted(networks, key=lambda n: n.measured_ms):
        x = (network.measured_ms * unit.per_ms - left) / (right - left)
        y = (network.score_interval.high * scale - low) / (high - low) + 0.015
        width = letter * len(network.label)
        x = min(max(x, width / 2), 1 - width / 2)
        while any(abs(x - a) < (width + w) / 2 and abs(y - b) < line for a, b, w in taken):
            y += 0.01
        taken.append((x, y, width))
        colour, _ = KIND_STYLES[network.kind]
        axes.text(
            x,
            y,
            network.label,
            transform=axes.transAxes,
            ha="center",
            color=colour,
            fontsize=NORMAL,
            fontweight="bold",
        )


def _described(report: RunReport, unit: LatencyUnit, limits: Sequence[float]) -> str:
    share = 100.0 if report.score_is_share else 1.0
    sign = " %" if report.score_is_share else ""
    networks: tuple[TrainedNetwork | PublishedNetwork, ...] = (*report.trained, *report.published)
    points = "; ".join(
        f"{n.label}: {unit.text(n.measured_ms)}, {n.score * share:.3g}{sign}"
        for n in networks
        if n.score is not None
    )
    budgets = ", ".join(unit.text(limit) for limit in limits)
    return f"{points}." + (f" Latency budget: {budgets}." if budgets else "")
