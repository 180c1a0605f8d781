"""Published networks on one device: accuracy as published, latency as measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt

from netadapt.report.figures.canvas import BLUE, ORANGE, SMALL
from netadapt.text import LatencyUnit

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_reference(points: Mapping[str, tuple[float, float]], where: str) -> Figure:
    """A picture of networks: by name their ms on the device `where`, and their top-1 in per cent.

    The line joins those that no other one betters in both.
    """
    unit = LatencyUnit.of(ms for ms, _ in points.values())
    figure, axes = plt.subplots(figsize=(9.2, 5.2), layout="constrained")
    placed = sorted((ms * unit.per_ms, top1, name) for name, (ms, top1) in points.items())
    front = [p for p in placed if not any(o[0] <= p[0] and o[1] > p[1] for o in placed)]
    axes.plot([x for x, *_ in front], [y for _, y, _ in front], "-", color=BLUE, lw=1.6, alpha=0.6)
    axes.plot([x for x, *_ in placed], [y for _, y, _ in placed], "D", color=ORANGE, ms=6)
    for index, (x, y, name) in enumerate(placed):
        below = index % 2 == 1  # neighbours on different sides
        axes.annotate(
            name, (x, y), xytext=(5, -13 if below else 6), textcoords="offset points",
            fontsize=SMALL - 2,
        )  # fmt: skip
    axes.set_xlabel(f"latency measured on {where}, {unit.name}")
    axes.set_ylabel("ImageNet top-1 as published, %")
    axes.set_xlim(left=0)
    axes.margins(x=0.15, y=0.1)
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
