"""All that is learnt about one type of kernel: a regression, and how it fares on held-out rows."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from netadapt.predictor.errors import RegressorError
from netadapt.predictor.features import Array, KernelEncoder, Mask, group
from netadapt.predictor.intervals import Residuals
from netadapt.profiler.kernels import Kernel

FOLDS = 5

LogMs = Callable[[Sequence[Kernel]], Array]

MIN_SD = 1e-6
"""Of a prediction's logarithm: a process without noise claims to know its own rows exactly."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Predictions for kernels of one type, each array of shape (kernels,).

    Parameters
    ----------
    ms : ndarray of float
        Milliseconds inside a network.
    log_sd : ndarray of float
        What the errors of the logarithm are proportional to: the regressor's own standard
        deviation, or 1 for all where it gives none.
    extrapolated : ndarray of bool
        Whether a kernel's size or variant lies outside all that was measured.
    """

    ms: Array
    log_sd: Array
    extrapolated: Mask


@dataclass(frozen=True, eq=False)
class TypeModel:
    """What was learnt about one type; arrays of shape (rows,).

    Parameters
    ----------
    kernels : tuple of Kernel
        The type's rows.
    own_ms : ndarray
        Their times inside a network.
    repeat_dev : ndarray
        As in the table, NaN where nobody measured twice.
    encoder : KernelEncoder
        Fitted to all rows.
    regressor : scikit-learn regressor
        Fitted to all rows.
    residuals : Residuals
        Of each row where it was held out.
    prior : callable, or None
        Logarithms of another device's ms by kernels; the regressor has then learnt the ratio.
    """

    kernels: tuple[Kernel, ...]
    own_ms: Array
    repeat_dev: Array
    encoder: KernelEncoder
    regressor: Any
    residuals: Residuals
    prior: LogMs | None = None

    @classmethod
    def fit(
        cls,
        kernels: Sequence[Kernel],
        own_ms: Array,
        repeat_dev: Array,
        regressor: Any,
        prior: LogMs | None = None,
    ) -> Self:
        """Fit clones of `regressor` to all rows, and to all but each fold.

        Raises
        ------
        RegressorError
            Where the regressor cannot be fitted to so few rows, or predicts what is no latency.
        """
        encoder = KernelEncoder().fit(kernels)
        columns, log_ms = encoder.transform(kernels), np.log(own_ms)
        base = np.zeros(len(kernels)) if prior is None else prior(kernels)
        log_ms -= base
        # A group's fold follows from its name alone: the split stays when rows are added.
        folds = np.array([zlib.crc32(group(k).encode()) % FOLDS for k in kernels])
        parts: list[tuple[Any, ...]] = []
        for fold in range(FOLDS):
            held = folds == fold
            if not held.any() or held.all():
                continue
            fitted = fitted_to(regressor, columns[~held], log_ms[~held], encoder.type_name_)
            predicted, log_sd = predicted_ms(
                fitted, columns[held], encoder.type_name_, with_sd=True
            )
            predicted = predicted * np.exp(base[held])
            score = np.abs(np.log(predicted / own_ms[held])) / log_sd
            parts.append((np.flatnonzero(held), folds[held], predicted, score))
        empty = (np.zeros(0, int), np.zeros(0, int), np.zeros(0), np.zeros(0))
        joined = [np.concatenate(column) for column in zip(empty, *parts, strict=True)]
        return cls(
            kernels=tuple(kernels),
            own_ms=own_ms,
            repeat_dev=repeat_dev,
            encoder=encoder,
            regressor=fitted_to(regressor, columns, log_ms, encoder.type_name_),
            residuals=Residuals(*joined),
            prior=prior,
        )

    def predict(self, kernels: Sequence[Kernel], *, with_sd: bool = False) -> Estimate:
        """Predict kernels of the type, measured or not; `log_sd` is 1 unless asked for.

        Raises
        ------
        RegressorError
            Where the regressor predicts what is no latency.
        """
        columns = self.encoder.transform(kernels)
        ms, log_sd = predicted_ms(self.regressor, columns, self.encoder.type_name_, with_sd=with_sd)
        if self.prior is not None:
            ms = ms * np.exp(self.prior(kernels))
        return Estimate(ms, log_sd, self.encoder.extrapolates(columns))


def gives_sd(regressor: Any) -> bool:
    """Whether `predict` takes `return_std`, as scikit-learn's Bayesian regressors' does.

    A pipeline passes it on to its last step.
    """
    if isinstance(regressor, Pipeline):
        return gives_sd(regressor[-1])
    return "return_std" in inspect.signature(regressor.predict).parameters


def fitted_to(regressor: Any, columns: pd.DataFrame, log_ms: Array, type_name: str) -> Any:
    """A clone of `regressor`, fitted. Raises `RegressorError` where that cannot be."""
    try:
        return clone(regressor).fit(columns, log_ms)
    except ValueError as error:
        raise RegressorError(
            f"a regressor is fitted to the rows of one type, {type(regressor).__name__} cannot be "
            f"to {len(columns)} of {type_name} ({_line(error)}); measure more kernels of the type, "
            "or take another regressor"
        ) from error


def predicted_ms(
    regressor: Any, columns: pd.DataFrame, type_name: str, *, with_sd: bool = False
) -> tuple[Array, Array]:
    """Milliseconds, and the standard deviations of their logarithms or ones."""
    log_sd = np.ones(len(columns))
    try:
        if with_sd and gives_sd(regressor):
            log_ms, log_sd = regressor.predict(columns, return_std=True)
        else:
            log_ms = regressor.predict(columns)
    except ValueError as error:
        raise RegressorError(
            f"{type(regressor).__name__} cannot predict {type_name} kernels ({_line(error)}); "
            "measure more kernels of the type, or take another regressor"
        ) from error
    with np.errstate(over="ignore"):
        ms = np.exp(np.asarray(log_ms, dtype=float))
    if ms.shape != (len(columns),) or not (np.isfinite(ms) & (ms > 0)).all():
        raise RegressorError(
            "a regressor predicts one finite logarithm of milliseconds for each kernel, "
            f"{type(regressor).__name__} does not for {type_name} (shape {ms.shape}, "
            f"{np.size(ms) - int(np.isfinite(ms).sum())} not finite); take another regressor"
        )
    return ms, np.maximum(log_sd, MIN_SD)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
