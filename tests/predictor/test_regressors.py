"""Regressors of ours and of scikit-learn's keep the contract of those that are plugged in."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern
from sklearn.linear_model import BayesianRidge, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from netadapt.predictor import KernelTimeRegressor, LatencyPredictor, RegressorError
from netadapt.predictor.errors import PredictorFileError
from netadapt.predictor.type_model import gives_sd
from netadapt.profiler.kernels import DepthwiseConvKernel, Kernel
from tests.contracts.predictor import RegressorContract
from tests.predictor import made_up_device as device


class TestOurs(RegressorContract):
    worst_rank_correlation = 0.99

    def make(self) -> KernelTimeRegressor:
        return KernelTimeRegressor()


class TestRandomForest(RegressorContract):
    def make(self) -> RandomForestRegressor:
        return RandomForestRegressor(30, random_state=0)


class TestGradientBoosting(RegressorContract):
    def make(self) -> GradientBoostingRegressor:
        return GradientBoostingRegressor(n_estimators=60, random_state=0)


class TestRidge(RegressorContract):
    def make(self) -> Ridge:
        return Ridge()


class TestAPipelineWithAStandardDeviation(RegressorContract):
    def make(self) -> Pipeline:
        process = GaussianProcessRegressor(Matern(4.0), alpha=1e-4, optimizer=None)
        return make_pipeline(StandardScaler(), process)


class TestBayesianRidge(RegressorContract):
    def make(self) -> BayesianRidge:
        return BayesianRidge()


@pytest.fixture(scope="module")
def kernels() -> list[Kernel]:
    return device.kernels(80, np.random.default_rng(0))


@pytest.fixture(scope="module")
def alone_ms(kernels: list[Kernel]) -> np.ndarray:
    return np.array([device.own_us(k) + device.layout_us(k) for k in kernels]) / 1e3


def test_a_standard_deviation_is_known_by_its_argument() -> None:
    assert gives_sd(BayesianRidge())
    assert gives_sd(make_pipeline(StandardScaler(), KernelTimeRegressor()))
    assert not gives_sd(RandomForestRegressor())
    assert not gives_sd(make_pipeline(StandardScaler(), Ridge()))


def test_without_a_standard_deviation_all_intervals_of_a_type_are_as_wide(
    kernels: list[Kernel], alone_ms: np.ndarray
) -> None:
    predictor = LatencyPredictor(Ridge()).fit(kernels, alone_ms)
    unseen: list[Kernel] = [DepthwiseConvKernel(8 * n, 3, 1, 14, 14, "relu") for n in range(1, 9)]
    low, high = predictor.predict_interval([k for k in unseen if k not in kernels]).T
    assert np.ptp(high / low) == pytest.approx(0, abs=1e-9)


class Nonsense(RegressorMixin, BaseEstimator):
    """Predicts a constant, whatever it is given."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def fit(self, X: object, y: object) -> Nonsense:
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.full(len(X), self.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e6, -1e6])
def test_what_is_no_latency_is_an_error_that_names_regressor_and_type(
    kernels: list[Kernel], alone_ms: np.ndarray, value: float
) -> None:
    with pytest.raises(RegressorError, match=r"Nonsense does not for \w+.*another regressor"):
        LatencyPredictor(Nonsense(value)).fit(kernels, alone_ms)


def test_a_regressor_that_wants_more_rows_is_an_error_that_says_so(
    kernels: list[Kernel], alone_ms: np.ndarray
) -> None:
    with pytest.raises(RegressorError, match=r"KNeighborsRegressor.*measure more kernels"):
        LatencyPredictor(KNeighborsRegressor(50)).fit(kernels, alone_ms)


def test_a_foreign_regressor_is_not_saved(
    kernels: list[Kernel], alone_ms: np.ndarray, tmp_path: object
) -> None:
    predictor = LatencyPredictor(Ridge()).fit(kernels, alone_ms)
    with pytest.raises(PredictorFileError, match="got Ridge"):
        predictor.save(f"{tmp_path}/predictor.json.gz")


def test_our_regressor_takes_encoded_kernels_only() -> None:
    with pytest.raises(RegressorError, match="encode the kernels first"):
        KernelTimeRegressor().fit(np.zeros((3, 2)), np.zeros(3))  # type: ignore[arg-type]
