"""`LatencyPredictor`: a latency table generalised to kernels and networks never measured.

Times are of kernels *inside a network*, free of the layout cost that a kernel alone carries
(`netadapt.predictor.layout`); a network is the corrected sum over its kernels
(`netadapt.predictor.correction`).
"""

from __future__ import annotations

import logging
import weakref
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import sklearn
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from netadapt.predictor import storage
from netadapt.predictor.assessment import kernel_figures, network_figures
from netadapt.predictor.correction import Correction, NetworkSum
from netadapt.predictor.errors import (
    MissingKernelTypeError,
    PredictorError,
    PredictorFileError,
    RefitError,
    TrainingDataError,
)
from netadapt.predictor.features import Array, Mask
from netadapt.predictor.inputs import Programs, read_kernels
from netadapt.predictor.intervals import conformal_quantile, pooled_quantile
from netadapt.predictor.layout import MIN_OWN_SHARE, LayoutModel, chains
from netadapt.predictor.prior import Prior
from netadapt.predictor.regression import KernelTimeRegressor
from netadapt.predictor.report import PredictorReport
from netadapt.predictor.sums import apportioned, sums_of
from netadapt.predictor.training_data import (
    NetworkSample,
    TrainingData,
    read_kernel_latencies,
    read_training_data,
)
from netadapt.predictor.type_model import FOLDS, TypeModel
from netadapt.profiler.errors import ProfilerError
from netadapt.profiler.kernels import Kernel
from netadapt.profiler.lowering.registry import pays_layout
from netadapt.profiler.table import LatencyTable, Provenance

if TYPE_CHECKING:
    from netadapt.predictor.inputs import KernelInput

logger = logging.getLogger(__name__)

UNREPEATED_DEV = 0.03
"""What repeated measurement is taken to leave open, as a logarithm, where no row was measured twice
(assumption)."""

FP32_BYTES = 4
MOST_BLOCKS = 64
"""Of a published table's that correct its sums; their evidence takes the fourth power of them."""

CHECKS_PER_TYPE = 8
"""Predictions of each type that a saved predictor holds."""


@dataclass(frozen=True, slots=True)
class _Memory:
    """Kernels' times as they were predicted."""

    own_ms: dict[Kernel, float] = field(default_factory=dict)


_extrapolating: weakref.WeakSet[TypeModel] = weakref.WeakSet()
"""What was said to extrapolate: once of each model, however often it is asked."""


