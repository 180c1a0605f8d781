"""Where the milliseconds go: by block, by kernel type, by channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from netadapt.report.figures.canvas import (
    SMALL,
    Layout,
    bars,
    canvas,
    legend_above,
    words,
)
from netadapt.report.figures.networks import colours
from netadapt.report.records import LatencyMap, LatencyPart
from netadapt.text import LatencyUnit, three_digits


def blocks(parts: Sequence[LatencyPart], layout: Layout) -> str:
    """Predicted latency of each block, the first one on top, a bar for each network."""
    return _parts("blocks", "Predicted latency block by block", parts, layout)


def kernel_types(parts: Sequence[LatencyPart], layout: Layout) -> str:
    """Predicted latency by kernel type, most on top, a bar for each network."""
    ordered = sorted(parts, key=lambda part: -max(part.ms.values(), default=0.0))
    return _parts("kernels", "Predicted latency by kernel type", ordered, layout)


def latency_map(chart: LatencyMap, layout: Layout) -> str:
    """A cell for each pair of channels, its latency written in it, measured ones outlined."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    columns = _thinned(len(chart.in_channels), 10 if layout.columns > 1 else 5)
    rows = _thinned(len(chart.out_channels), 10)
    ms = np.array([[chart.ms[row][column] for column in columns] for row in rows])
    unit = LatencyUnit.of(ms.ravel().tolist())
    shades = (ms - ms.min()) / (float(np.ptp(ms)) or 1.0)
    shading = colormaps["cividis"]
    with canvas(
        "channels",
        layout,
        title=f"Predicted latency of {words(chart.kernel_type)} by input and output channels",
        description=_map_described(chart, unit),
        height_in=0.36 * len(rows) + 1.0,
    ) as made:
        axes = made.axes
        for y, row in enumerate(rows):
            for x, column in enumerate(columns):
                red, green, blue, _ = shading(float(shades[y, x]))
                axes.add_patch(
                    Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=(red, green, blue), lw=0)
                )
                # Whichever of both stands out more from the cell
                light = _luminance(red, green, blue) < 0.18
                measured = chart.measured[row][column]
                axes.text(
                    x,
                    y,
                    three_digits(float(ms[y, x]) * unit.per_ms) + ("*" if measured else ""),
                    ha="center",
                    va="center",
                    color="white" if light else "black",
                    fontsize=SMALL,
                    fontweight="bold" if measured else "normal",
                )
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(-0.5, len(rows) - 0.5)
        axes.set_xticks(range(len(columns)), [f"{chart.in_channels[i]}" for i in columns])
        axes.set_yticks(range(len(rows)), [f"{chart.out_channels[i]}" for i in rows])
        axes.grid(visible=False)
        axes.tick_params(length=0)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_xlabel("input channels")
        axes.set_ylabel("output channels")
        axes.set_title(f"{unit.name}, {chart.size}")
    return made.markup


def bar_chart(
    name: str,
    title: str,
    known: str,
    series: Sequence[tuple[str, str, Mapping[str, float]]],
    layout: Layout,
    shown: Callable[[str], str] = words,
) -> str:
    """Horizontal bars of milliseconds, the first name on top, for each name one of each series.

    Parameters
    ----------
    known: how, e.g. "measured".
    series: label, colour, milliseconds by name; a name that one lacks has none of them.
    shown: what an axis calls a name.
    """
    names = list(dict.fromkeys(each for _, _, ms in series for each in ms))
    unit = LatencyUnit.of(value for _, _, ms in series for value in ms.values())

    def said(each: str) -> str:
        return ", ".join(f"{label} {unit.text(ms.get(each, 0.0))}" for label, _, ms in series)

    with canvas(
        name,
        layout,
        title=title,
        description="; ".join(f"{shown(each)}: {said(each)}" for each in names) + ".",
        height_in=(0.22 * len(series) + 0.1) * len(names) + 1.0,
    ) as made:
        drawn = [(label, c, [ms.get(each, 0.0) for each in names]) for label, c, ms in series]
        bars(made.axes, [shown(each) for each in names], drawn, unit)
        made.axes.set_xlabel(f"{known}, {unit.name}")
        legend_above(made)
    return made.markup


def _parts(name: str, title: str, parts: Sequence[LatencyPart], layout: Layout) -> str:
    labels = list(dict.fromkeys(label for part in parts for label in part.ms))
    shades = colours(labels)
    series = [
        (label, shades[label], {part.name: part.ms.get(label, 0.0) for part in parts})
        for label in labels
    ]
    return bar_chart(name, title, "predicted", series, layout)


def _thinned(count: int, most: int) -> list[int]:
    """At most `most` of the indices below `count`, evenly, both ends among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})


def _luminance(red: float, green: float, blue: float) -> float:
    """Relative luminance of an sRGB colour, WCAG 2.1."""

    def linear(channel: float) -> float:
        return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4

    return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)


def _map_described(chart: LatencyMap, unit: LatencyUnit) -> str:
    ends = (
        f"from {unit.text(chart.ms[0][0])} at {chart.in_channels[0]} input and "
        f"{chart.out_channels[0]} output channels to {unit.text(chart.ms[-1][-1])} at "
        f"{chart.in_channels[-1]} and {chart.out_channels[-1]}"
    )
    measured = sum(map(sum, chart.measured))
    return f"{words(chart.kernel_type)}, {chart.size}: {ends}; {measured} of them were measured."
