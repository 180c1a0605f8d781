"""Conformal intervals: how wide a prediction must be taken, judged by held-out residuals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netadapt.predictor.features import Array

MIN_SCORES = 40
"""A type sets its own width from this many held-out rows on; below, all types together do."""


@dataclass(frozen=True)
class Residuals:
    """Held-out predictions of one type of kernel, arrays of shape (rows held out,).

    Parameters
    ----------
    index : ndarray of int
        Of the row among the type's rows.
    fold : ndarray of int
        That it was held out with.
    predicted_ms : ndarray of float
        By a fit without it.
    score : ndarray of float
        Absolute error of the logarithm in the model's own standard deviations; the error itself
        where the model has none.
    """

    index: np.ndarray[tuple[int], np.dtype[np.int64]]
    fold: np.ndarray[tuple[int], np.dtype[np.int64]]
    predicted_ms: Array
    score: Array


def conformal_quantile(scores: Array, coverage: float) -> float:
    """Return the score that a new row exceeds with probability `1 - coverage`.

    Of at least one score, by the small-sample correction of split conformal prediction (Vovk et al.
    2005): the `ceil(coverage * (n + 1))`-th smallest, the largest where there are too few.
    """
    rank = int(np.ceil(coverage * (len(scores) + 1)))
    return float(np.sort(scores)[min(rank, len(scores)) - 1])


def pooled_quantile(own: Array, everyone: Array, coverage: float) -> float:
    """Return the quantile of a type's own scores, or of all types' where it has too few."""
    return conformal_quantile(own if len(own) >= MIN_SCORES else everyone, coverage)