class LatencyPredictor(RegressorMixin, BaseEstimator):
    """Predicts what kernels and networks take, in ms, from a latency table.

    A scikit-learn regressor: `X` is of kernels, in one of three forms (a frame of their fields, or
    a sequence of keys or of `Kernel` objects; see `netadapt.predictor.inputs`), `y` their
    milliseconds. `predict` changes nothing, so that threads may share a predictor; `memoised` is
    for who asks for the same kernels again and again.

    Parameters
    ----------
    regressor : scikit-learn regressor, or None
        Estimator for the kernels of one type, cloned for each. It is given the columns of a
        `KernelEncoder` and natural logarithms of ms. Where its `predict` takes `return_std`,
        intervals go by that, else by its errors on held-out rows. None takes
        `KernelTimeRegressor()`.
    coverage : float, between 0 and 1
        Share of held-out values that intervals shall hold.
    qualities : tuple of str
        Which rows of a table to believe.
    prior : Prior, or None
        Another device's predictor, whose shape this one's types take as far as it knows them: for
        a device with few rows (`netadapt.predictor.prior`).

    Attributes
    ----------
    data_ : TrainingData
        The rows it was fitted to.
    own_ms_, alone_ms_ : dict of Kernel to float
        Of the measured kernels the times inside a network and by themselves.
    concluded_ms_ : dict of Kernel to float
        Times inside a network of kernels that were measured with others only, concluded from all
        such rows (`netadapt.predictor.sums`); models learn from them, and they are predicted.
    layout_ : LayoutModel
        What a kernel by itself takes for changing its tensors' layout.
    models_ : dict of str to TypeModel
        What was learnt about each type of kernel.
    correction_ : Correction
        Of networks' sums.
    extra_networks_ : tuple of NetworkSample
        Those of the last `fit_correction`.
    repeat_quantile_ : float
        What repeated measurement leaves open, as a logarithm.
    report_ : PredictorReport
        Errors on held-out data.
    n_features_in_ : int
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        The columns of `X`, where `fit` was given a frame and `y`. `predict` takes any other form
        and any order, for kernels are known by their names.
    """

    def __init__(
        self,
        regressor: Any = None,
        coverage: float = 0.9,
        qualities: tuple[str, ...] = ("ok",),
        prior: Prior | None = None,
    ) -> None:
        self.regressor = regressor
        self.coverage = coverage
        self.qualities = qualities
        self.prior = prior

    def fit(
        self,
        X: KernelInput | LatencyTable,
        y: ArrayLike | None = None,
        *,
        provenance: Provenance | None = None,
    ) -> Self:
        """Learn from kernels and their latencies, from a table or from a table's frame.

        Parameters
        ----------
        X : LatencyTable, frame, or sequence of str or Kernel
            Kernels, where `y` is given. Without it a table, its frame (`LatencyTable.to_frame`) or
            a frame of somebody else's measurements, which needs `key` and `latency_us` only
            (`netadapt.predictor.training_data.read_published`).
        y : array of shape (kernels,), or None
            Milliseconds as measured, each kernel by itself, by position. Every row counts, whatever
            its quality.
        provenance : Provenance, or None
            The rows of a table to learn from; None takes the only ones there are.

        Raises
        ------
        TrainingDataError
            Where no row is believed, rows of several provenances would mix (choose one), a latency
            is none, or all rows are near-duplicates of each other.
        KernelInputError
            For an `X` that names no kernels.
        RegressorError
            Where `regressor` cannot be fitted to a type's rows.
        netadapt.profiler.errors.TableError
            For a frame that is no table's.
        """
        if y is None:
            if not isinstance(X, LatencyTable | pd.DataFrame):
                raise TrainingDataError(
                    f"kernels are fitted to their latencies, got {type(X).__name__} without y; "
                    "fit(X, y) with y in ms, or fit(table)"
                )
            data = read_training_data(X, provenance=provenance, qualities=self.qualities)
        elif isinstance(X, LatencyTable) or provenance is not None:
            raise TrainingDataError(
                "a table has latencies of its own and rows to choose by provenance, got y beside "
                "it; fit(table, provenance=...), or fit(X, y) with the kernels you chose"
            )
        else:
            data = read_kernel_latencies(X, y)
        self._fit(data, ())
        for name in ("feature_names_in_", "n_features_in_"):  # of an earlier fit
            self.__dict__.pop(name, None)
        if y is not None and isinstance(X, pd.DataFrame):
            self.feature_names_in_ = np.array(X.columns, dtype=object)
            self.n_features_in_ = len(X.columns)
        return self

    def predict(self, X: KernelInput) -> Array:
        """Predict milliseconds inside a network; measured rows win over predictions.

        Parameters
        ----------
        X : frame, or sequence of str or Kernel
            Kernels. In a frame with a column `copies` each line is a program of its own, as a table
            measures it, and so are the milliseconds.

        Returns
        -------
        ndarray of shape (kernels,)

        Raises
        ------
        MissingKernelTypeError
            For a type that no training row is of.
        KernelInputError
            For an `X` that names no kernels.
        """
        check_is_fitted(self)
        return self._times(read_kernels(X))

    def predict_alone(self, X: KernelInput) -> Array:
        """Predict milliseconds as a table measures kernels, with their layout cost.

        Of shape (kernels,), and raises as `predict` does.
        """
        check_is_fitted(self)
        programs = read_kernels(X)
        copies = programs.copies or (1,) * len(programs.kernels)
        return self._times(Programs(programs.kernels, copies))

    def predict_interval(self, X: KernelInput) -> Array:
        """Predict intervals around `predict`, which hold `coverage` of held-out kernels.

        Of a measured kernel: what repeated measurement leaves open. Raises as `predict` does.

        Returns
        -------
        ndarray of shape (kernels, 2)
            Lower and upper ends, ms.
        """
        check_is_fitted(self)
        programs = read_kernels(X)
        unmeasured: dict[Kernel, float] = {}
        times = self._times(programs, unmeasured)
        measured = float(np.exp(self.repeat_quantile_))
        ratios = np.array([unmeasured.get(k, measured) for k in programs.kernels], dtype=float)
        return np.stack([times / ratios, times * ratios], axis=1)

    def extrapolates(self, X: KernelInput) -> Mask:
        """Whether a kernel's size or variant lies outside all that was measured.

        Of shape (kernels,), and raises as `predict` does.
        """
        check_is_fitted(self)
        kernels = read_kernels(X).kernels
        outside = {kernel: False for kernel in kernels if not kernel.is_layer}  # measured
        for members in _by_type(k for k in dict.fromkeys(kernels) if k.is_layer).values():
            encoder = self._model(members[0]).encoder
            flags = encoder.extrapolates(encoder.transform(members))
            outside |= zip(members, map(bool, flags), strict=True)
        return np.array([outside[kernel] for kernel in kernels], dtype=bool)

    def knows(self, kernel: Kernel) -> bool:
        """Whether there is a latency of a kernel: measured, or of a type that was."""
        check_is_fitted(self)
        return kernel in self.own_ms_ or kernel.type_name in self.models_

    def predict_networks(self, networks: Iterable[Sequence[Kernel]]) -> Array:
        """Predict whole networks as the corrected sum over their kernels.

        Parameters
        ----------
        networks : iterable of sequences of Kernel
            Each network's kernels.

        Returns
        -------
        ndarray of shape (networks,)
            Milliseconds.

        Raises
        ------
        MissingKernelTypeError
            For a type that no training row is of.
        TrainingDataError
            For a network without kernels.
        """
        return self._networks(networks, _Memory())

    def predict_networks_interval(self, networks: Iterable[Sequence[Kernel]]) -> Array:
        """Predict intervals of shape (networks, 2) around `predict_networks`, ms."""
        return self._networks_interval(networks, _Memory())

    def memoised(self) -> MemoisedPredictor:
        """Return a view that predicts no kernel twice, for a search or a report."""
        check_is_fitted(self)
        return MemoisedPredictor(self)

    def fit_correction(
        self, networks: Sequence[Sequence[Kernel]], measured_ms: Sequence[float]
    ) -> Self:
        """Re-fit the correction to the table's networks and these, measured whole since.

        They replace those of an earlier call.

        Raises
        ------
        TrainingDataError
            Without one latency for each network.
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
        self._fit_correction(_Memory())
        return self

    def as_prior(self) -> Prior:
        """What it has learnt, as the shape of another device's latencies."""
        check_is_fitted(self)
        own = type(self._template()) is KernelTimeRegressor
        return Prior(dict(self.models_), self._saved() if own else None)

    def save(self, path: Path | str) -> None:
        """Write rows, settings and check predictions to one file, whole or not at all.

        Raises
        ------
        PredictorFileError
            With a regressor other than this package's, which a file without code cannot name.
        """
        check_is_fitted(self)
        storage.write(Path(path), self._saved())

    def _saved(self) -> storage.SavedPredictor:
        regressor = self._template()
        own = type(regressor) is KernelTimeRegressor
        if not own or (self.prior and not self.prior.saved):
            got = "a prior with another one" if own else type(regressor).__name__
            raise PredictorFileError(
                f"a saved predictor has the regressor of this package, got {got}; fit without a "
                "regressor of your own to save it, or pickle it"
            )
        return storage.SavedPredictor(
            scikit_learn=sklearn.__version__,
            coverage=self.coverage,
            qualities=tuple(self.qualities),
            regressor=regressor.get_params(),
            data=self.data_,
            extra_networks=self.extra_networks_,
            checks=self._checks(),
            prior=None if self.prior is None else self.prior.saved,
        )

    @classmethod
    def load(cls, path: Path | str, *, tolerance: float = 0.02) -> Self:
        """Read a saved predictor and fit it again; no code in the file is run.

        Raises
        ------
        PredictorFileError
            For a file that is no saved predictor.
        RefitError
            Where a prediction differs from the stored one by a share of more than `tolerance`.
        """
        return cls._refitted(storage.read(Path(path)), path, tolerance)

    @classmethod
    def _refitted(cls, saved: storage.SavedPredictor, path: Path | str, tolerance: float) -> Self:
        prior = None
        if saved.prior is not None:
            prior = cls._refitted(saved.prior, path, tolerance).as_prior()
        try:
            predictor = cls(
                regressor=KernelTimeRegressor(**saved.regressor),
                coverage=saved.coverage,
                qualities=saved.qualities,
                prior=prior,
            )._fit(saved.data, saved.extra_networks)
            stored, now = saved.checks, predictor._checks()
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
                f"a loaded predictor predicts what it did when saved to {tolerance:.1%}, {worst} "
                f"is {deviation:.1%} off (scikit-learn {saved.scikit_learn} then, "
                f"{sklearn.__version__} now); fit again from the table, or raise `tolerance`"
            )
        return predictor

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False  # a frame's columns are named, not numbered
        tags.input_tags.string = True
        tags.input_tags.allow_nan = True  # fields that a type has not
        tags.target_tags.required = False  # a table brings its latencies along
        tags.target_tags.positive_only = True
        return tags

    def _template(self) -> Any:
        return KernelTimeRegressor() if self.regressor is None else self.regressor

    def _fit(self, data: TrainingData, extra: tuple[NetworkSample, ...]) -> Self:
        if not 0 < self.coverage < 1:
            raise TrainingDataError(
                f"an interval's coverage is between 0 and 1, got {self.coverage}; use 0.9"
            )
        self.data_ = data
        lines = chains(data.kernels)
        self.layout_ = LayoutModel.fit(lines.values())
        published = data.provenance.device.kind == "unknown"
        if not lines and not published and pays_layout(data.provenance.recipe):
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
        self.own_ms_ = dict(zip(kernels, own_ms, strict=True))
        self.alone_ms_ = dict(zip(kernels, (s.latency_ms for s in rows), strict=True))
        repeats = dict(
            zip(
                kernels,
                (np.nan if s.repeat_dev is None else s.repeat_dev for s in rows),
                strict=True,
            )
        )
        repeated = np.array([dev for dev in repeats.values() if not np.isnan(dev)])
        self.repeat_quantile_ = (
            conformal_quantile(np.abs(np.log1p(repeated)), self.coverage)
            if len(repeated)
            else UNREPEATED_DEV
        )
        # The matrices are small: more threads only wait for each other.
        with threadpool_limits(1):
            # Our own tables can be asked for a row of the type; published ones have what they have
            types = {kernel.type_name for kernel in self.own_ms_}
            sums = sums_of(data.networks, types) if published else []
            self.concluded_ms_ = apportioned(sums, self.own_ms_, self._template()) if sums else {}
            if self.concluded_ms_:
                logger.info(
                    "%d kernels are concluded from %d rows that measured several together",
                    len(self.concluded_ms_), len(sums),
                )  # fmt: skip
            learnt = self.own_ms_ | self.concluded_ms_
            self.models_ = {
                name: TypeModel.fit(
                    members,
                    np.array([learnt[kernel] for kernel in members]),
                    np.array([repeats.get(kernel, np.nan) for kernel in members]),
                    self._template(),
                    self.prior.log_ms if self.prior and self.prior.knows(name) else None,
                )
                for name, members in _by_type(k for k in learnt if k.is_layer).items()
            }
        self.extra_networks_ = extra
        memory = _Memory()
        self._fit_correction(memory)
        self.report_ = self._make_report(memory)
        return self

    def _fit_correction(self, memory: _Memory) -> None:
        samples, sums = self._learnable((*self._correcting(), *self.extra_networks_), memory)
        self.correction_ = Correction.fit(sums, np.array([s.latency_ms for s in samples]))

    def _correcting(self) -> Sequence[NetworkSample]:
        """The table's networks; of hundreds of blocks that kernels were concluded from, some."""
        networks = self.data_.networks
        if not self.concluded_ms_ or len(networks) <= MOST_BLOCKS:
            return networks
        chosen = np.linspace(0, len(networks) - 1, MOST_BLOCKS).round().astype(int)
        return [networks[i] for i in chosen]

    def _model(self, kernel: Kernel) -> TypeModel:
        model = self.models_.get(kernel.type_name)
        if model is None and not kernel.is_layer:
            raise MissingKernelTypeError(
                "an operation of no kernel type is known where it was measured only, the table has "
                f"no row of {kernel.key[:300]}; `netadapt time MODEL --layers --table TABLE` adds "
                "it, then fit again"
            )
        if model is None:
            raise MissingKernelTypeError(
                f"a kernel's latency comes from rows of its type, the table has none like "
                f"{kernel.key} (it knows {', '.join(sorted(self.models_))}); profile kernels of "
                f"type {kernel.type_name} and fit again"
            )
        return model

    def _width_of(self, model: TypeModel) -> float:
        everyone = np.concatenate([m.residuals.score for m in self.models_.values()])
        if not len(everyone):
            raise TrainingDataError(
                "an interval needs held-out kernels, all rows are near-duplicates of each other; "
                "profile a wider sample"
            )
        return pooled_quantile(model.residuals.score, everyone, self.coverage)

    def _own_times(
        self,
        kernels: Sequence[Kernel],
        memory: _Memory,
        ratios: dict[Kernel, float] | None = None,
    ) -> Array:
        """(kernels,) ms inside a network, those that are not in `memory` remembered in it.

        `ratios`, where given, gets the half-widths of intervals of those predicted, as factors.
        """
        known = memory.own_ms
        extrapolated: list[str] = []
        unknown = [k for k in dict.fromkeys(kernels) if k not in known]
        known.update((k, self.own_ms_[k]) for k in unknown if k in self.own_ms_)
        for name, members in _by_type(k for k in unknown if k not in self.own_ms_).items():
            model = self._model(members[0])
            estimate = model.predict(members, with_sd=ratios is not None)
            if ratios is not None:
                widths = np.exp(self._width_of(model) * estimate.log_sd)
                ratios.update(zip(members, map(float, widths), strict=True))
            outside = int(estimate.extrapolated.sum())
            if outside and model not in _extrapolating:
                _extrapolating.add(model)
                extrapolated.append(f"{outside} of {len(members)} {name}")
            known.update(zip(members, map(float, estimate.ms), strict=True))
        if extrapolated:
            logger.warning(
                "kernels outside the measured sizes: %s; their latency is extrapolated; profile "
                "the corners of the space",
                ", ".join(extrapolated),
            )
        return np.array([known[kernel] for kernel in kernels], dtype=float)

    def _times(self, programs: Programs, ratios: dict[Kernel, float] | None = None) -> Array:
        """(lines,) ms, inside a network or of programs of their own; `ratios` as above."""
        own_ms = self._own_times(programs.kernels, _Memory(), ratios)
        if programs.copies is None:
            return own_ms
        alone_ms = np.array(programs.copies) * own_ms + self.layout_.cost_ms(programs.kernels)
        for i, (kernel, copies) in enumerate(zip(programs.kernels, programs.copies, strict=True)):
            if copies == 1:
                alone_ms[i] = self.alone_ms_.get(kernel, alone_ms[i])
        return alone_ms

    def _networks(self, networks: Iterable[Sequence[Kernel]], memory: _Memory) -> Array:
        return self.correction_.predict(self._sums(networks, memory))

    def _networks_interval(self, networks: Iterable[Sequence[Kernel]], memory: _Memory) -> Array:
        sums = self._sums(networks, memory)
        times = self.correction_.predict(sums)
        ratios = self.correction_.interval_ratio(sums, self.coverage)
        return np.stack([times / ratios, times * ratios], axis=1)

    def _sums(self, networks: Iterable[Sequence[Kernel]], memory: _Memory) -> list[NetworkSum]:
        check_is_fitted(self)
        networks = [tuple(kernels) for kernels in networks]
        # One batch for all that is new; then each network is a sum of known times.
        self._own_times([kernel for kernels in networks for kernel in kernels], memory)
        sums = []
        for kernels in networks:
            if not kernels:
                raise TrainingDataError(
                    "a network has at least 1 kernel, got none; pass space.kernels(arch)"
                )
            by_type: dict[str, float] = defaultdict(float)
            for kernel in kernels:
                by_type[kernel.type_name] += memory.own_ms[kernel]
            weights_mb = sum(kernel.params for kernel in kernels) * FP32_BYTES / 1e6
            sums.append(NetworkSum(by_type, weights_mb))
        return sums

    def _learnable(
        self, samples: Iterable[NetworkSample], memory: _Memory
    ) -> tuple[list[NetworkSample], list[NetworkSum]]:
        """Return the networks all of whose kernels are known by type, and their sums."""
        known, networks = [], []
        for sample in samples:
            kernels = [Kernel.from_key(key) for key in sample.kernels]
            missing = {k.type_name for k in kernels if not self.knows(k)}
            if missing:
                logger.warning(
                    "network %s teaches no correction: the table has no kernel of type %s",
                    sample.name, ", ".join(sorted(missing)),
                )  # fmt: skip
                continue
            known.append(sample)
            networks.append(kernels)
        return known, self._sums(networks, memory)

    def _make_report(self, memory: _Memory) -> PredictorReport:
        kernels, by_type = kernel_figures(self.models_, self.coverage)
        samples, sums = self._learnable(self._correcting(), memory)
        networks, plain_sum = network_figures(samples, sums, self.coverage)
        used = {key for sample in self.data_.networks for key in sample.kernels}
        measured = {kernel.key for kernel in self.own_ms_}
        return PredictorReport(
            split=f"{FOLDS} frozen folds of groups of near-duplicates; networks one by one",
            kernels=kernels,
            by_type=by_type,
            networks=networks,
            plain_sum=plain_sum,
            measured_share=None if networks is None else len(used & measured) / len(used),
        )

    def _checks(self) -> dict[str, float]:
        """Predictions by kernel key or network name: of the regressions, since rows win."""
        checks: dict[str, float] = {}
        for model in self.models_.values():
            picks = np.unique(np.linspace(0, len(model.kernels) - 1, CHECKS_PER_TYPE).round())
            kernels = [model.kernels[int(i)] for i in picks]
            times = model.predict(kernels).ms
            checks |= {kernel.key: float(ms) for kernel, ms in zip(kernels, times, strict=True)}
        for sample in self.data_.networks:
            kernels = [Kernel.from_key(key) for key in sample.kernels]
            if all(map(self.knows, kernels)):
                checks[sample.name] = float(self.predict_networks([kernels])[0])
        return checks


class MemoisedPredictor:
    """A fitted predictor that predicts no kernel twice: what a search asks for latencies.

    It says what the predictor says, from memory where it was asked before. A predictor that is
    fitted again needs another view; a correction fitted again is seen.

    Parameters
    ----------
    predictor : LatencyPredictor
        Fitted.
    """

    def __init__(self, predictor: LatencyPredictor) -> None:
        self.predictor = predictor
        self._memory = _Memory()

    def predict(self, kernels: Sequence[Kernel]) -> Array:
        """Predict as `LatencyPredictor.predict` does, kernels to (kernels,) ms."""
        return self.predictor._own_times(kernels, self._memory)

    def predict_networks(self, networks: Iterable[Sequence[Kernel]]) -> Array:
        """Predict as `LatencyPredictor.predict_networks` does."""
        return self.predictor._networks(networks, self._memory)

    def predict_networks_interval(self, networks: Iterable[Sequence[Kernel]]) -> Array:
        """Predict as `LatencyPredictor.predict_networks_interval` does."""
        return self.predictor._networks_interval(networks, self._memory)


def _by_type(kernels: Iterable[Kernel]) -> dict[str, list[Kernel]]:
    found: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in kernels:
        found[kernel.type_name].append(kernel)
    return dict(found)
