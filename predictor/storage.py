"""A saved predictor: its training rows, settings and some of its predictions in one file.

Gzipped JSON (the format is in `docs/predictor.md`). No code is in it, and no learnt state: loading
fits again, so a file outlives the scikit-learn it was written under, and then compares what the
new fit predicts with what the old one did.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import numpy as np
import sklearn
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from netadapt.android_runner.files import write_atomically
from netadapt.predictor.errors import PredictorError, PredictorFileError, RefitError
from netadapt.predictor.features import features
from netadapt.predictor.regression import KernelTimeRegressor
from netadapt.predictor.training_data import KernelSample, NetworkSample, TrainingData
from netadapt.profiler.errors import ProfilerError
from netadapt.profiler.kernels import Kernel
from netadapt.profiler.provenance import flat, from_flat

if TYPE_CHECKING:
    from netadapt.predictor.predictor import LatencyPredictor

FORMAT = "netadapt latency predictor"
FORMAT_VERSION = 1
CHECKS_PER_TYPE = 8

Predictor = TypeVar("Predictor", bound="LatencyPredictor")


def save(predictor: LatencyPredictor, path: Path) -> None:
    """Write `predictor`, which is fitted, to `path`; see the module."""
    regressor = predictor.regressor or KernelTimeRegressor()
    if type(regressor) is not KernelTimeRegressor:
        raise PredictorFileError(
            "a saved predictor has the regressor of this package, got "
            f"{type(regressor).__name__}; fit without a regressor of your own to save it"
        )
    data = predictor.data_
    document = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "scikit_learn": sklearn.__version__,
        "settings": {"coverage": predictor.coverage, "qualities": list(predictor.qualities)},
        "regressor": regressor.get_params(),
        "provenance": dict(flat(data.provenance)),
        "kernels": [dataclasses.asdict(sample) for sample in data.kernels],
        "networks": [dataclasses.asdict(sample) for sample in data.networks],
        "extra_networks": [dataclasses.asdict(sample) for sample in predictor.extra_networks_],
        "checks": _checks(predictor),
    }
    content = gzip.compress(json.dumps(document).encode(), mtime=0)
    write_atomically(path, content)


def load(cls: type[Predictor], path: Path, tolerance: float) -> Predictor:
    """The predictor at `path`, fitted again and checked; see `LatencyPredictor.load`."""
    document = _read(path)
    try:
        predictor = cls(
            regressor=KernelTimeRegressor(**document.regressor.model_dump()),
            coverage=document.settings.coverage,
            qualities=document.settings.qualities,
        )
        provenance = from_flat(document.provenance)
        data = TrainingData(document.kernels, document.networks, provenance)
        predictor._fit(data, document.extra_networks)
        stored, now = document.checks, _checks(predictor)
        if stored.keys() != now.keys():
            raise ValueError("the check predictions are of other kernels")
        worst = max(stored, key=lambda name: abs(now[name] / stored[name] - 1))
        deviation = abs(now[worst] / stored[worst] - 1)
    except (ValueError, ArithmeticError, PredictorError, ProfilerError) as error:
        raise PredictorFileError(
            f"a saved predictor holds rows, settings and checks, {path} does not "
            f"({type(error).__name__}: {error}); fit again from the latency table"
        ) from error
    if not deviation <= tolerance:
        raise RefitError(
            f"a loaded predictor predicts what it did when saved to {tolerance:.1%}, {worst} is "
            f"{deviation:.1%} off (scikit-learn {document.scikit_learn} then, "
            f"{sklearn.__version__} now); fit again from the table, or raise `tolerance`"
        )
    return predictor


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False, extra="forbid")


class _Settings(_Part):
    coverage: float
    qualities: tuple[str, ...]


class _Regressor(_Part):
    length_scale: Annotated[float, Field(gt=0)]
    noise: Annotated[float, Field(gt=0)]


class _Document(_Part):
    """What `save` writes, checked as it is read."""

    format: str
    version: int
    scikit_learn: str
    settings: _Settings
    regressor: _Regressor
    provenance: dict[str, str | int]
    kernels: tuple[KernelSample, ...]
    networks: tuple[NetworkSample, ...]
    extra_networks: tuple[NetworkSample, ...]
    checks: dict[str, Annotated[float, Field(gt=0)]]


class _Head(BaseModel):
    """What tells a file of ours, whatever version wrote it."""

    format: Literal["netadapt latency predictor"]
    version: int


def _read(path: Path) -> _Document:
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise PredictorFileError(
            f"a saved predictor is a whole gzipped JSON file, {path} is not ({error}); "
            "fit again from the latency table"
        ) from error
    try:
        version = _Head.model_validate_json(content).version
    except ValidationError as error:
        raise PredictorFileError(
            f"{path} is no saved latency predictor; name another file, or fit again from the table"
        ) from error
    if version != FORMAT_VERSION:
        raise PredictorFileError(
            f"this version reads predictors of format {FORMAT_VERSION}, {path} has "
            f"{version}; use the version that wrote it, or fit again"
        )
    try:
        return _Document.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"])) or "the file"
        raise PredictorFileError(
            f"a saved predictor reads as this version writes it, in {path} {where} does not "
            f"({problem['msg']}); fit again from the latency table"
        ) from error


def _checks(predictor: LatencyPredictor) -> dict[str, float]:
    """Predictions by kernel key or network name: of the regressions, since rows are looked up."""
    checks: dict[str, float] = {}
    for model in predictor.models_.values():
        picks = np.unique(np.linspace(0, len(model.kernels) - 1, CHECKS_PER_TYPE).round())
        kernels = [model.kernels[int(i)] for i in picks]
        times = model.regressor.predict(features(kernels))
        checks |= {kernel.key: float(ms) for kernel, ms in zip(kernels, times, strict=True)}
    for sample in predictor.data_.networks:
        kernels = [Kernel.from_key(key) for key in sample.kernels]
        if all(kernel.type_name in predictor.models_ for kernel in kernels):
            checks[sample.name] = float(predictor.predict_networks([kernels])[0])
    return checks
