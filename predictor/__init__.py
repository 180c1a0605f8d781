"""A latency table generalised: kernels to milliseconds, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netadapt.android_runner.exports import exports

if TYPE_CHECKING:
    from netadapt.predictor.errors import (
        KernelInputError,
        MissingKernelTypeError,
        PredictorError,
        PredictorFileError,
        RefitError,
        RegressorError,
        TrainingDataError,
    )
    from netadapt.predictor.features import KernelEncoder, kernel_groups
    from netadapt.predictor.predictor import LatencyPredictor, MemoisedPredictor
    from netadapt.predictor.regression import KernelTimeRegressor
    from netadapt.predictor.report import ErrorFigures, PredictorReport

__all__ = [
    "ErrorFigures",
    "KernelEncoder",
    "KernelInputError",
    "KernelTimeRegressor",
    "LatencyPredictor",
    "MemoisedPredictor",
    "MissingKernelTypeError",
    "PredictorError",
    "PredictorFileError",
    "PredictorReport",
    "RefitError",
    "RegressorError",
    "TrainingDataError",
    "kernel_groups",
]

_HOMES = {
    "ErrorFigures": "netadapt.predictor.report",
    "KernelEncoder": "netadapt.predictor.features",
    "KernelInputError": "netadapt.predictor.errors",
    "KernelTimeRegressor": "netadapt.predictor.regression",
    "LatencyPredictor": "netadapt.predictor.predictor",
    "MemoisedPredictor": "netadapt.predictor.predictor",
    "MissingKernelTypeError": "netadapt.predictor.errors",
    "PredictorError": "netadapt.predictor.errors",
    "PredictorFileError": "netadapt.predictor.errors",
    "PredictorReport": "netadapt.predictor.report",
    "RefitError": "netadapt.predictor.errors",
    "RegressorError": "netadapt.predictor.errors",
    "TrainingDataError": "netadapt.predictor.errors",
    "kernel_groups": "netadapt.predictor.features",
}
__getattr__ = exports(__name__, _HOMES)
