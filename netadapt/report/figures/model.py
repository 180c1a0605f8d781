"""Where the milliseconds of a model of one's own go."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import partial

from netadapt.report.figures.canvas import (
    BLUE,
    FOUND_COLOURS,
    GREY,
    ORANGE,
    SMALL,
    Layout,
    canvas,
    legend_above,
    number_axis,
)
from netadapt.report.figures.latency import bar_chart
from netadapt.text import LatencyUnit, quantity


def by_name(
    name: str, title: str, series: Mapping[str, Mapping[str, float]], layout: Layout
) -> str:
    """Horizontal bars of milliseconds by series (such as "1 thread") and name, as they come."""
    colours = itertools.cycle(FOUND_COLOURS)
    coloured = [(label, next(colours), ms) for label, ms in series.items()]
    return bar_chart(name, title, "measured", coloured, layout, partial(_cut, layout=layout))


def roofline(points: Sequence[tuple[str, bool, float, int]], layout: Layout) -> str:
    """Every operation with multiply-accumulates: how many, and how long it takes.

    Parameters
    ----------
    points: module or operation, whether it is a depthwise convolution, ms, multiply-accumulates.
    """
    unit = LatencyUnit.of(ms for _, _, ms, _ in points)
    rates = sorted(macs / ms / 1e6 for _, _, ms, macs in points)
    usual = rates[len(rates) // 2]
    # Blocks of a stage are alike: one of those that fall on one spot stands for them
    spots = {(ms, macs): name for name, _, ms, macs in reversed(points)}
    slow = sorted(spots, key=lambda spot: spot[1] / usual / 1e6 - spot[0])[:3]
    lost = ", ".join(
        f"{spots[spot]} with {quantity(spot[1])} in {unit.text(spot[0])}" for spot in slow
    )
    with canvas(
        "rates",
        layout,
        title="Milliseconds against multiply-accumulates, operation by operation",
        description=f"{len(points)} operations do from {rates[0]:.3g} to {rates[-1]:.3g} milliard "
        f"multiply-accumulates a second, half of them {usual:.3g} or more. Those that lose most "
        f"against that: {lost}.",
        height_in=4.2,
    ) as made:
        axes = made.axes
        for depthwise, colour, mark, label in (
            (False, BLUE, "o", "dense"),
            (True, ORANGE, "^", "depthwise"),
        ):
            chosen = [p for p in points if p[1] == depthwise]
            if chosen:
                xs, ys = [p[3] / 1e6 for p in chosen], [p[2] * unit.per_ms for p in chosen]
                axes.plot(xs, ys, mark, color=colour, alpha=0.75, ms=6, label=label)
        least = min(p[2] for p in points)
        ends = [max(min(p[3] for p in points), least * usual * 1e6), max(p[3] for p in points)]
        axes.plot(
            [macs / 1e6 for macs in ends],
            [macs / usual / 1e6 * unit.per_ms for macs in ends],
            "--",
            color=GREY,
            lw=1.2,
            label=f"{usual:.3g} GMAC/s, the median",
        )
        for rank, spot in enumerate(slow, 1):
            axes.annotate(
                str(rank),
                (spot[1] / 1e6, spot[0] * unit.per_ms),
                xytext=(0, 6),
                textcoords="offset points",
                fontsize=SMALL,
                ha="center",
            )
            axes.plot([], [], " ", label=f"{rank}: {_cut(spots[spot], layout)}")
        number_axis(axes, [p[3] / 1e6 for p in points])
        number_axis(axes, [p[2] * unit.per_ms for p in points], vertical=True)
        axes.margins(x=0.12, y=0.12)
        axes.set_xlabel("million multiply-accumulates")
        axes.set_ylabel(f"measured, {unit.name}")
        legend_above(made, 3 if layout.columns > 1 else 1)
    return made.markup


def _cut(name: str, layout: Layout) -> str:
    """The end of a long name, which tells neighbours apart."""
    most = 34 if layout.columns > 1 else 20
    return name if len(name) <= most else f"\N{HORIZONTAL ELLIPSIS}{name[1 - most :]}"
