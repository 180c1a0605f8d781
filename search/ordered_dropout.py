"""Ordered dropout (NetAdaptV2): which sub-network each image of a training batch sees.

One forward and backward pass trains as many sub-networks as the batch has images; the
super-network zeroes the last channels image by image (`search.supernet`).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from search.errors import InvalidSettingError
from search.space import REMOVED, Arch, BlockArch, Dimension, Space

KernelPer = Literal["image", "step"]


class OrderedDropout:
    """Draws the archs of a batch: every width and kernel size uniformly (assumption).

    Parameters
    ----------
    kernel_per: "image" gives each image kernel sizes of its own, "step" the whole batch the same
        (assumption: the paper, which is not at hand, may do either). With "image" the images of
        equal kernel size stand next to each other, at places drawn for each block, so that
        grouping them costs no sorting; an image's sizes are uniform and independent all the same.

    Raises `InvalidSettingError`.
    """

    def __init__(self, space: Space, *, kernel_per: KernelPer = "image") -> None:
        if kernel_per not in ("image", "step"):
            raise InvalidSettingError(
                f"kernel_per is image or step, got {kernel_per!r}; image is the default"
            )
        self.space = space
        self.kernel_per = kernel_per
        self._dimensions = {dimension.name: dimension for dimension in space.dimensions}

    def __call__(self, count: int, rng: np.random.Generator) -> list[Arch]:
        """`count` archs, one an image."""
        reference = self.space.reference()

        def column(name: str, fixed: int | None) -> list[int | None]:
            dimension = self._dimensions.get(name)
            if dimension is None:
                return [fixed] * count
            return list(self._draw(dimension, count, rng).tolist())

        stems = column("stem", reference.stem)
        blocks = []
        for index, block in enumerate(reference.blocks):
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
        ends = (column("head", reference.head), column("hidden", reference.hidden))
        return [
            Arch(stem, chosen, head, hidden)  # type: ignore[arg-type]
            for stem, chosen, head, hidden in zip(
                stems, zip(*blocks, strict=True), *ends, strict=True
            )
        ]

    def _draw(
        self, dimension: Dimension, count: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        values = np.array(dimension.values)
        if not dimension.name.endswith(".kernel_size"):
            return values[rng.integers(len(values), size=count)]
        if self.kernel_per == "step":
            return np.full(count, rng.choice(values))
        places = (np.arange(count) + rng.integers(count)) % count
        return rng.permutation(values)[places * len(values) // count]
