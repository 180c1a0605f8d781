"""Pictures of a differentiable search: what it expected and measured, and how it chose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from netadapt.report.figures.canvas import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    Layout,
    canvas,
    legend_above,
    number_axis,
    words,
)
from netadapt.text import LatencyUnit, three_digits

if TYPE_CHECKING:
    from netadapt.report.records import SearchReport
    from netadapt.search.dmasking.points import MaskingPoint

ROW_IN = 0.24
"""Height of a dimension in the picture of probabilities."""


def masking_path(search: SearchReport, layout: Layout) -> str:
    """The cost expected of the mixture and that of its likeliest arch, and how open it still is."""
    points, name = search.masking, _counted(search.masking)
    unit, per = _unit(points, name)
    steps = [p.step for p in points]
    expected = [p.costs[name] * p.corrections[name] * per for p in points]
    likeliest = [p.predicted[name] * p.corrections[name] * per for p in points]
    timed = [(p.step, p.measured[name] * per) for p in points if name in p.measured]
    budget = points[-1].budgets[name] * per
    with canvas(
        f"masking-{search.name}",
        layout,
        title=f"Expected and measured {words(name)}, and the entropy of the choices, by step",
        description=f"Expected {words(name)}: from {three_digits(expected[0])} to "
        f"{three_digits(expected[-1])} {unit}, budget {three_digits(budget)} {unit}; entropy from "
        f"{points[0].entropy:.2f} to {points[-1].entropy:.2f}.",
        height_in=3.4,
        panels=2,
        widths=(3, 2),
    ) as made:
        left, right = made.panels
        left.plot(steps, expected, "-", color=BLUE, lw=1.6, label="expected")
        left.plot(steps, likeliest, "--", color=GREEN, lw=1.4, label="likeliest, predicted")
        if timed:
            xs, ys = zip(*timed, strict=True)
            left.plot(xs, ys, "x", color=ORANGE, ms=6, mew=1.6, label="likeliest, measured")
        left.axhline(budget, color=RED, ls=(0, (5, 3)), lw=1.3, label="budget")
        number_axis(left, [*expected, *likeliest, *(y for _, y in timed), budget], vertical=True)
        left.set_xlabel("step")
        left.set_ylabel(f"{words(name)}, {unit}")
        right.plot(steps, [p.entropy for p in points], "-", color=GREY, lw=1.6, label="entropy")
        right.set_ylim(0, 1.05)
        right.set_xlabel("step")
        right.set_ylabel("entropy, share of the most")
        for axes in made.panels:
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        legend_above(made, panel=0)
    return made.markup


def choices(search: SearchReport, layout: Layout) -> str:
    """Each dimension's probabilities step by step: a row each, its largest value on top."""
    import numpy as np
    from matplotlib import colormaps

    points = search.masking
    names = list(points[0].probabilities)
    first, last = points[0].step, points[-1].step
    described = "; ".join(
        f"{name}: {max(points[-1].probabilities[name]):.2f} for value "
        f"{1 + int(np.argmax(points[-1].probabilities[name]))} of "
        f"{len(points[-1].probabilities[name])}"
        for name in names
    )
    with canvas(
        f"choices-{search.name}",
        layout,
        title="Probability of each value of each dimension, by step",
        description=f"At the end {described}.",
        height_in=ROW_IN * len(names) + 0.9,
    ) as made:
        axes = made.axes
        for row, name in enumerate(names):
            shares = np.array([point.probabilities[name] for point in points]).T
            # Each row by its own largest probability: dimensions of many values are all pale else
            axes.imshow(
                shares / shares.max(),
                cmap=colormaps["cividis_r"],
                extent=(first, max(last, first + 1), row + 0.46, row - 0.46),
                origin="lower",
                aspect="auto",
                interpolation="nearest",
                vmin=0,
                vmax=1,
            )
        axes.set_xlim(first, max(last, first + 1))
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_yticks(range(len(names)), [_short(name) for name in names])
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel("step")
        axes.grid(visible=False)
    return made.markup


def _short(name: str) -> str:
    """A dimension's name with blocks as a report counts them."""
    match name.split("."):
        case [_, index, attribute]:
            return f"{int(index) + 1} {words(attribute)}"
        case _:
            return words(name)


def _counted(points: tuple[MaskingPoint, ...]) -> str:
    """What is drawn: latency where it is counted."""
    names = list(points[-1].costs)
    return "latency" if "latency" in names else names[0]


def _unit(points: tuple[MaskingPoint, ...], name: str) -> tuple[str, float]:
    if name != "latency":
        return ("M", 1e-6)
    unit = LatencyUnit.of(p.costs[name] for p in points)
    return unit.name, unit.per_ms
