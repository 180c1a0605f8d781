"""What networks make of some images, where outputs are maps: a row an image, errors at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from netadapt.report.figures.canvas import INK, NARROW, SMALL, Layout, canvas
from netadapt.report.records import MapExamples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

GAP = 0.05
"""Between two pictures, as a share of one."""

MOST_PIXELS = 112
"""Of a side as drawn; larger maps are thinned, the page holds every picture twice."""

NEAR, FAR = "cividis", "magma"
"""Colours of values and of errors."""


def maps(examples: MapExamples, layout: Layout) -> str:
    """Image, truth, reference, found and the found one's error, side by side; scales below."""
    error = np.abs(examples.found - examples.truth)
    columns: list[tuple[str, Any, str | None]] = [
        ("image", examples.pictures, None),
        ("truth", examples.truth, NEAR),
        ("reference", examples.reference, NEAR),
        ("found", examples.found, NEAR),
        ("error", error, FAR),
    ]
    known = examples.truth[np.isfinite(examples.truth)]
    wrong = error[np.isfinite(error)]
    ends = {NEAR: _ends(known, 0.0), FAR: (0.0, _ends(wrong, 0.02)[1])}
    count, height, width = examples.truth.shape
    ratio = height / width
    with canvas(
        f"maps-{examples.name}",
        layout,
        title=f"What the networks make of {count} test images",
        description=_described(examples, error),
        height_in=layout.width_in / len(columns) * ratio * (1 + GAP) * count
        + (1.0 if layout is NARROW else 1.2),
    ) as made:
        axes, drawn = made.axes, {}
        for column, (name, images, colours) in enumerate(columns):
            left = column * (1 + GAP)
            axes.text(left, -0.06, name, fontsize=SMALL, va="bottom")
            for row, image in enumerate(images):
                top = row * (ratio + GAP)
                place = (left, left + 1, top + ratio, top)
                drawn[colours] = _drawn(axes, image, place, colours, ends)
        axes.set_xlim(0, len(columns) * (1 + GAP) - GAP)
        axes.set_ylim(count * (ratio + GAP) - GAP, -0.25)
        axes.set_aspect("equal")
        axes.axis("off")
        # The later one stands above the earlier
        for colours, said in ((FAR, "error"), (NEAR, examples.of)):
            bar = made.figure.colorbar(
                drawn[colours], ax=axes, location="bottom", fraction=0.05, aspect=40, pad=0.02
            )
            bar.set_label(f"{said}, {examples.unit}")
            bar.outline.set_visible(False)
    return made.markup


def _drawn(
    axes: Axes,
    image: Any,
    place: tuple[float, float, float, float],
    colours: str | None,
    ends: dict[str, tuple[float, float]],
) -> AxesImage:
    step = -(-max(image.shape[:2]) // MOST_PIXELS)
    image = image[::step, ::step]
    axes.plot(*_frame(place), color=INK, lw=0.5, alpha=0.4)
    if colours is None:
        image = image if image.shape[-1] == 3 else np.repeat(image[..., :1], 3, -1)
        return axes.imshow(image, extent=place, interpolation="none")
    low, high = ends[colours]
    return axes.imshow(
        np.ma.masked_invalid(image),
        extent=place,
        cmap=colours,
        vmin=low,
        vmax=high,
        interpolation="none",
    )


def _frame(place: tuple[float, float, float, float]) -> tuple[list[float], list[float]]:
    left, right, bottom, top = place
    return [left, right, right, left, left], [top, top, bottom, bottom, top]


def _ends(values: Any, share: float) -> tuple[float, float]:
    """Lowest and highest, but for a share of outliers at either end; never the same."""
    if not len(values):
        return 0.0, 1.0
    low, high = (float(v) for v in np.quantile(values, (share, 1 - share)))
    return low, max(high, low + 1e-6)


def _described(examples: MapExamples, error: Any) -> str:
    known = np.isfinite(error)
    means = [float(e[k].mean()) if k.any() else 0.0 for e, k in zip(error, known, strict=True)]
    said = ", ".join(f"{mean:.3g}" for mean in means)
    return f"Mean error of the found network, image by image: {said} {examples.unit}."
