"""A latency table generalised: kernels to milliseconds, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netadapt.android_runner.exports import exports

if TYPE_CHECKING:
    from netadapt.predictor.errors import (
        MissingKernelTypeError,
        PredictorError,
        PredictorFileError,
        RefitError,
        TrainingDataError,
    )
    from netadapt.predictor.predictor import LatencyPredictor
    from netadapt.predictor.report import ErrorFigures, PredictorReport

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
    "ErrorFigures": "netadapt.predictor.report",
    "LatencyPredictor": "netadapt.predictor.predictor",
    "MissingKernelTypeError": "netadapt.predictor.errors",
    "PredictorError": "netadapt.predictor.errors",
    "PredictorFileError": "netadapt.predictor.errors",
    "PredictorReport": "netadapt.predictor.report",
    "RefitError": "netadapt.predictor.errors",
    "TrainingDataError": "netadapt.predictor.errors",
}
__getattr__ = exports(__name__, _HOMES)
