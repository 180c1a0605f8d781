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

from collections import Counter, defaultdict
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import nnls
from sklearn.base import BaseEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from netadapt.predictor.features import Array, Features, Mask, Variant

MIN_VARIANT_ROWS = 12
"""A variant has a roofline of its own from this many rows on; below, it shares a coarser one, times
how much slower its own rows are."""

FACTOR_PRIOR_ROWS = 0.25
"""Rows that the coarser roofline counts for beside a variant's own (assumption)."""

PRIOR_ROWS, PRIOR_SD = 4, 0.1
"""Before any row is seen, a roofline is taken to be off by 10 %, which counts like so many rows
(assumption)."""

MAX_PROCESS_ROWS = 2000
"""The process learns from this many rows at most: its time grows with their cube, its memory with
their square."""

MIN_LOG_RANGE = 0.05
"""Octaves beyond the measured sizes that still count as inside."""


_FLOOR = np.finfo(float).tiny ** 0.5


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
        residuals = np.log(time_ms / self._roofline_ms(features))
        chosen = _spread(len(features), MAX_PROCESS_ROWS)
        self.level_ = float(residuals[chosen].mean())
        residuals = residuals[chosen] - self.level_
        # A roofline of several weights fits a few rows exactly, which proves nothing.
        weights = sum(
            int(np.count_nonzero(self.roofline_[v])) if count >= MIN_VARIANT_ROWS else 1
            for v, count in Counter(features.variants).items()
        )
        degrees = PRIOR_ROWS + max(len(residuals) - weights, 0)
        variance = (PRIOR_ROWS * PRIOR_SD**2 + float(residuals @ residuals)) / degrees
        self.noise_sd_ = float(np.sqrt(self.noise * variance))
        self.doubt_ = float(stats.t.ppf(0.95, degrees - 1) / stats.norm.ppf(0.95))
        process = GaussianProcessRegressor(
            ConstantKernel(variance)
            * Matern(self.length_scale * np.sqrt(columns.shape[1] / 8), nu=2.5),
            alpha=self.noise * variance,
            optimizer=None,
        )
        self.residual_: Pipeline = make_pipeline(StandardScaler(), process)
        self.residual_.fit(columns[chosen], residuals)
        return self

    def predict(self, features: Features) -> Array:
        """(kernels,) ms."""
        residual: Array = self.residual_.predict(self._columns(features))
        return np.exp(self.level_ + residual) * self._roofline_ms(features)

    def predict_sd(self, features: Features) -> Array:
        """(kernels,), the standard deviation of a new row's natural logarithm around `predict`.

        The process's own doubt and the noise of a row together, more where few rows set the scale
        of both (Student's t at its 95th percentile over the normal's; assumption).
        """
        _, sd = self.residual_.predict(self._columns(features), return_std=True)
        return np.asarray(self.doubt_ * np.hypot(sd, self.noise_sd_))

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
        return np.maximum((features.work * weights).sum(axis=1), _FLOOR)

    def _weights_of(self, variant: Variant) -> Array:
        for length in range(len(variant), -1, -1):
            weights = self.roofline_.get(variant[:length])
            if weights is not None:
                return weights
        raise AssertionError("the roofline of () is always there")


def _fit_rooflines(features: Features, time_ms: Array) -> dict[Variant, Array]:
    """Weights by variant and by every start of one; () has all rows.

    Non-negative least squares of the relative errors where a start has rows enough, else the
    weights of the next shorter start times how much slower these rows are.
    """
    members: dict[Variant, list[int]] = defaultdict(list)
    for row, variant in enumerate(features.variants):
        for length in range(len(variant) + 1):
            members[variant[:length]].append(row)
    rooflines: dict[Variant, Array] = {}
    for start in sorted(members, key=len):
        rows = np.array(members[start])
        work, times = features.work[rows], time_ms[rows]
        if start and len(rows) < MIN_VARIANT_ROWS:
            coarser = rooflines[start[:-1]]
            predicted = np.maximum(work @ coarser, _FLOOR)
            slower = np.median(np.log(times / predicted))
            rooflines[start] = coarser * np.exp(
                slower * len(rows) / (len(rows) + FACTOR_PRIOR_ROWS)
            )
            continue
        # Columns of one magnitude: a weight is a cost of nanoseconds to a work of millions.
        scale = np.maximum(work.max(axis=0), 1.0)
        solution, _ = nnls(work / scale / times[:, None], np.ones(len(times)))
        rooflines[start] = solution / scale
    return rooflines


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of `count` row numbers, evenly spread over an order that means nothing."""
    order = np.random.default_rng(0).permutation(count)
    return np.sort(order[:most])
