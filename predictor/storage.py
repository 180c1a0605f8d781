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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from netadapt.android_runner.files import write_atomically
from netadapt.predictor.errors import PredictorFileError
from netadapt.predictor.training_data import KernelSample, NetworkSample, TrainingData
from netadapt.profiler.errors import TableError
from netadapt.profiler.provenance import flat, from_flat

FORMAT = "netadapt latency predictor"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class SavedPredictor:
    """What a file holds.

    Parameters
    ----------
    scikit_learn : str
        The version that the predictions are of.
    coverage : float
    qualities : tuple of str
        Settings of the predictor.
    regressor : mapping of str to float
        Settings of its `KernelTimeRegressor`.
    data : TrainingData
        The rows it was fitted to.
    extra_networks : tuple of NetworkSample
        Those that its correction was fitted to since.
    checks : mapping of str to float
        Predictions, ms, by a kernel's key or a network's name.
    prior : SavedPredictor, or None
        That of another device, whose shape it has.
    """

    scikit_learn: str
    coverage: float
    qualities: tuple[str, ...]
    regressor: Mapping[str, float]
    data: TrainingData
    extra_networks: tuple[NetworkSample, ...]
    checks: Mapping[str, float]
    prior: SavedPredictor | None = None


def write(path: Path, saved: SavedPredictor) -> None:
    """Write `saved` to `path`, whole or not at all."""
    content = json.dumps(_document(saved)).encode()
    write_atomically(path, gzip.compress(content, mtime=0))


def _document(saved: SavedPredictor) -> dict[str, Any]:
    document = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "scikit_learn": saved.scikit_learn,
        "settings": {"coverage": saved.coverage, "qualities": list(saved.qualities)},
        "regressor": dict(saved.regressor),
        "provenance": dict(flat(saved.data.provenance)),
        "kernels": [dataclasses.asdict(sample) for sample in saved.data.kernels],
        "networks": [dataclasses.asdict(sample) for sample in saved.data.networks],
        "extra_networks": [dataclasses.asdict(sample) for sample in saved.extra_networks],
        "checks": dict(saved.checks),
    }
    if saved.prior is not None:  # without one, older versions read the file as well
        document["prior"] = _document(saved.prior)
    return document


def read(path: Path) -> SavedPredictor:
    """Read what `write` wrote, every value checked.

    Raises
    ------
    PredictorFileError
        For any other file.
    """
    return _saved(_read(path), path)


def _saved(document: _Document, path: Path) -> SavedPredictor:
    try:
        provenance = from_flat(document.provenance)
    except TableError as error:
        raise PredictorFileError(
            f"a saved predictor says where its rows are from, {path} does not ({error}); fit again "
            "from the latency table"
        ) from error
    return SavedPredictor(
        scikit_learn=document.scikit_learn,
        coverage=document.settings.coverage,
        qualities=document.settings.qualities,
        regressor=document.regressor.model_dump(),
        data=TrainingData(document.kernels, document.networks, provenance),
        extra_networks=document.extra_networks,
        checks=document.checks,
        prior=None if document.prior is None else _saved(document.prior, path),
    )


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False, extra="forbid")


class _Settings(_Part):
    coverage: float
    qualities: tuple[str, ...]


class _Regressor(_Part):
    length_scale: Annotated[float, Field(gt=0)]
    noise: Annotated[float, Field(gt=0)]


class _Document(_Part):
    """What `write` writes, checked as it is read."""

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
    prior: _Document | None = None


class _Head(BaseModel):
    """By which a file of ours is recognised, whatever version wrote it."""

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
