"""How far predicted depths are off: the figures of the field, Eigen et al. (2014)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from netadapt.search.errors import MetricError

if TYPE_CHECKING:
    from torch import Tensor

DELTA = 1.25
"""Base of the thresholds: delta-1 within a factor of it, delta-2 of its square, and so on."""

FIGURES = ("rmse", "delta1", "delta2", "delta3", "abs_rel", "mae")


class DepthErrors:
    """Depth's figures of each picture over the pixels whose depth is known, the pictures' mean.

    As FastDepth's authors judge, one picture at a time. A picture without one known depth does not
    count. `(B, 1, H, W)` in metres; a target of 0, or one that is not finite, is unknown.
    """

    def __init__(self) -> None:
        self._sums = dict.fromkeys(FIGURES, 0.0)
        self._pictures = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Count a batch in."""
        for output, target in zip(outputs.double(), targets.double(), strict=True):
            known = target.isfinite() & (target > 0)
            if not known.any():
                continue
            predicted, true = output[known], target[known]
            off = (predicted - true).abs()
            # What is not in front of the camera is off by any factor.
            ratio = (predicted / true).maximum(true / predicted.clamp(min=1e-9))
            figures = {
                "rmse": math.sqrt(float((off**2).mean())),
                **{f"delta{n}": float((ratio < DELTA**n).double().mean()) for n in (1, 2, 3)},
                "abs_rel": float((off / true).mean()),
                "mae": float(off.mean()),
            }
            for name, value in figures.items():
                self._sums[name] += value
            self._pictures += 1

    def compute(self) -> float:
        """The root mean square error, in metres. Raises `MetricError` for nothing."""
        return self.figures()["rmse"]

    def others(self) -> dict[str, float]:
        """What stands beside the error in a report. Raises `MetricError` for nothing."""
        return {name: value for name, value in self.figures().items() if name != "rmse"}

    def figures(self) -> dict[str, float]:
        """All of `FIGURES`: errors in metres, shares from 0 to 1. Raises `MetricError`."""
        if not self._pictures:
            raise MetricError(
                "an error of depth is of 1 picture or more with a known depth, got none; count "
                "batches in first"
            )
        return {name: total / self._pictures for name, total in self._sums.items()}
