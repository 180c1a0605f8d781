"""`LatencyPredictor`: a latency table generalised to kernels and networks never measured.

Times are of kernels *inside a network*, free of the layout cost that a kernel alone carries
(`netadapt.predictor.layout`); a network is the corrected sum over its kernels
(`netadapt.predictor.correction`).
"""

from __future__ import annotations

import logging
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from netadapt.predictor.correction import Correction, NetworkSum
from netadapt.predictor.errors import MissingKernelTypeError, TrainingDataError
from netadapt.predictor.features import Array, Mask, features, group
from netadapt.predictor.intervals import Residuals, conformal_quantile, pooled_quantile
from netadapt.predictor.layout import MIN_OWN_SHARE, LayoutModel, chains
from netadapt.predictor.regression import KernelTimeRegressor
from netadapt.predictor.report import ErrorFigures, PredictorReport, error_figures
from netadapt.predictor.training_data import NetworkSample, TrainingData, read_training_data
from netadapt.profiler.kernels import Kernel
from netadapt.profiler.table import LatencyTable, Provenance

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

FOLDS = 5

UNREPEATED_DEV = 0.03
"""What repeated measurement is taken to leave open, as a logarithm, where no row was measured twice
(assumption)."""


@dataclass(frozen=True)
class _TypeModel:
    """All that was learnt about one type of kernel; arrays by row."""

    kernels: tuple[Kernel, ...]
    own_ms: Array
    repeat_dev: Array
    regressor: KernelTimeRegressor
    residuals: Residuals


