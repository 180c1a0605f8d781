"""Ordered dropout (NetAdaptV2): which sub-network each image of a training batch sees.

One forward and backward pass trains as many sub-networks as the batch has images; the
super-network zeroes the last channels image by image (`netadapt.search.supernet`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from netadapt.search.sampling_law import Floats, SamplingLaw
from netadapt.search.space import Arch, Dimension, Space
from netadapt.search.training.settings import OrderedDropoutSettings


class OrderedDropout:
    """Draws the archs of a batch: every dimension of the space uniformly (assumption).

    Other laws of widths and depths are `netadapt.search.sampling_law`'s; it says what it raises.

    A batch has one resolution, since it is resized as a whole (Once-for-all's way). With kernel
    sizes drawn for each image, the images of equal size stand next to each other, at places drawn
    for each block, so that grouping them costs no sorting; an image's sizes are uniform and
    independent all the same. So do those of equal operation.
    """

    def __init__(self, space: Space, settings: OrderedDropoutSettings | None = None) -> None:
        self.space = space
        self.settings = OrderedDropoutSettings() if settings is None else settings
        uniform = self.settings.law == "uniform" and self.settings.removal is None
        none = uniform or not space.dimensions
        self._law = None if none else SamplingLaw(space, self.settings)

    def __call__(
        self, count: int, rng: np.random.Generator, progress: float = 1.0
    ) -> Arch | Sequence[Arch]:
        """`count` archs, one an image, at a training's `progress` from 0 to 1.

        The full network alone while no image sees another.
        """
        drawn = self._drawn_share(progress)
        full = self.space.full()
        if drawn == 0:
            return full

        if not self.space.dimensions:
            return full
        tilts = None if self._law is None else self._law.tilts(count, rng)
        columns = [self._draw(d, count, rng, drawn, tilts) for d in self.space.dimensions]
        return self.space.points(np.stack(columns, axis=1))

    def _drawn_share(self, progress: float) -> float:
        begin, end = self.settings.ramp
        if progress >= end:
            return 1.0
        return max(0.0, (progress - begin) / (end - begin))

    def _draw(
        self,
        dimension: Dimension,
        count: int,
        rng: np.random.Generator,
        drawn: float,
        tilts: Floats | None,
    ) -> NDArray[np.int64]:
        values = np.array(dimension.values)
        if dimension.kind in ("width", "depth"):
            if self._law is None or tilts is None:
                places = rng.integers(len(values), size=count)
            else:
                places = self._law.places(dimension, tilts, rng.random(count))
            chosen = values[places]
            return np.where(rng.random(count) < drawn, chosen, values[-1])
        per_step = dimension.kind == "kernel_size" and self.settings.kernel_per == "step"
        if dimension.kind == "resolution" or per_step:
            return np.full(count, rng.choice(values) if rng.random() < drawn else values[-1])
        # Places on a ring, so that images of equal choice stand together: the first share of it is
        # drawn, in equal parts, the rest has the full network's.
        places = (np.arange(count) + rng.integers(count)) % count
        parts = (places * len(values) / max(drawn * count, 1)).astype(np.int64)
        return np.append(rng.permutation(values), values[-1])[np.minimum(parts, len(values))]
