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
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.optimize import nnls
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from netadapt.predictor.errors import RegressorError
from netadapt.predictor.features import FLAG, MAGNITUDE, PIXELS, TILES, Array

WORK = (
    "pixels",
    *(f"macs_tile{tile}" for tile in TILES),
    *("input_elements", "output_elements", "weights"),
)
"""Amounts of work and traffic that a roofline weighs, beside one call."""

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

Variant = tuple[int, ...]
"""For each selector the column of the value that a kernel has, -1 for a value never seen."""

_FLOOR = np.finfo(float).tiny ** 0.5


class KernelTimeRegressor(RegressorMixin, BaseEstimator):
    """Logarithm of the time of kernels of one type, from the columns of a `KernelEncoder`.

    Parameters
    ----------
    length_scale : float, above 0
        Of the Matern 5/2 kernel, in standard deviations per eight features.
    noise : float, above 0
        Variance of a row's noise, as a share of the residuals' variance.

    Attributes
    ----------
    feature_names_in_ : ndarray of str of shape (columns,)
    n_features_in_ : int
    roofline_ : dict of tuple of int to ndarray of shape (amounts,)
        Weights in ms by variant and by every start of one; () has all rows.
    residual_ : Pipeline
        The process, of the logarithm of what the roofline leaves.
    level_, noise_sd_, doubt_ : float
        The mean of that logarithm, the noise of a row in it, and by how much more than the
        process's own the doubt is where few rows set its scale.
    work_columns_, process_columns_ : list of int
        The columns that the roofline weighs, and those that the process learns from.
    selectors_ : tuple of tuple of int
        For each selector the columns of its values.
    """

    def __init__(self, length_scale: float = 4.0, noise: float = 0.02) -> None:
        self.length_scale = length_scale
        self.noise = noise

    def fit(self, X: pd.DataFrame, y: ArrayLike) -> Self:
        """Learn the natural logarithm of milliseconds.

        Parameters
        ----------
        X : DataFrame of shape (kernels, columns)
            What `KernelEncoder.transform` gives.
        y : array of shape (kernels,)
            Natural logarithms of the kernels' milliseconds.

        Raises
        ------
        RegressorError
            For a frame of other columns.
        """
        self._learn_columns(X)
        numbers, log_ms = X.to_numpy(dtype=float), np.asarray(y, dtype=float)
        variants = self._variants(numbers)
        self.roofline_ = _fit_rooflines(self._work(numbers), variants, np.exp(log_ms))
        self.process_columns_ = [
            i
            for i, name in enumerate(self.feature_names_in_)
            if (name != PIXELS if name.startswith(MAGNITUDE) else numbers[:, i].any())
        ]
        columns = numbers[:, self.process_columns_]
        residuals = log_ms - np.log(self._roofline_ms(numbers))
        chosen = _spread(len(numbers), MAX_PROCESS_ROWS)
        self.level_ = float(residuals[chosen].mean())
        residuals = residuals[chosen] - self.level_
        # A roofline of several weights fits a few rows exactly, which proves nothing.
        weights = sum(
            int(np.count_nonzero(self.roofline_[v])) if count >= MIN_VARIANT_ROWS else 1
            for v, count in Counter(variants).items()
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

    def predict(self, X: pd.DataFrame, return_std: bool = False) -> Any:
        """Predict the natural logarithm of milliseconds.

        Parameters
        ----------
        X : DataFrame of shape (kernels, columns)
            With the columns that were fitted.
        return_std : bool
            Whether with the standard deviation of a new row around it: the process's own doubt and
            the noise of a row together, more where few rows set the scale of both (Student's t at
            its 95th percentile over the normal's; assumption).

        Returns
        -------
        ndarray of shape (kernels,), or two of them

        Raises
        ------
        RegressorError
            For a frame of other columns.
        """
        check_is_fitted(self)
        if not isinstance(X, pd.DataFrame) or list(X.columns) != list(self.feature_names_in_):
            raise RegressorError(
                "KernelTimeRegressor predicts from the columns that it was fitted to, got others; "
                "transform with the same KernelEncoder"
            )
        numbers = X.to_numpy(dtype=float)
        roofline = np.log(self._roofline_ms(numbers))
        columns = numbers[:, self.process_columns_]
        if not return_std:
            return self.level_ + self.residual_.predict(columns) + roofline
        residual, sd = self.residual_.predict(columns, return_std=True)
        return self.level_ + residual + roofline, self.doubt_ * np.hypot(sd, self.noise_sd_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False  # an encoder's frame, whose columns are named
        return tags

    def _learn_columns(self, X: pd.DataFrame) -> None:
        names = list(X.columns) if isinstance(X, pd.DataFrame) else []
        missing = [name for name in (MAGNITUDE + work for work in WORK) if name not in names]
        if missing:
            raise RegressorError(
                "KernelTimeRegressor is fitted to the frame of a KernelEncoder, got "
                f"{type(X).__name__} without {', '.join(missing)}; encode the kernels first"
            )
        self.feature_names_in_ = np.array(names, dtype=object)
        self.n_features_in_ = len(names)
        self.work_columns_ = [names.index(MAGNITUDE + name) for name in WORK]
        selectors: dict[str, list[int]] = defaultdict(list)
        for i, name in enumerate(names):
            if not name.startswith(MAGNITUDE):
                selectors[name.partition(FLAG)[0]].append(i)
        self.selectors_ = tuple(map(tuple, selectors.values()))

    def _work(self, numbers: Array) -> Array:
        """(kernels, amounts), unscaled."""
        amounts = np.exp2(numbers[:, self.work_columns_]) - 1.0
        return np.hstack([np.ones((len(numbers), 1)), amounts])

    def _variants(self, numbers: Array) -> list[Variant]:
        return [
            tuple(next((i for i in columns if row[i]), -1) for columns in self.selectors_)
            for row in numbers
        ]

    def _roofline_ms(self, numbers: Array) -> Array:
        weights = np.stack([self._weights_of(variant) for variant in self._variants(numbers)])
        return np.maximum((self._work(numbers) * weights).sum(axis=1), _FLOOR)

    def _weights_of(self, variant: Variant) -> Array:
        for length in range(len(variant), -1, -1):
            weights = self.roofline_.get(variant[:length])
            if weights is not None:
                return weights
        raise AssertionError("the roofline of () is always there")


def _fit_rooflines(
    work: Array, variants: Sequence[Variant], time_ms: Array
) -> dict[Variant, Array]:
    """Weights by variant and by every start of one; () has all rows.

    Non-negative least squares of the relative errors where a start has rows enough, else the
    weights of the next shorter start times how much slower these rows are.
    """
    members: dict[Variant, list[int]] = defaultdict(list)
    for row, variant in enumerate(variants):
        for length in range(len(variant) + 1):
            members[variant[:length]].append(row)
    rooflines: dict[Variant, Array] = {}
    for start in sorted(members, key=len):
        rows = np.array(members[start])
        its_work, times = work[rows], time_ms[rows]
        if start and len(rows) < MIN_VARIANT_ROWS:
            coarser = rooflines[start[:-1]]
            predicted = np.maximum(its_work @ coarser, _FLOOR)
            slower = np.median(np.log(times / predicted))
            rooflines[start] = coarser * np.exp(
                slower * len(rows) / (len(rows) + FACTOR_PRIOR_ROWS)
            )
            continue
        # Columns of one magnitude: a weight is a cost of nanoseconds to a work of millions.
        scale = np.maximum(its_work.max(axis=0), 1.0)
        solution, _ = nnls(its_work / scale / times[:, None], np.ones(len(times)))
        rooflines[start] = solution / scale
    return rooflines


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of `count` row numbers, evenly spread over an order that means nothing."""
    order = np.random.default_rng(0).permutation(count)
    return np.sort(order[:most])
