"""Losses of the trainings, and where a run's time went."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator

from netadapt.report.figures.canvas import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    SMALL,
    Layout,
    canvas,
    legend_above,
    number_axis,
)
from netadapt.report.records import SUPERNET, Duration, LossCurve
from netadapt.text import duration, three_digits


def losses(curves: Sequence[LossCurve], layout: Layout) -> str:
    """The super-network's loss in one panel, all other networks' in another."""
    first = [c for c in curves if c.phase == SUPERNET]
    others = [c for c in curves if c.phase != SUPERNET]
    titled = [(title, part) for title, part in (("super-network", first), ("networks", others))]
    titled = [(title, part) for title, part in titled if part]
    described = "; ".join(
        f"{c.phase}: from {three_digits(c.losses[0])} to {three_digits(c.losses[-1])} in "
        f"{c.steps[-1]} steps"
        for c in curves
    )
    with canvas(
        "losses",
        layout,
        title="Training loss against the step",
        description=f"{described}.",
        height_in=3.4,
        panels=len(titled),
    ) as made:
        for axes, (title, part) in zip(made.panels, titled, strict=True):
            seen: set[str] = set()
            for curve in part:
                kind, colour, style = _style(curve.phase)
                axes.plot(
                    curve.steps,
                    curve.losses,
                    style,
                    color=colour,
                    lw=1.5,
                    marker="." if len(curve.steps) == 1 else None,
                    label=None if kind in seen or kind == SUPERNET else kind,
                )
                seen.add(kind)
            number_axis(axes, [loss for c in part for loss in c.losses], vertical=True)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.set_title(title)
            axes.set_xlabel("step")
            axes.set_ylabel("loss")
        legend_above(made, panel=-1)
    return made.markup


def durations(steps: Sequence[Duration], layout: Layout) -> str:
    """Wall time of each step, first step on top."""
    top = max(s.seconds for s in steps) or 1.0
    described = "; ".join(f"{s.step}: {duration(s.seconds)}" for s in steps)
    with canvas(
        "durations",
        layout,
        title="Time of each step",
        description=f"{described}.",
        height_in=0.32 * len(steps) + 0.8,
    ) as made:
        axes = made.axes
        axes.barh(range(len(steps)), [s.seconds for s in steps], 0.6, color=GREY, lw=0)
        for y, step in enumerate(steps):
            axes.text(
                step.seconds + 0.01 * top, y, duration(step.seconds), va="center", fontsize=SMALL
            )
        axes.set_yticks(range(len(steps)), [s.step for s in steps])
        axes.set_ylim(len(steps) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, top * 1.28)
        axes.grid(visible=False)
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
    return made.markup


def _style(phase: str) -> tuple[str, str, str]:
    """Kind, colour and line of a phase's curve."""
    kind = phase.split()[0].rstrip(",")
    looks = {"reference": (ORANGE, "-"), "found": (BLUE, "-"), "scaled": (GREEN, "--")}
    colour, line = looks.get(kind, (GREY, "-"))
    return kind, colour, line
