"""How good a predictor is on what it was not fitted to, beside the noise of measuring twice."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from netadapt.predictor.features import Array


@dataclass(frozen=True, slots=True)
class ErrorFigures:
    """Errors of held-out predictions, in % of the measured value; NaN where unknown.

    Parameters
    ----------
    count : int
        Held-out kernels or networks.
    within_5pct, within_10pct : float
        Shares, 0 to 1.
    mape_pct, rmspe_pct : float
        Mean absolute and root mean square error.
    spearman : float
        Rank correlation of predicted and measured.
    interval_coverage : float
        Share inside the interval that held-out data did not help to set.
    repeat_median_pct, repeat_p95_pct : float
        How far two runs of the same program lie apart; NaN where nobody ran one twice.
    """

    count: int
    within_5pct: float
    within_10pct: float
    mape_pct: float
    rmspe_pct: float
    spearman: float
    interval_coverage: float
    repeat_median_pct: float
    repeat_p95_pct: float


@dataclass(frozen=True, slots=True)
class PredictorReport:
    """Errors by kernel type, of all kernels, and of whole networks.

    Parameters
    ----------
    split : str
        How data was held out, in words.
    kernels : ErrorFigures
        Of all types: frozen folds of groups of near-duplicates, times free of the layout cost.
    by_type : tuple of (str, ErrorFigures)
        The same by type.
    networks : ErrorFigures, or None
        Each predicted by a correction that was fitted without it; None below two networks.
    plain_sum : ErrorFigures, or None
        Of the same networks' sums without a correction.
    measured_share : float, or None
        The part of the networks' kernels that the table holds, so that no prediction was needed.
    """

    split: str
    kernels: ErrorFigures
    by_type: tuple[tuple[str, ErrorFigures], ...]
    networks: ErrorFigures | None
    plain_sum: ErrorFigures | None
    measured_share: float | None

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON; NaN becomes None."""
        record = dataclasses.asdict(self)
        record["by_type"] = {name: dataclasses.asdict(figures) for name, figures in self.by_type}
        return {key: _plain(value) for key, value in record.items()}


def error_figures(
    predicted: Array, measured: Array, covered: Array | None, repeat_dev: Array | Sequence[float]
) -> ErrorFigures:
    """Compare `predicted` with `measured`.

    Parameters
    ----------
    predicted, measured : ndarray of shape (rows,)
        In the same unit.
    covered : ndarray of shape (rows,), or None
        1 for those inside their interval, 0 for those outside, NaN for those without one.
    repeat_dev : ndarray of shape (rows,)
        The second run against the first, as a share; NaN where nobody ran twice.
    """
    errors = np.abs(predicted / measured - 1)
    repeats = 100 * np.abs(np.asarray(repeat_dev, dtype=float))
    repeats = repeats[~np.isnan(repeats)]
    ranked = len(measured) > 2 and np.ptp(measured) > 0 and np.ptp(predicted) > 0
    return ErrorFigures(
        count=len(measured),
        within_5pct=float(np.mean(errors <= 0.05)),
        within_10pct=float(np.mean(errors <= 0.10)),
        mape_pct=float(100 * np.mean(errors)),
        rmspe_pct=float(100 * np.sqrt(np.mean(errors**2))),
        spearman=float(stats.spearmanr(predicted, measured).statistic) if ranked else math.nan,
        interval_coverage=math.nan if covered is None else float(np.nanmean(covered)),
        repeat_median_pct=float(np.median(repeats)) if len(repeats) else math.nan,
        repeat_p95_pct=float(np.quantile(repeats, 0.95)) if len(repeats) else math.nan,
    )


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


@dataclass(frozen=True, slots=True)
class LearningRound:
    """What the predictor was like at one time.

    Parameters
    ----------
    rows : int
        Kernels that it had learnt from.
    doubt : float
        Median over the kernels of the space that were not measured: half-width of the interval, as
        a share of the prediction.
    mape_pct : float
        Mean absolute error on held-out rows.
    """

    rows: int
    doubt: float
    mape_pct: float

    def __str__(self) -> str:
        return (
            f"{self.rows} kernels: half of the unmeasured ones are known to +-{self.doubt:.1%}, "
            f"held-out error {self.mape_pct:.1f} %"
        )
