"""Metrics: batches, missing latencies, the correction learnt along a search."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from netadapt.android_runner.errors import PluginError
from netadapt.profiler.kernels import Kernel, PointwiseConvKernel
from netadapt.search.errors import MetricError
from netadapt.search.metrics import (
    METRICS,
    Constraint,
    FunctionMetric,
    KernelSum,
    LatencyMetric,
    LocalCorrection,
    Metric,
    macs,
    make_metric,
    params,
    planned_memory,
)
from netadapt.search.space import Arch, Space
from tests.contracts.metric import MetricContract


@pytest.fixture(scope="module")
def space() -> Space:
    return Space.load("digits")


def by_macs(kernels: Sequence[Kernel]) -> list[float]:
    return [1e-3 + kernel.macs * 1e-6 for kernel in kernels]


class HouseMetric(MetricContract):
    name = "macs"

    def make_space(self) -> Space:
        return Space.load("digits")

    def make_metric(self, space: Space) -> Metric:
        return make_metric(self.name, space)


class TestMacs(HouseMetric):
    pass


class TestParams(HouseMetric):
    name = "params"


class TestPlannedMemory(HouseMetric):
    name = "planned_memory"
    share = 0.95


class TestLatency(HouseMetric):
    def make_metric(self, space: Space) -> Metric:
        return LatencyMetric.from_kernels(space, by_macs)


def test_built_in_metrics_ask_the_space(space: Space) -> None:
    archs = [space.full(), space.reference()]
    for metric, function in (
        (macs(space), space.macs),
        (params(space), space.params),
        (planned_memory(space), space.planned_memory_bytes),
    ):
        assert list(metric(archs)) == [function(arch) for arch in archs]


def test_any_function_is_a_metric(space: Space) -> None:
    metric = FunctionMetric("depth", "blocks", space.depth)
    assert metric([space.full()]) == [space.depth(space.full())]


def blocks_left(archs: Sequence[Arch]) -> list[int]:
    """Somebody else's metric, as a run file names it."""
    return [sum(not block.removed for block in arch.blocks) for arch in archs]


class Stem:
    """One that needs the space."""

    name, unit = "stem", "channels"

    def __init__(self, space: Space) -> None:
        self.largest = space.full().stem

    def __call__(self, archs: Sequence[Arch]) -> list[float]:
        return [arch.stem / self.largest for arch in archs]


class Uncallable:
    def __init__(self, space: Space) -> None: ...


def nothing(archs: Sequence[Arch]) -> list[float]:
    return [math.nan] * len(archs)


def one_alone(archs: Sequence[Arch]) -> list[float]:
    return [1.0]


def test_metrics_go_by_their_names_or_places(space: Space) -> None:
    archs = [space.full(), space.reference()]
    for name, known in METRICS.items():
        metric = make_metric(name, space)
        assert metric.name == name
        assert list(metric(archs)) == list(known(space)(archs))
    latency = LatencyMetric.from_kernels(space, by_macs)
    assert make_metric("latency", space, latency) is latency
    blocks = make_metric(f"{__name__}:blocks_left", space)
    assert blocks.name == f"{__name__}:blocks_left"
    assert blocks(archs) == [len(space.blocks)] * 2
    stem = make_metric(f"{__name__}:Stem", space)
    assert (stem.name, stem.unit, stem(archs)[0]) == ("stem", "channels", 1.0)
    assert Constraint(stem, 0.5).metric is stem


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("latency", "this search has none; fit one, or constrain one of macs"),
        ("depth", "one of latency, macs, params, planned_memory or package.module:function"),
        (f"{__name__}:Uncallable", "give its class a __call__"),
        (f"{__name__}:absent", "has no 'absent'"),
    ],
)
def test_a_metric_that_is_not_there_is_one_clear_line(space: Space, name: str, what: str) -> None:
    with pytest.raises((MetricError, PluginError), match=what) as caught:
        make_metric(name, space)
    assert "\n" not in str(caught.value)


def test_what_somebody_elses_metric_says_is_checked(space: Space) -> None:
    with pytest.raises(MetricError, match=r"0 or more, got nan of .*:nothing"):
        make_metric(f"{__name__}:nothing", space)([space.full()])
    with pytest.raises(MetricError, match="one number an arch, got shape"):
        make_metric(f"{__name__}:one_alone", space)([space.full()] * 2)


@pytest.mark.parametrize("budget", [0.0, -1.0, math.nan, math.inf])
def test_a_budget_is_positive(space: Space, budget: float) -> None:
    with pytest.raises(MetricError, match="positive number of MACs"):
        Constraint(macs(space), budget)


