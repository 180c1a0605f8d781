"""What a regressor must keep to be plugged into a `LatencyPredictor`.

    from tests.contracts.predictor import RegressorContract

    class TestMine(RegressorContract):
        def make(self) -> MyRegressor:
            return MyRegressor()

A regressor is given the columns of a `KernelEncoder` for kernels of one type and natural logarithms
of milliseconds, and predicts such. Any scikit-learn regressor should pass. The latencies are made
up, with a noise of half a percent.
"""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from netadapt.predictor import KernelEncoder, LatencyPredictor
from netadapt.predictor.type_model import gives_sd
from netadapt.profiler.kernels import DepthwiseConvKernel, Kernel
from tests.predictor import made_up_device as device


def _depthwise(count: int, seed: int) -> list[Kernel]:
    rng = np.random.default_rng(seed)
    made: dict[Kernel, None] = {}
    while len(made) < count:
        size, kernel_size, stride = (int(rng.choice(c)) for c in ([7, 14, 28], [3, 5], [1, 2]))
        width = 8 * int(rng.integers(1, 448 // size))
        made[DepthwiseConvKernel(width, kernel_size, stride, size, size, "relu")] = None
    return list(made)


class RegressorContract(ABC):
    """Subclass it as `Test...` and say how to make the regressor."""

    worst_rank_correlation = 0.9
    """Between predictions of held-out kernels and what they take, the least to be of use."""

    @abstractmethod
    def make(self) -> Any:
        """A regressor, not fitted; the same one each time."""

    @pytest.fixture
    def kernels(self) -> list[Kernel]:
        return _depthwise(120, 0)

    @pytest.fixture
    def encoder(self, kernels: list[Kernel]) -> KernelEncoder:
        return KernelEncoder().fit(kernels)

    @pytest.fixture
    def columns(self, encoder: KernelEncoder, kernels: list[Kernel]) -> pd.DataFrame:
        return encoder.transform(kernels)

    @pytest.fixture
    def log_ms(self, kernels: list[Kernel]) -> np.ndarray:
        own_ms = np.array([device.own_us(kernel) for kernel in kernels]) / 1e3
        return np.log(own_ms) + np.random.default_rng(1).normal(0, device.NOISE, len(kernels))

    @pytest.fixture
    def fitted(self, columns: pd.DataFrame, log_ms: np.ndarray) -> Any:
        return clone(self.make()).fit(columns, log_ms)

    def test_a_fit_returns_the_regressor_and_leaves_what_it_is_given(
        self, columns: pd.DataFrame, log_ms: np.ndarray
    ) -> None:
        regressor, table, times = clone(self.make()), columns.copy(), log_ms.copy()
        assert regressor.fit(table, times) is regressor
        pd.testing.assert_frame_equal(table, columns)
        assert np.array_equal(times, log_ms)

    def test_one_finite_logarithm_for_each_kernel(self, fitted: Any, columns: pd.DataFrame) -> None:
        for rows in (columns, columns[:1]):
            predicted = np.asarray(fitted.predict(rows))
            assert predicted.shape == (len(rows),)
            assert np.isfinite(predicted).all()

    def test_a_prediction_does_not_depend_on_its_neighbours(
        self, fitted: Any, columns: pd.DataFrame
    ) -> None:
        one_by_one = [fitted.predict(columns[i : i + 1])[0] for i in range(5)]
        assert fitted.predict(columns)[:5] == pytest.approx(one_by_one, rel=1e-6)

    def test_predicting_changes_nothing(self, fitted: Any, columns: pd.DataFrame) -> None:
        fitted.predict(columns)
        before = pickle.dumps(fitted)
        fitted.predict(columns[::-1])
        assert pickle.dumps(fitted) == before

    def test_it_survives_pickling(self, fitted: Any, columns: pd.DataFrame) -> None:
        copy = pickle.loads(pickle.dumps(fitted))
        assert np.array_equal(copy.predict(columns), fitted.predict(columns))

    def test_a_standard_deviation_is_positive_if_there_is_one(
        self, fitted: Any, columns: pd.DataFrame
    ) -> None:
        if not gives_sd(fitted):
            pytest.skip("gives none")
        predicted, log_sd = fitted.predict(columns, return_std=True)
        assert predicted == pytest.approx(fitted.predict(columns))
        assert log_sd.shape == (len(columns),)
        assert (log_sd > 0).all()

    def test_values_and_sizes_never_seen_are_predicted(
        self, fitted: Any, encoder: KernelEncoder
    ) -> None:
        odd = [
            DepthwiseConvKernel(4096, 9, 1, 56, 56, "hardswish"),
            DepthwiseConvKernel(8, 1, 1, 1, 1),
        ]
        assert np.isfinite(fitted.predict(encoder.transform(odd))).all()

    def test_held_out_kernels_are_ranked(self, fitted: Any, encoder: KernelEncoder) -> None:
        unseen = _depthwise(80, 2)
        truth = [device.own_us(kernel) for kernel in unseen]
        predicted = fitted.predict(encoder.transform(unseen))
        rank = pd.Series(predicted).corr(pd.Series(truth), method="spearman")
        assert rank > self.worst_rank_correlation

    def test_a_predictor_with_it_covers_as_promised(
        self, kernels: list[Kernel], log_ms: np.ndarray
    ) -> None:
        predictor = LatencyPredictor(self.make()).fit(kernels, np.exp(log_ms))
        unseen = [k for k in _depthwise(150, 3) if k not in set(kernels)]
        own_ms = np.array([device.own_us(kernel) for kernel in unseen]) / 1e3
        low, high = predictor.predict_interval(unseen).T
        assert (low < high).all()
        # Folds of near-duplicates are harder than these unseen kernels: wide is right.
        assert np.mean((low <= own_ms) & (own_ms <= high)) > 0.8
        assert predictor.report_.kernels.spearman > self.worst_rank_correlation
