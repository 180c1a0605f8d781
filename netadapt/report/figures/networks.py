"""Networks layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from netadapt.report.figures.canvas import (
    FOUND_COLOURS,
    INK,
    ORANGE,
    SMALL,
    Layout,
    canvas,
)
from netadapt.report.records import Drawing
from netadapt.search.space import Layer

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def networks(drawings: Sequence[Drawing], layout: Layout) -> str:
    """Networks side by side, a row a layer: bars as wide as the layers, outlines of the largest."""
    rows = max(len(d.layers) for d in drawings)
    widest = max(max(x.max_width, x.max_expansion) for d in drawings for x in d.layers)
    with canvas(
        "networks",
        layout,
        title="The networks layer by layer",
        description=" ".join(_described(d) for d in drawings),
        height_in=0.31 * rows + 0.5,
        panels=len(drawings),
        columns=2,
    ) as made:
        for axes, drawing in zip(made.panels, drawings, strict=True):
            colour = colours([d.label for d in drawings])[drawing.label]
            for row, layer in enumerate(drawing.layers):
                _draw_layer(axes, row, layer, colour, widest)
            _stage_lines(axes, drawing.layers)
            axes.set_ylim(rows - 0.4, -0.7)
            axes.set_xlim(-0.62 * widest, 1.85 * widest)
            axes.set_title(f"{drawing.label}: depth {drawing.depth:.1f}")
            axes.axis("off")
    return made.markup


def colours(labels: Sequence[str]) -> dict[str, str]:
    """A colour for the reference and one for each network beside it."""
    others = [label for label in labels if label != "reference"]
    found = {label: FOUND_COLOURS[i % len(FOUND_COLOURS)] for i, label in enumerate(others)}
    return {"reference": ORANGE} | found


def _draw_layer(axes: Axes, row: int, layer: Layer, colour: str, widest: int) -> None:
    largest = max(layer.max_width, layer.max_expansion)
    axes.text(-0.62 * widest, row, layer.name, va="center", fontsize=SMALL)
    axes.barh(row, largest, 0.72, facecolor="none", edgecolor=INK, alpha=0.4, lw=0.8)
    if layer.removed:
        axes.text(
            largest + 0.03 * widest, row, "removed", va="center", fontsize=SMALL, style="italic"
        )
        return
    if layer.expansion:
        axes.barh(row, layer.expansion, 0.72, color=colour, alpha=0.35, lw=0)
    axes.barh(row, layer.width, 0.34, color=colour, lw=0)
    axes.text(largest + 0.03 * widest, row, _label(layer), va="center", fontsize=SMALL)


def _label(layer: Layer) -> str:
    parts = [f"{layer.kernel_size}x{layer.kernel_size}"] if layer.kernel_size else []
    parts.append(f"{layer.expansion} to {layer.width}" if layer.expansion else f"{layer.width}")
    parts += ["SE"] if layer.se else []
    parts += [layer.activation] if layer.activation else []
    return " · ".join(parts)


def _stage_lines(axes: Axes, layers: Sequence[Layer]) -> None:
    """A thin line wherever the feature maps get smaller."""
    for row, (before, after) in enumerate(pairwise(layers)):
        if before.size_px != after.size_px:
            axes.axhline(row + 0.5, color=INK, alpha=0.3, lw=0.8, ls=":")


def _described(drawing: Drawing) -> str:
    layers = "; ".join(
        f"{x.name} removed" if x.removed else f"{x.name} {_label(x)}" for x in drawing.layers
    )
    return f"{drawing.label}, depth {drawing.depth:.1f}: {layers}."
