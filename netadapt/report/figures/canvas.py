"""What all pictures share: layouts, colours, axes, and SVG that takes its colours from the page.

Each picture is drawn twice, `WIDE` for screens and paper and `NARROW` for phones, so that its text
stays readable; the page shows one of them. Colours are stand-ins that become the page's CSS
variables, one set for light and one for dark. No picture relies on colour alone.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from netadapt.text import LatencyUnit, three_digits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Layout:
    """A width to draw for; `columns`: how many panels stand side by side there."""

    name: str
    width_in: float
    columns: int


WIDE = Layout("wide", 9.2, 3)
NARROW = Layout("narrow", 4.5, 1)
LAYOUTS = (WIDE, NARROW)

INK = "#010203"
"""Stands for the page's text colour until the markup is finished."""

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = (
    "#0072b2",
    "#a35800",
    "#00734f",
    "#c13b00",
    "#a3467f",
    "#5f6b78",
)
VARIABLES = {
    INK: "currentColor",
    BLUE: "var(--blue)",
    ORANGE: "var(--orange)",
    GREEN: "var(--green)",
    RED: "var(--red)",
    PURPLE: "var(--purple)",
    GREY: "var(--grey)",
}
"""Stand-ins, which are the light set, and what the page's style sheet calls them."""

KIND_STYLES = {"reference": (ORANGE, "D"), "found": (BLUE, "o"), "scaled": (GREEN, "^")}
FOUND_COLOURS = (BLUE, PURPLE, GREY, RED, GREEN)
"""Of the found networks where several stand beside each other, largest budget first."""

SMALL, NORMAL, LARGE = 11.2, 11.8, 12.6
"""Font sizes, points; at the least width that a layout is shown at a point is a pixel."""

_STYLE = {
    "svg.fonttype": "none",  # text stays text: sharp, small, in the page's font
    "font.size": NORMAL,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": NORMAL,
    "axes.titlesize": LARGE,
    "axes.titlelocation": "left",
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
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.frameon": False,
    "legend.fontsize": SMALL,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@dataclass
class Canvas:
    """A figure being drawn; `markup` is there once the `with` block that made it has ended."""

    figure: Figure
    panels: list[Axes]
    markup: str = field(default="")

    @property
    def axes(self) -> Axes:
        """The only panel, or the first."""
        return self.panels[0]


@contextmanager
def canvas(
    name: str,
    layout: Layout,
    *,
    title: str,
    description: str,
    height_in: float,
    panels: int = 1,
    columns: int | None = None,
    widths: Sequence[float] | None = None,
) -> Iterator[Canvas]:
    """Panels side by side as far as the layout goes, `height_in` each.

    Parameters
    ----------
    name: unique on the page.
    title, description: what the picture says, for those who do not see it.
    columns: panels side by side where the layout has room for more.
    widths: of the panels, in relation to each other, where they stand in one row.
    """
    columns = min(panels, layout.columns, columns or panels)
    rows = -(-panels // columns)
    # Ids that are stable and clash with no other picture's on the page
    style: Any = _STYLE | {"svg.hashsalt": f"{name}-{layout.name}"}
    with plt.rc_context(style):
        figure, grid = plt.subplots(
            rows,
            columns,
            figsize=(layout.width_in, height_in * rows),
            layout="constrained",
            squeeze=False,
            width_ratios=widths if widths and len(widths) == columns else None,
        )
        try:
            flat = [axes for row in grid for axes in row]
            for spare in flat[panels:]:
                spare.axis("off")
            made = Canvas(figure, flat[:panels])
            yield made
            made.markup = _markup(figure, f"{name}-{layout.name}", layout, title, description)
        finally:
            plt.close(figure)


def number_axis(axes: Axes, values: Sequence[float], *, vertical: bool = False) -> None:
    """An axis with plain numbers, logarithmic where the values span much."""
    axis = axes.yaxis if vertical else axes.xaxis
    if values and max(values) > 6 * min(values) > 0:
        (axes.set_yscale if vertical else axes.set_xscale)("log")
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        wide = max(values) > 60 * min(values)
        minor = FuncFormatter(lambda v, _: f"{v:g}" if f"{v:.0e}"[0] in "25" else "")
        axis.set_minor_formatter(NullFormatter() if wide else minor)
        axis.set_tick_params(which="minor", labelsize=SMALL)
    else:
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))


def around(low: float, high: float, share: float = 0.06) -> tuple[float, float]:
    """The ends of an axis with some room beyond the values; never a width of 0."""
    room = share * ((high - low) or abs(high) or 1.0)
    return low - room, high + room


def words(name: str) -> str:
    """A name of the code in words: `pointwise_conv` is "pointwise conv"."""
    return name.replace("_", " ")


def bars(
    axes: Axes,
    names: Sequence[str],
    series: Sequence[tuple[str, str, Sequence[float]]],
    unit: LatencyUnit,
) -> None:
    """Horizontal bars, the first name on top, for each name one bar of each series.

    Parameters
    ----------
    series: label, colour and milliseconds by name.
    """
    height = 0.84 / len(series)
    top = max((ms for _, _, values in series for ms in values), default=1.0) * unit.per_ms or 1.0
    for index, (label, colour, values) in enumerate(series):
        ys = [row - 0.42 + (index + 0.5) * height for row in range(len(names))]
        xs = [ms * unit.per_ms for ms in values]
        axes.barh(ys, xs, height * 0.86, color=colour, label=label, lw=0)
        for x, y in zip(xs, ys, strict=True):
            axes.text(x + 0.01 * top, y, three_digits(x), va="center", fontsize=SMALL)
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, top * 1.17)


def legend_above(made: Canvas, columns: int | None = None, *, panel: int = 0) -> None:
    """The legend over the picture, where it hides nothing."""
    handles, labels = made.panels[panel].get_legend_handles_labels()
    if not handles:
        return
    wide = made.figure.get_figwidth() > NARROW.width_in
    count = columns or (4 if wide else 2)
    made.figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=min(count, len(labels)),
        columnspacing=1.2,
        handletextpad=0.5,
    )


def _markup(figure: Figure, name: str, layout: Layout, title: str, description: str) -> str:
    """SVG to be put into a page: no XML header, no metadata, sized by the page, described."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # the same in every picture, and nobody's target
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    said = f"title-{name} desc-{name}"
    opening = f'<svg class="{layout.name}" role="img" aria-labelledby="{said}" '
    svg = re.sub(r'^<svg (.*?)width="[^"]*"', rf"{opening}\1", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'^(<svg [^>]*?)height="[^"]*"', r"\1", svg, count=1, flags=re.DOTALL)
    head, end, rest = svg.partition(">")
    words_in = (
        f'<title id="title-{name}">{html.escape(title)}</title>'
        f'<desc id="desc-{name}">{html.escape(description)}</desc>'
    )
    svg = f"{head}{end}{words_in}{rest}"
    for stand_in, variable in VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    return svg
