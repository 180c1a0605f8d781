"""A predictor judged: held-out kernels, and networks that its correction was not fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from netadapt.predictor.correction import Correction, NetworkSum
from netadapt.predictor.errors import TrainingDataError
from netadapt.predictor.features import Array
from netadapt.predictor.intervals import pooled_quantile
from netadapt.predictor.report import ErrorFigures, error_figures
from netadapt.predictor.training_data import NetworkSample
from netadapt.predictor.type_model import TypeModel


def kernel_figures(
    models: Mapping[str, TypeModel], coverage: float
) -> tuple[ErrorFigures, tuple[tuple[str, ErrorFigures], ...]]:
    """Judge the held-out predictions of all types together, and of each that has any.

    Raises
    ------
    TrainingDataError
        Where no row could be held out.
    """
    by_type: dict[str, ErrorFigures] = {}
    everything: list[tuple[Array, ...]] = []
    for name, model in sorted(models.items()):
        held = model.residuals
        if not len(held.index):
            continue
        rows = (
            held.predicted_ms,
            model.own_ms[held.index],
            _covered(models, name, coverage),
            model.repeat_dev[held.index],
        )
        by_type[name] = error_figures(*rows)
        everything.append(rows)
    if not everything:
        raise TrainingDataError(
            "a predictor is judged on held-out kernels, all rows are near-duplicates of each "
            "other; profile a wider sample"
        )
    together = error_figures(*(np.concatenate(column) for column in zip(*everything, strict=True)))
    return together, tuple(by_type.items())


def network_figures(
    samples: Sequence[NetworkSample], sums: Sequence[NetworkSum], coverage: float
) -> tuple[ErrorFigures | None, ErrorFigures | None]:
    """Judge each network by a correction fitted to the others, and the sums as they are.

    None where fewer than two networks were measured.
    """
    if len(samples) < 2:
        return None, None
    measured_ms = np.array([sample.latency_ms for sample in samples])
    predicted, covered = np.zeros(len(sums)), np.zeros(len(sums))
    for i in range(len(sums)):
        others = [j for j in range(len(sums)) if j != i]
        correction = Correction.fit([sums[j] for j in others], measured_ms[others])
        predicted[i] = correction.predict([sums[i]])[0]
        ratio = correction.interval_ratio([sums[i]], coverage)[0]
        covered[i] = 1 / ratio <= measured_ms[i] / predicted[i] <= ratio
    repeats = [np.nan if s.repeat_dev is None else s.repeat_dev for s in samples]
    plain_ms = np.array([s.total_ms for s in sums])
    return (
        error_figures(predicted, measured_ms, covered, repeats),
        error_figures(plain_ms, measured_ms, None, repeats),
    )


def _covered(models: Mapping[str, TypeModel], name: str, coverage: float) -> Array:
    """(rows held out,), 1 inside the interval that the other folds set, 0 outside."""
    held = models[name].residuals
    covered = np.full(len(held.index), np.nan)
    for fold in np.unique(held.fold):
        others = [m.residuals.score[m.residuals.fold != fold] for m in models.values()]
        own, everyone = held.score[held.fold != fold], np.concatenate(others)
        if len(everyone):
            width = pooled_quantile(own, everyone, coverage)
            covered[held.fold == fold] = held.score[held.fold == fold] <= width
    return covered
