"""Ordered dropout (NetAdaptV2): which sub-network each image of a training batch sees.

One forward and backward pass trains as many sub-networks as the batch has images; the
super-network zeroes the last channels image by image (`netadapt.search.supernet`).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from netadapt.search.errors import InvalidSettingError
from netadapt.search.space import REMOVED, Arch, BlockArch, Dimension, Space

KernelPer = Literal["image", "step"]


class OrderedDropout:
    """Draws the archs of a batch: every width and kernel size uniformly (assumption).

    Parameters
    ----------
    kernel_per: "image" gives each image kernel sizes of its own, "step" the whole batch the same
        (assumption: the paper, which is not at hand, may do either). With "image" the images of
        equal kernel size stand next to each other, at places drawn for each block, so that
        grouping them costs no sorting; an image's sizes are uniform and independent all the same.
    ramp: (from, to), shares of the training. Before the first all images see the full network;
        then each choice of each image is drawn with a probability that grows to 1 at the second,
        and is the full network's otherwise (assumption, measured: a small network in training
        from scratch does not get off the ground when all images see random archs, because the
        batch norms' statistics are those of a mixture in which the archs' differences drown the
        images'). (0, 0) draws everything from the first step on.

    Raises `InvalidSettingError`.
    """

    def __init__(
        self,
        space: Space,
        *,
        kernel_per: KernelPer = "image",
        ramp: tuple[float, float] = (0.2, 0.6),
    ) -> None:
        if kernel_per not in ("image", "step"):
            raise InvalidSettingError(
                f"kernel_per is image or step, got {kernel_per!r}; image is the default"
            )
        if not 0 <= ramp[0] <= ramp[1] <= 1:
            raise InvalidSettingError(
                f"a ramp's two shares ascend within [0, 1], got {ramp}; (0.2, 0.6) is usual"
            )
        self.space = space
        self.kernel_per = kernel_per
        self.ramp = ramp
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
        begin, end = self.ramp
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
        if self.kernel_per == "step":
            return np.full(count, rng.choice(values) if rng.random() < drawn else values[-1])
        # Places on a ring, so that images of equal size stand together: the first share of it is
        # drawn, in equal parts, the rest has the largest size.
        places = (np.arange(count) + rng.integers(count)) % count
        parts = (places * len(values) / max(drawn * count, 1)).astype(np.int64)
        return np.append(rng.permutation(values), values[-1])[np.minimum(parts, len(values))]
