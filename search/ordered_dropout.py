"""Ordered dropout (NetAdaptV2): which sub-network each image of a training batch sees.

One forward and backward pass trains as many sub-networks as the batch has images; the
super-network zeroes the last channels image by image (`netadapt.search.supernet`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from netadapt.search.space import REMOVED, Arch, BlockArch, Dimension, Space
from netadapt.search.training.settings import OrderedDropoutSettings


class OrderedDropout:
    """Draws the archs of a batch: every width and kernel size uniformly (assumption).

    With kernel sizes drawn for each image, the images of equal size stand next to each other, at
    places drawn for each block, so that grouping them costs no sorting; an image's sizes are
    uniform and independent all the same.
    """

    def __init__(self, space: Space, settings: OrderedDropoutSettings | None = None) -> None:
        self.space = space
        self.settings = OrderedDropoutSettings() if settings is None else settings
        self._dimensions = {dimension.name: dimension for dimension in space.dimensions}

    def __call__(
        self, count: int, rng: np.random.Generator, progress: float = 1.0
    ) -> Arch | list[Arch]:
        """`count` archs, one an image, at a training's `progress` from 0 to 1.

        The full network alone while no image sees another.
        """
        drawn = self._drawn_share(progress)
        full = self.space.full()
        if drawn == 0:
            return full

        def column(name: str, largest: int | None) -> list[int | None]:
            dimension = self._dimensions.get(name)
            if dimension is None:
                return [largest] * count
            return list(self._draw(dimension, count, rng, drawn).tolist())

        stems = column("stem", full.stem)
        blocks = []
        for index, block in enumerate(full.blocks):
            columns = (
                column(f"blocks.{index}.{name}", getattr(block, name))
                for name in ("width", "expansion", "kernel_size")
            )
            # The first block has no expand layer: there 0 does not mean removed.
            blocks.append(
                [
                    BlockArch(width, expansion or 0, size)
                    if width and (expansion or not block.expansion)
                    else REMOVED
                    for width, expansion, size in zip(*columns, strict=True)
                ]
            )
        ends = (column("head", full.head), column("hidden", full.hidden))
        return [
            Arch(stem, chosen, head, hidden)  # type: ignore[arg-type]
            for stem, chosen, head, hidden in zip(
                stems, zip(*blocks, strict=True), *ends, strict=True
            )
        ]

    def _drawn_share(self, progress: float) -> float:
        begin, end = self.settings.ramp
        if progress >= end:
            return 1.0
        return max(0.0, (progress - begin) / (end - begin))

    def _draw(
        self, dimension: Dimension, count: int, rng: np.random.Generator, drawn: float
    ) -> NDArray[np.int64]:
        values = np.array(dimension.values)
        if not dimension.name.endswith(".kernel_size"):
            chosen = values[rng.integers(len(values), size=count)]
            return np.where(rng.random(count) < drawn, chosen, values[-1])
        if self.settings.kernel_per == "step":
            return np.full(count, rng.choice(values) if rng.random() < drawn else values[-1])
        # Places on a ring, so that images of equal size stand together: the first share of it is
        # drawn, in equal parts, the rest has the largest size.
        places = (np.arange(count) + rng.integers(count)) % count
        parts = (places * len(values) / max(drawn * count, 1)).astype(np.int64)
        return np.append(rng.permutation(values), values[-1])[np.minimum(parts, len(values))]
