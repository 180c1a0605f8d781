"""What can go wrong in the predictor; every message names the rule, the value and the next step."""

from __future__ import annotations


class PredictorError(Exception):
    """Base of everything `predictor` raises on purpose."""


class KernelInputError(PredictorError, ValueError):
    """An `X` that names no kernels: an unknown form, a missing field, a network among them."""


class TrainingDataError(PredictorError, ValueError):
    """Rows that a predictor cannot be fitted to."""


class RegressorError(PredictorError, ValueError):
    """A regressor that cannot be fitted to a type's rows, or predicts what is no latency."""


class MissingKernelTypeError(PredictorError, LookupError):
    """A latency was asked for a type of kernel that no training row is of."""


class PredictorFileError(PredictorError, ValueError):
    """A file that is no saved predictor, is corrupt or of another format."""


class RefitError(PredictorError, ValueError):
    """A loaded predictor, fitted again, does not predict what it predicted when it was saved."""
