"""Ordered dropout (NetAdaptV2): which sub-network each image of a training batch sees.

One forward and backward pass trains as many sub-networks as the batch has images; the
super-network zeroes the last channels image by image (`netadapt.search.supernet`).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from netadapt.search.errors import InvalidSettingError
from netadapt.search.space import Arch, Dimension, Space

KernelPer = Literal["image", "step"]


class OrderedDropout:
    """Draws the archs of a batch: every dimension of the space uniformly (assumption).

    A batch has one resolution, since it is resized as a whole (Once-for-all's way).

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

        if not self.space.dimensions:
            return full
        columns = [self._draw(d, count, rng, drawn).tolist() for d in self.space.dimensions]
        return [self.space.point(values) for values in zip(*columns, strict=True)]

    def _drawn_share(self, progress: float) -> float:
        begin, end = self.ramp
        if progress >= end:
            return 1.0
        return max(0.0, (progress - begin) / (end - begin))

    def _draw(
        self, dimension: Dimension, count: int, rng: np.random.Generator, drawn: float
    ) -> NDArray[np.int64]:
        values = np.array(dimension.values)
        if dimension.kind in ("width", "depth"):
            chosen = values[rng.integers(len(values), size=count)]
            return np.where(rng.random(count) < drawn, chosen, values[-1])
        if dimension.kind == "resolution" or self.kernel_per == "step":
            return np.full(count, rng.choice(values) if rng.random() < drawn else values[-1])
        # Places on a ring, so that images of equal size stand together: the first share of it is
        # drawn, in equal parts, the rest has the largest size.
        places = (np.arange(count) + rng.integers(count)) % count
        parts = (places * len(values) / max(drawn * count, 1)).astype(np.int64)
        return np.append(rng.permutation(values), values[-1])[np.minimum(parts, len(values))]