def test_kernel_sum_asks_for_each_kernel_once() -> None:
    asked: list[Kernel] = []

    def kernel_ms(kernels: Sequence[Kernel]) -> list[float]:
        asked.extend(kernels)
        return by_macs(kernels)

    a, b, c = (PointwiseConvKernel(8, n, 4, 4) for n in (8, 16, 24))
    latency = KernelSum(kernel_ms)
    assert latency([[a, b], [b, b]]) == [sum(by_macs([a, b])), sum(by_macs([b, b]))]
    assert latency([[c, a]]) == [sum(by_macs([c, a]))]
    assert asked == [a, b, c]


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_a_missing_latency_is_an_error_that_names_the_kernel(space: Space, wrong: float) -> None:
    kernel = space.kernels(space.full())[0]
    metric = LatencyMetric.from_kernels(
        space, lambda kernels: [wrong if k == kernel else 1.0 for k in kernels]
    )
    with pytest.raises(MetricError) as caught:
        metric([space.full()])
    assert kernel.key in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [0.0, math.nan])
def test_a_missing_network_latency_is_an_error(space: Space, wrong: float) -> None:
    with pytest.raises(MetricError, match="positive number of ms"):
        LatencyMetric(space, lambda networks: [wrong])([space.full()])
    with pytest.raises(MetricError, match="one number a network"):
        LatencyMetric(space, lambda networks: [1.0, 1.0])([space.full()])
    with pytest.raises(MetricError, match="a measured network"):
        LatencyMetric(space, lambda networks: [1.0]).observe([space.full()], [wrong])


def test_observations_correct_the_prediction(space: Space) -> None:
    metric = LatencyMetric.from_kernels(space, by_macs)
    full, reference = space.full(), space.reference()
    raw = np.asarray(metric([full, reference]))
    metric.observe([full], [float(raw[0]) * 1.2])
    assert np.asarray(metric([full, reference])) == pytest.approx(raw * 1.2)
    metric.observe([reference], [float(raw[1]) * 0.9])
    assert np.asarray(metric([full, reference])) == pytest.approx(raw * [1.2, 0.9], rel=0.02)


def test_correction_is_smooth_and_keeps_the_order() -> None:
    correction = LocalCorrection()
    rng = np.random.default_rng(0)
    for predicted in np.geomspace(10, 2, 30):
        correction.observe(predicted, predicted * rng.normal(1.1, 0.01))
    predicted = np.geomspace(1, 20, 2000)
    corrected = predicted * correction.factors(predicted)
    assert (np.diff(corrected) > 0).all()
    assert corrected / predicted == pytest.approx(1.1, rel=0.03)


def test_one_disturbed_measurement_hardly_counts() -> None:
    correction = LocalCorrection()
    for predicted, ratio in ((5.0, 1.0), (4.9, 1.0), (4.85, 1.5), (4.8, 1.0), (4.7, 1.0)):
        correction.observe(predicted, predicted * ratio)
    assert correction.factors(np.array([4.8])) == pytest.approx(1.0, abs=0.02)


def with_interval(space: Space, width: float) -> LatencyMetric:
    """Predicts 1 to 2 ms by MACs, with an interval of the share `width` on both sides."""

    def network_ms(networks: Sequence[Sequence[Kernel]]) -> list[float]:
        return [1 + sum(k.macs for k in kernels) / 1e9 for kernels in networks]

    return LatencyMetric(
        space,
        network_ms,
        interval=lambda nets: np.outer(network_ms(nets), [1 / (1 + width), 1 + width]),
    )


def test_an_interval_narrows_while_predictions_come_true_and_widens_when_not(space: Space) -> None:
    metric, reference = with_interval(space, 0.1), space.reference()

    def width() -> float:
        return float(metric.upper([reference])[0] / metric([reference])[0] - 1)

    assert width() == pytest.approx(0.1)
    # What the device is slower by as a whole is learnt at once and says nothing of the next ones.
    metric.observe([reference], [1.4 * metric([reference])[0]])
    assert width() == pytest.approx(0.1)
    widths = []
    for _ in range(12):
        metric.observe([reference], [1.001 * metric([reference])[0]])
        widths.append(width())
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] == pytest.approx(0.01, rel=0.01), "a measurement repeats no better"
    metric.observe([reference] * 2, [1.2 * metric([reference])[0]] * 2)
    assert width() > 0.15


def test_without_an_interval_the_prediction_is_the_upper_end(space: Space) -> None:
    metric = LatencyMetric.from_kernels(space, by_macs)
    archs = [space.full(), space.reference()]
    assert list(metric.upper(archs)) == metric(archs)