class LatencyPredictor(BaseEstimator):
    """Predicts what kernels and networks take, in ms, from a latency table.

    Parameters
    ----------
    regressor: estimator for the kernels of one type; None takes `KernelTimeRegressor()`.
    coverage: share of held-out values that intervals shall hold.
    qualities: which rows of the table to believe.

    Attributes
    ----------
    data_: the rows it was fitted to.
    layout_: the layout model.
    correction_: the networks' correction.
    report_: errors on held-out data.
    """

    def __init__(
        self,
        regressor: KernelTimeRegressor | None = None,
        coverage: float = 0.9,
        qualities: tuple[str, ...] = ("ok",),
    ) -> None:
        self.regressor = regressor
        self.coverage = coverage
        self.qualities = qualities

    def fit(
        self,
        table: LatencyTable | pd.DataFrame,
        y: None = None,
        *,
        provenance: Provenance | None = None,
    ) -> Self:
        """Learn from a table or its frame (`LatencyTable.to_frame`); `y` is ignored.

        A frame of somebody else's measurements needs `key` and `latency_us` only
        (`netadapt.predictor.training_data.read_published`).

        Raises `TrainingDataError` where no row is believed or rows of several provenances would
        mix (choose one), and `netadapt.profiler.errors.TableError` for a frame that is no table's.
        """
        return self._fit(
            read_training_data(table, provenance=provenance, qualities=self.qualities), ()
        )

    def predict(self, kernels: Sequence[Kernel]) -> Array:
        """(kernels,) ms inside a network; measured rows win over predictions.

        Raises `MissingKernelTypeError` for a type that the table has no row of.
        """
        check_is_fitted(self)
        wanted = [k for k in dict.fromkeys(kernels) if k not in self._own_ms]
        for name, members in _by_type(wanted).items():
            model = self._model(members[0])
            columns = features(members)
            outside = int(model.regressor.extrapolates(columns).sum())
            if outside and name not in self._warned:
                self._warned.add(name)
                logger.warning(
                    "%d of %d %s kernels lie outside the measured sizes: their latency is "
                    "extrapolated; profile the corners of the space",
                    outside, len(members), name,
                )  # fmt: skip
            times = model.regressor.predict(columns)
            self._own_ms.update(zip(members, map(float, times), strict=True))
        return np.array([self._own_ms[kernel] for kernel in kernels], dtype=float)

    def predict_alone(self, kernels: Sequence[Kernel]) -> Array:
        """(kernels,) ms as the table measures them, by themselves with their layout cost."""
        return np.array(
            [
                self._alone_ms.get(kernel, own_ms + layout_ms)
                for kernel, own_ms, layout_ms in zip(
                    kernels, self.predict(kernels), self.layout_.cost_ms(kernels), strict=True
                )
            ],
            dtype=float,
        )

    def predict_interval(self, kernels: Sequence[Kernel]) -> Array:
        """(kernels, 2) ms, lower and upper end around `predict`; for `coverage` of held-out ones.

        Of a measured kernel: what repeated measurement leaves open.
        """
        times = self.predict(kernels)
        ratios = np.full(len(kernels), np.exp(self._repeat_quantile))
        unmeasured = [i for i, kernel in enumerate(kernels) if kernel not in self._alone_ms]
        for members in _by_type([kernels[i] for i in unmeasured]).values():
            model = self._model(members[0])
            sd = model.regressor.predict_sd(features(members))
            width = dict(zip(members, np.exp(self._width_of(model) * sd), strict=True))
            for i in unmeasured:
                if kernels[i] in width:
                    ratios[i] = width[kernels[i]]
        return np.stack([times / ratios, times * ratios], axis=1)

    def extrapolates(self, kernels: Sequence[Kernel]) -> Mask:
        """(kernels,), whether a kernel's size or variant lies outside all that was measured."""
        check_is_fitted(self)
        outside: dict[Kernel, bool] = {}
        for members in _by_type(dict.fromkeys(kernels)).values():
            flags = self._model(members[0]).regressor.extrapolates(features(members))
            outside |= zip(members, map(bool, flags), strict=True)
        return np.array([outside[kernel] for kernel in kernels], dtype=bool)

    def predict_networks(self, networks: Iterable[Sequence[Kernel]]) -> Array:
        """(networks,) ms, the corrected sum over each network's kernels."""
        sums = self._sums(networks)
        return self.correction_.predict(sums)

    def predict_networks_interval(self, networks: Iterable[Sequence[Kernel]]) -> Array:
        """(networks, 2) ms, lower and upper end around `predict_networks`."""
        sums = self._sums(networks)
        times = self.correction_.predict(sums)
        ratios = self.correction_.interval_ratio(sums, self.coverage)
        return np.stack([times / ratios, times * ratios], axis=1)

    def fit_correction(
        self, networks: Sequence[Sequence[Kernel]], measured_ms: Sequence[float]
    ) -> Self:
        """Re-fit the correction to the table's networks and these, measured whole since.

        They replace those of an earlier call. Raises `TrainingDataError`.
        """
        check_is_fitted(self)
        if len(networks) != len(measured_ms):
            raise TrainingDataError(
                "a correction takes one latency for each network, got "
                f"{len(measured_ms)} for {len(networks)}; pass them in pairs"
            )
        self.extra_networks_ = tuple(
            NetworkSample(f"extra {i}", tuple(k.key for k in kernels), float(ms))
            for i, (kernels, ms) in enumerate(zip(networks, measured_ms, strict=True))
        )
        samples = (*self.data_.networks, *self.extra_networks_)
        self.correction_ = Correction.fit(*self._learnable(samples))
        return self

    def save(self, path: Path | str) -> None:
        """Write rows, settings and check predictions to one file, whole or not at all."""
        from netadapt.predictor.storage import save

        check_is_fitted(self)
        save(self, Path(path))

    @classmethod
    def load(cls, path: Path | str, *, tolerance: float = 0.02) -> Self:
        """The predictor of a saved file, fitted again; no code in the file is run.

        Raises `PredictorFileError` for a file that is none, and `RefitError` where a prediction
        differs from the stored one by a share of more than `tolerance`.
        """
        from netadapt.predictor.storage import load

        return load(cls, Path(path), tolerance)

    def _fit(self, data: TrainingData, extra: tuple[NetworkSample, ...]) -> Self:
        if not 0 < self.coverage < 1:
            raise TrainingDataError(
                f"an interval's coverage is between 0 and 1, got {self.coverage}; use 0.9"
            )
        self.data_ = data
        lines = chains(data.kernels)
        self.layout_ = LayoutModel.fit(lines.values())
        if not lines:
            logger.warning(
                "no chain of a kernel was measured: the layout cost of single kernels counts as "
                "theirs, and networks are corrected for it only as a whole; profile chains"
            )
        rows = [sample for sample in data.kernels if sample.copies == 1]
        kernels = [Kernel.from_key(sample.key) for sample in rows]
        own_ms: list[float] = []
        for sample, layout_ms in zip(rows, self.layout_.cost_ms(kernels), strict=True):
            line = lines.get(sample.key)
            own = sample.latency_ms - layout_ms if line is None else line.own_ms
            own_ms.append(float(np.clip(own, MIN_OWN_SHARE * sample.latency_ms, sample.latency_ms)))
        self._own_ms = dict(zip(kernels, own_ms, strict=True))
        self._alone_ms = dict(zip(kernels, (s.latency_ms for s in rows), strict=True))
        repeats = dict(zip(kernels, (_known(s.repeat_dev) for s in rows), strict=True))
        repeated = np.array([dev for dev in repeats.values() if not np.isnan(dev)])
        self._repeat_quantile = (
            conformal_quantile(np.abs(np.log1p(repeated)), self.coverage)
            if len(repeated)
            else UNREPEATED_DEV
        )
        self._warned: set[str] = set()
        # The matrices are small: more threads only wait for each other.
        with threadpool_limits(1):
            self.models_ = {
                name: self._fit_type(members, repeats)
                for name, members in _by_type(self._alone_ms).items()
            }
        self._all_scores = np.concatenate([m.residuals.score for m in self.models_.values()])
        self.extra_networks_ = extra
        sums, measured_ms = self._learnable((*data.networks, *extra))
        self.correction_ = Correction.fit(sums, measured_ms)
        self.report_ = self._make_report()
        return self

    def _fit_type(self, kernels: list[Kernel], repeats: dict[Kernel, float]) -> _TypeModel:
        template = KernelTimeRegressor() if self.regressor is None else self.regressor
        own_ms = np.array([self._own_ms[kernel] for kernel in kernels])
        columns = features(kernels)
        # A group's fold follows from its name alone: the split stays when rows are added.
        folds = np.array([zlib.crc32(group(k).encode()) % FOLDS for k in kernels])
        parts: list[tuple[Any, ...]] = []
        for fold in range(FOLDS):
            held = folds == fold
            if not held.any() or held.all():
                continue
            regressor = clone(template).fit(columns.take(~held), own_ms[~held])
            predicted = regressor.predict(columns.take(held))
            error = np.abs(np.log(predicted / own_ms[held]))
            score = error / regressor.predict_sd(columns.take(held))
            parts.append((np.flatnonzero(held), folds[held], predicted, score))
        empty = (np.zeros(0, int), np.zeros(0, int), np.zeros(0), np.zeros(0))
        joined = [np.concatenate(column) for column in zip(empty, *parts, strict=True)]
        return _TypeModel(
            kernels=tuple(kernels),
            own_ms=own_ms,
            repeat_dev=np.array([repeats[kernel] for kernel in kernels]),
            regressor=clone(template).fit(columns, own_ms),
            residuals=Residuals(*joined),
        )

    def _model(self, kernel: Kernel) -> _TypeModel:
        model = self.models_.get(kernel.type_name)
        if model is None:
            raise MissingKernelTypeError(
                f"a kernel's latency comes from rows of its type, the table has none like "
                f"{kernel.key} (it knows {', '.join(sorted(self.models_))}); profile kernels of "
                f"type {kernel.type_name} and fit again"
            )
        return model

    def _width_of(self, model: _TypeModel) -> float:
        if not len(self._all_scores):
            raise TrainingDataError(
                "an interval needs held-out kernels, all rows are near-duplicates of each other; "
                "profile a wider sample"
            )
        return pooled_quantile(model.residuals.score, self._all_scores, self.coverage)

    def _sums(self, networks: Iterable[Sequence[Kernel]]) -> list[NetworkSum]:
        check_is_fitted(self)
        networks = [tuple(kernels) for kernels in networks]
        # One batch for all that is new; then each network is a sum of known times.
        self.predict([kernel for kernels in networks for kernel in kernels])
        sums = []
        for kernels in networks:
            if not kernels:
                raise TrainingDataError(
                    "a network has at least 1 kernel, got none; pass space.kernels(arch)"
                )
            by_type: dict[str, float] = defaultdict(float)
            for kernel in kernels:
                by_type[kernel.type_name] += self._own_ms[kernel]
            sums.append(NetworkSum(by_type))
        return sums

    def _learnable(self, samples: Iterable[NetworkSample]) -> tuple[list[NetworkSum], Array]:
        """The sums and latencies of the networks all of whose kernels are known by type."""
        known = []
        for sample in samples:
            kernels = [Kernel.from_key(key) for key in sample.kernels]
            missing = {k.type_name for k in kernels} - set(self.models_)
            if missing:
                logger.warning(
                    "network %s teaches no correction: the table has no kernel of type %s",
                    sample.name, ", ".join(sorted(missing)),
                )  # fmt: skip
                continue
            known.append((kernels, sample.latency_ms))
        return self._sums(kernels for kernels, _ in known), np.array([ms for _, ms in known])

    def _make_report(self) -> PredictorReport:
        by_type: dict[str, ErrorFigures] = {}
        everything: list[tuple[Array, ...]] = []
        for name, model in sorted(self.models_.items()):
            held = model.residuals
            if not len(held.index):
                continue
            rows = (
                held.predicted_ms,
                model.own_ms[held.index],
                self._held_out_coverage(name),
                model.repeat_dev[held.index],
            )
            by_type[name] = error_figures(*rows)
            everything.append(rows)
        if not everything:
            raise TrainingDataError(
                "a predictor is judged on held-out kernels, all rows are near-duplicates of each "
                "other; profile a wider sample"
            )
        networks, plain_sum, measured_share = self._network_figures()
        return PredictorReport(
            split=f"{FOLDS} frozen folds of groups of near-duplicates; networks one by one",
            kernels=error_figures(
                *(np.concatenate(column) for column in zip(*everything, strict=True))
            ),
            by_type=tuple(by_type.items()),
            networks=networks,
            plain_sum=plain_sum,
            measured_share=measured_share,
        )

    def _held_out_coverage(self, name: str) -> Array:
        """(rows held out,), 1 inside the interval that the other folds set, 0 outside."""
        held = self.models_[name].residuals
        covered = np.full(len(held.index), np.nan)
        for fold in np.unique(held.fold):
            others = [m.residuals.score[m.residuals.fold != fold] for m in self.models_.values()]
            own, everyone = held.score[held.fold != fold], np.concatenate(others)
            if len(everyone):
                width = pooled_quantile(own, everyone, self.coverage)
                covered[held.fold == fold] = held.score[held.fold == fold] <= width
        return covered

    def _network_figures(
        self,
    ) -> tuple[ErrorFigures | None, ErrorFigures | None, float | None]:
        samples = self.data_.networks
        sums, measured_ms = self._learnable(samples)
        if len(sums) < 2:
            return None, None, None
        predicted, covered = np.zeros(len(sums)), np.zeros(len(sums))
        for i in range(len(sums)):
            others = [j for j in range(len(sums)) if j != i]
            correction = Correction.fit([sums[j] for j in others], measured_ms[others])
            predicted[i] = correction.predict([sums[i]])[0]
            ratio = correction.interval_ratio([sums[i]], self.coverage)[0]
            covered[i] = 1 / ratio <= measured_ms[i] / predicted[i] <= ratio
        repeats = [_known(sample.repeat_dev) for sample in samples]
        plain_ms = np.array([s.total_ms for s in sums])
        used = {key for sample in samples for key in sample.kernels}
        measured = {kernel.key for kernel in self._alone_ms}
        return (
            error_figures(predicted, measured_ms, covered, repeats),
            error_figures(plain_ms, measured_ms, None, repeats),
            len(used & measured) / len(used),
        )


def _known(repeat_dev: float | None) -> float:
    """NaN for what nobody measured twice."""
    return np.nan if repeat_dev is None else repeat_dev


def _by_type(kernels: Iterable[Kernel]) -> dict[str, list[Kernel]]:
    found: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in kernels:
        found[kernel.type_name].append(kernel)
    return dict(found)
