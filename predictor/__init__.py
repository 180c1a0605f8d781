"""A latency table generalised: kernels to milliseconds, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from android_runner.exports import exports

if TYPE_CHECKING:
    from predictor.errors import (
        MissingKernelTypeError,
        PredictorError,
        PredictorFileError,
        RefitError,
        TrainingDataError,
    )
    from predictor.predictor import LatencyPredictor
    from predictor.report import ErrorFigures, PredictorReport

__all__ = [
    "ErrorFigures",
    "LatencyPredictor",
    "MissingKernelTypeError",
    "PredictorError",
    "PredictorFileError",
    "PredictorReport",
    "RefitError",
    "TrainingDataError",
]

_HOMES = {
    "ErrorFigures": "predictor.report",
    "LatencyPredictor": "predictor.predictor",
    "MissingKernelTypeError": "predictor.errors",
    "PredictorError": "predictor.errors",
    "PredictorFileError": "predictor.errors",
    "PredictorReport": "predictor.report",
    "RefitError": "predictor.errors",
    "TrainingDataError": "predictor.errors",
}
__getattr__ = exports(__name__, _HOMES)
