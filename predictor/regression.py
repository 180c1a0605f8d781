"""From the features of one type of kernel to its time: a roofline, and a Gaussian process on top.

The roofline, a weighted sum of work and traffic with weights of 0 or more, gets the magnitudes
right, also beyond the measured sizes. The process learns in the logarithm what it leaves, tile
effects and caches above all, and says how sure it is. Its two settings are fixed (chosen by
grouped cross-validation on measured tables), not optimised anew: a fit is one linear solve, the
same everywhere. On 240 kernels of MobileNetV3's space a kernel method of fixed settings put as many
held-out kernels within 10 % as gradient boosting and extremely randomised trees on the same
roofline, at a fiftieth of the time; all did worse on a log-linear trend in its place.
"""

from __future__ import annotations

from collections import Counter
from typing import Self

import numpy as np
from scipy.optimize import nnls
from sklearn.base import BaseEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from predictor.features import Array, Features, Mask, Variant

MIN_VARIANT_ROWS = 12
"""A variant has a roofline of its own from this many rows on; below, it shares a coarser one."""

MIN_LOG_RANGE = 0.05
"""Octaves beyond the measured sizes that still count as inside."""


class KernelTimeRegressor(BaseEstimator):
    """Time of kernels of one type from their features.

    Parameters
    ----------
    length_scale: of the Matern 5/2 kernel, in standard deviations per eight features.
    noise: variance of a row's noise, as a share of the residuals' variance.
    """

    def __init__(self, length_scale: float = 4.0, noise: float = 0.02) -> None:
        self.length_scale = length_scale
        self.noise = noise

    def fit(self, features: Features, time_ms: Array) -> Self:
        """Learn `time_ms`, (kernels,), all above 0."""
        self.roofline_ = _fit_rooflines(features, time_ms)
        self.variants_ = [set(column) for column in zip(*features.variants, strict=True)]
        self.shape_range_ = features.shape.min(axis=0), features.shape.max(axis=0)
        columns = self._columns(features)
        # normalize_y sets the prior's variance to the residuals'.
        process = GaussianProcessRegressor(
            Matern(self.length_scale * np.sqrt(columns.shape[1] / 8), nu=2.5),
            alpha=self.noise,
            optimizer=None,
            normalize_y=True,
        )
        self.residual_: Pipeline = make_pipeline(StandardScaler(), process)
        self.residual_.fit(columns, np.log(time_ms / self._roofline_ms(features)))
        return self

    def predict(self, features: Features) -> Array:
        """(kernels,) ms."""
        residual: Array = self.residual_.predict(self._columns(features))
        return np.exp(residual) * self._roofline_ms(features)

    def predict_sd(self, features: Features) -> Array:
        """(kernels,), the model's own standard deviation of the time's natural logarithm."""
        _, sd = self.residual_.predict(self._columns(features), return_std=True)
        # A few rows that fit exactly would claim certainty.
        return np.maximum(sd, 1e-3)

    def extrapolates(self, features: Features) -> Mask:
        """(kernels,), whether a size or variant lies outside everything measured."""
        low, high = self.shape_range_
        outside: Mask = (
            (features.shape < low - MIN_LOG_RANGE) | (features.shape > high + MIN_LOG_RANGE)
        ).any(axis=1)
        unseen = [
            any(v not in seen for v, seen in zip(variant, self.variants_, strict=True))
            for variant in features.variants
        ]
        return outside | np.array(unseen, dtype=bool)

    def _columns(self, features: Features) -> Array:
        flags = [
            [
                float(variant[i] == value)
                for i, seen in enumerate(self.variants_)
                for value in sorted(seen)
            ]
            for variant in features.variants
        ]
        return np.hstack([features.shape, np.array(flags)])

    def _roofline_ms(self, features: Features) -> Array:
        weights = np.stack([self._weights_of(variant) for variant in features.variants])
        floor = np.finfo(float).tiny ** 0.5
        return np.maximum((features.work * weights).sum(axis=1), floor)

    def _weights_of(self, variant: Variant) -> Array:
        for length in range(len(variant), -1, -1):
            weights = self.roofline_.get(variant[:length])
            if weights is not None:
                return weights
        raise AssertionError("the roofline of () is always there")


def _fit_rooflines(features: Features, time_ms: Array) -> dict[Variant, Array]:
    """Weights by variant and by every start of one that has enough rows; () has all rows.

    Non-negative least squares of the relative errors.
    """
    starts = [tuple(v[:n] for n in range(len(v) + 1)) for v in features.variants]
    counts = Counter(start for row in starts for start in row)
    rooflines = {}
    for start, count in counts.items():
        if start and count < MIN_VARIANT_ROWS:
            continue
        mask = np.array([start in row for row in starts])
        work, times = features.work[mask], time_ms[mask]
        # Columns of one magnitude: a weight is a cost of nanoseconds to a work of millions.
        scale = np.maximum(work.max(axis=0), 1.0)
        solution, _ = nnls(work / scale / times[:, None], np.ones(len(times)))
        rooflines[start] = solution / scale
    return rooflines
