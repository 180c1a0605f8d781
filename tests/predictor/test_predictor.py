from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from netadapt.predictor.correction import Correction, NetworkSum
from netadapt.predictor.errors import MissingKernelTypeError, TrainingDataError
from netadapt.predictor.features import KernelEncoder
from netadapt.predictor.predictor import LatencyPredictor
from netadapt.predictor.regression import MAX_PROCESS_ROWS, KernelTimeRegressor
from netadapt.profiler.errors import TableError
from netadapt.profiler.kernels import (
    ActivationKernel,
    BypassKernel,
    DepthwiseConvKernel,
    Kernel,
    PointwiseConvKernel,
)
from tests.predictor import made_up_device as device
from tests.provenance import MADE_UP

NETWORKS = 10


@pytest.fixture(scope="module")
def pool() -> list[Kernel]:
    return device.kernels(700, np.random.default_rng(0))


@pytest.fixture(scope="module")
def trained(pool: list[Kernel]) -> list[Kernel]:
    return [pool[i] for i in np.random.default_rng(1).permutation(len(pool))[:400]]


@pytest.fixture(scope="module")
def unseen(pool: list[Kernel], trained: list[Kernel]) -> list[Kernel]:
    return [kernel for kernel in pool if kernel not in set(trained)]


@pytest.fixture(scope="module")
def chained(trained: list[Kernel]) -> list[Kernel]:
    return [k for k in trained if k.keeps_shape and k.carries_layout_cost][:20]


@pytest.fixture(scope="module")
def fitted(trained: list[Kernel], chained: list[Kernel]) -> LatencyPredictor:
    rng = np.random.default_rng(2)
    networks = [device.network(rng) for _ in range(NETWORKS)]
    return LatencyPredictor().fit(device.table(device.rows(rng, trained, chained, networks)))


def own_ms(kernels: list[Kernel]) -> np.ndarray:
    return np.array([device.own_us(kernel) for kernel in kernels]) / 1e3


def test_layout_cost_is_recovered_from_chains(fitted: LatencyPredictor) -> None:
    for line in (fitted.layout_.others, fitted.layout_.by_type["depthwise_conv"]):
        assert line.element_ms * 1e6 == pytest.approx(device.LAYOUT_NS_PER_ELEMENT, rel=0.1)


def test_unseen_kernels_are_predicted_free_of_layout(
    fitted: LatencyPredictor, unseen: list[Kernel]
) -> None:
    errors = np.abs(fitted.predict(unseen) / own_ms(unseen) - 1)
    assert np.median(errors) < 0.02
    assert np.mean(errors < 0.10) > 0.9


def test_kernels_alone_carry_the_layout_cost(
    fitted: LatencyPredictor, unseen: list[Kernel]
) -> None:
    alone_ms = own_ms(unseen) + np.array([device.layout_us(k) for k in unseen]) / 1e3
    assert np.median(np.abs(fitted.predict_alone(unseen) / alone_ms - 1)) < 0.02


def test_measured_rows_win_over_predictions(trained: list[Kernel], chained: list[Kernel]) -> None:
    odd = next(k for k in trained if isinstance(k, ActivationKernel))
    rows = device.rows(np.random.default_rng(3), trained, chained)
    rows = [dataclasses.replace(r, latency_us=1e4) if r.key == odd.key else r for r in rows]
    predictor = LatencyPredictor().fit(device.table(rows))
    assert predictor.predict([odd])[0] == pytest.approx(10.0)
    assert predictor.predict_alone([odd])[0] == pytest.approx(10.0)


def test_measured_rows_are_freed_of_layout_too(
    fitted: LatencyPredictor, trained: list[Kernel], chained: list[Kernel]
) -> None:
    conv = next(k for k in trained if isinstance(k, PointwiseConvKernel) and k not in chained)
    assert fitted.predict([conv])[0] == pytest.approx(device.own_us(conv) / 1e3, rel=0.03)
    chain = chained[0]
    assert fitted.predict([chain])[0] == pytest.approx(device.own_us(chain) / 1e3, rel=0.03)


def test_slow_kernel_sizes_are_told_apart(fitted: LatencyPredictor) -> None:
    kernels: list[Kernel] = [DepthwiseConvKernel(104, k, 1, 14, 14, "relu") for k in (3, 5, 7)]
    assert np.all(np.abs(fitted.predict(kernels) / own_ms(kernels) - 1) < 0.15)


def test_fast_widths_are_told_apart(fitted: LatencyPredictor) -> None:
    narrow, wide = (
        PointwiseConvKernel(88, 152, 14, 14, "relu"),
        PointwiseConvKernel(88, 160, 14, 14, "relu"),
    )
    slow_ms, fast_ms = fitted.predict([narrow, wide])
    assert fast_ms < 0.7 * slow_ms


def test_networks_are_the_corrected_sum(fitted: LatencyPredictor) -> None:
    rng = np.random.default_rng(4)
    networks = [device.network(rng) for _ in range(60)]
    truth_ms = np.array([device.network_us(kernels) for kernels in networks]) / 1e3
    errors = np.abs(fitted.predict_networks(networks) / truth_ms - 1)
    plain = np.array([fitted.predict(kernels).sum() for kernels in networks])
    assert np.mean(errors < 0.05) >= 0.9
    assert errors.max() < 0.10
    assert np.median(errors) < np.median(np.abs(plain / truth_ms - 1))


def test_kernel_intervals_cover_as_promised(pool: list[Kernel]) -> None:
    covered = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        order = [pool[i] for i in rng.permutation(len(pool))]
        seen, unseen = order[:350], order[350:]
        chains = [k for k in seen if k.keeps_shape and k.carries_layout_cost][:20]
        predictor = LatencyPredictor().fit(device.table(device.rows(rng, seen, chains)))
        low, high = predictor.predict_interval(unseen).T
        measured_ms = own_ms(unseen) * np.exp(rng.normal(0, device.NOISE, len(unseen)))
        covered += list((low <= measured_ms) & (measured_ms <= high))
    # Folds of near-duplicates are harder than these unseen kernels: a little wide is right.
    assert 0.85 <= np.mean(covered) <= 0.98


def test_network_intervals_cover_as_promised(trained: list[Kernel], chained: list[Kernel]) -> None:
    rows = device.rows(np.random.default_rng(0), trained, chained)
    predictor = LatencyPredictor().fit(device.table(rows))
    covered = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        networks = [device.network(rng) for _ in range(NETWORKS + 50)]
        measured_ms = np.array([device.network_us(kernels) for kernels in networks]) / 1e3
        measured_ms *= np.exp(rng.normal(0, 0.02, len(networks)))
        predictor.fit_correction(networks[:NETWORKS], list(measured_ms[:NETWORKS]))
        low, high = predictor.predict_networks_interval(networks[NETWORKS:]).T
        covered += list((low <= measured_ms[NETWORKS:]) & (measured_ms[NETWORKS:] <= high))
    assert 0.85 <= np.mean(covered) <= 0.97


def test_correction_can_be_fitted_again(fitted: LatencyPredictor) -> None:
    rng = np.random.default_rng(5)
    networks = [device.network(rng) for _ in range(20)]
    before = fitted.predict_networks(networks)
    predictor = clone(fitted)._fit(fitted.data_, ())
    predictor.fit_correction(networks, list(before * 1.1))
    assert np.median(predictor.predict_networks(networks) / before) > 1.03
    predictor.fit_correction([], [])
    assert predictor.predict_networks(networks) == pytest.approx(before)
    with pytest.raises(TrainingDataError, match="one latency for each network"):
        predictor.fit_correction(networks, [1.0])


def test_without_networks_the_sum_counts_and_the_interval_is_wide(trained: list[Kernel]) -> None:
    predictor = LatencyPredictor().fit(device.table(device.rows(np.random.default_rng(0), trained)))
    network = device.network(np.random.default_rng(1))
    (ms,) = predictor.predict_networks([network])
    (low, high) = predictor.predict_networks_interval([network])[0]
    assert ms == pytest.approx(predictor.predict(network).sum())
    assert high / low > 1.4


def test_extrapolation_says_so(
    fitted: LatencyPredictor, trained: list[Kernel], caplog: pytest.LogCaptureFixture
) -> None:
    huge = PointwiseConvKernel(2048, 4096, 28, 28, "relu")
    odd = DepthwiseConvKernel(64, 9, 1, 14, 14, "relu")
    assert list(fitted.extrapolates([huge, odd, trained[0]])) == [True, True, False]
    fresh = clone(fitted)._fit(fitted.data_, ())
    with caplog.at_level(logging.WARNING, logger="predictor"):
        fresh.predict([huge])
    assert "extrapolated" in caplog.text


def test_missing_type_is_an_error_that_names_kernel_and_remedy(fitted: LatencyPredictor) -> None:
    missing = BypassKernel(16, 8, 16, 28, 28)
    for method in (fitted.predict, fitted.predict_interval, fitted.extrapolates):
        with pytest.raises(MissingKernelTypeError, match=r"bypass.*profile kernels of type bypass"):
            method([missing])
    with pytest.raises(LookupError):
        fitted.predict_networks([(missing,)])


def test_empty_network_is_an_error(fitted: LatencyPredictor) -> None:
    with pytest.raises(TrainingDataError, match="at least 1 kernel"):
        fitted.predict_networks([()])


def test_table_and_frame_give_the_same(trained: list[Kernel], unseen: list[Kernel]) -> None:
    table = device.table(device.rows(np.random.default_rng(0), trained[:150]))
    expected = LatencyPredictor().fit(table).predict(unseen)
    assert LatencyPredictor().fit(table.to_frame()).predict(unseen) == pytest.approx(expected)
    with pytest.raises(TableError, match="columns"):
        LatencyPredictor().fit(table.to_frame().drop(columns="latency_us"))


def test_rows_of_two_provenances_do_not_mix(trained: list[Kernel]) -> None:
    other = dataclasses.replace(MADE_UP, threads=4)
    rng = np.random.default_rng(0)
    slow = [
        dataclasses.replace(row, latency_us=9 * row.latency_us)
        for row in device.rows(rng, trained[:100], provenance=other)
    ]
    table = device.table([*device.rows(rng, trained[:100]), *slow])
    with pytest.raises(TrainingDataError, match=r"one provenance.*choose one"):
        LatencyPredictor().fit(table)
    fast = LatencyPredictor().fit(table, provenance=MADE_UP)
    fitted = LatencyPredictor().fit(table, provenance=other)
    ratio = fitted.predict_alone(trained[:100]) / fast.predict_alone(trained[:100])
    assert np.median(ratio) == pytest.approx(9, rel=0.05)


def test_networks_of_unknown_kernels_are_left_out_with_one_line(
    trained: list[Kernel], caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    rows = device.rows(rng, trained[:100], networks=[device.network(rng)])
    unknown = dataclasses.replace(rows[-1], key="network(0)", kernels=(), label="unknown layers")
    predictor = LatencyPredictor().fit(device.table([*rows, unknown]))
    assert len(predictor.data_.networks) == 1
    lines = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    assert len(lines) == 1
    assert lines[0].startswith("1 network(s) left out: their kernels are not known")


def test_flagged_rows_are_left_out_unless_wanted(trained: list[Kernel]) -> None:
    rows = device.rows(np.random.default_rng(0), trained[:100])
    rows[0] = dataclasses.replace(rows[0], quality="unstable", latency_us=1e5)
    kernel = Kernel.from_key(rows[0].key)
    table = device.table(rows)
    assert LatencyPredictor().fit(table).predict_alone([kernel])[0] < 50
    keep = LatencyPredictor(qualities=("ok", "unstable")).fit(table)
    assert keep.predict_alone([kernel])[0] == pytest.approx(100)
    with pytest.raises(TrainingDataError, match="got none in 99 ok, 1 unstable"):
        LatencyPredictor(qualities=("drifted",)).fit(table)


def test_weights_that_a_network_streams_are_learnt_from_whole_networks(
    trained: list[Kernel], chained: list[Kernel]
) -> None:
    per_mb = 0.2
    rng = np.random.default_rng(5)
    networks = [device.network(rng) for _ in range(24)]

    whole = device.rows(np.random.default_rng(6), [], networks=networks)
    streamed_us = [1e3 * per_mb * 4e-6 * sum(k.params for k in n) for n in networks]
    whole = [
        dataclasses.replace(row, latency_us=row.latency_us + us)
        for row, us in zip(whole, streamed_us, strict=True)
    ]
    rows = [*device.rows(rng, trained, chained), *whole[:12]]
    predictor = LatencyPredictor().fit(device.table(rows))
    assert predictor.correction_.weights_ms_per_mb == pytest.approx(per_mb, rel=0.5)
    held, measured_ms = networks[12:], np.array([row.latency_us / 1e3 for row in whole[12:]])
    errors = np.abs(predictor.predict_networks(held) / measured_ms - 1)
    assert errors.max() < 0.08
    plain_ms = np.array([predictor.predict(network).sum() for network in held])
    assert np.median(np.abs(plain_ms / measured_ms - 1)) > 3 * np.median(errors)


def test_a_type_that_was_never_steady_is_not_missing(
    trained: list[Kernel], caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        dataclasses.replace(row, quality="unstable") if row.type == "add" else row
        for row in device.rows(np.random.default_rng(0), trained[:150])
    ]
    add = next(k for k in trained if k.type_name == "add")
    with caplog.at_level(logging.WARNING, logger="predictor"):
        predictor = LatencyPredictor().fit(device.table(rows))
    assert "no steady row of add" in caplog.text
    assert predictor.predict_alone([add])[0] > 0


def test_networks_none_of_which_was_steady_teach_the_correction(
    trained: list[Kernel], caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    networks = [device.network(rng) for _ in range(3)]
    rows = [
        dataclasses.replace(row, quality="drifted") if row.kernels else row
        for row in device.rows(rng, trained[:150], networks=networks)
    ]
    with caplog.at_level(logging.WARNING, logger="predictor"):
        predictor = LatencyPredictor().fit(device.table(rows))
    assert "no steady row of network: 3 flagged ones count" in caplog.text
    assert predictor.correction_.samples == 3


def test_a_table_without_one_steady_row_is_fitted_with_a_warning(
    trained: list[Kernel], caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        dataclasses.replace(row, quality="drifted")
        for row in device.rows(np.random.default_rng(0), trained[:60])
    ]
    with caplog.at_level(logging.WARNING, logger="predictor"):
        predictor = LatencyPredictor().fit(device.table(rows))
    assert "60 flagged ones count; profile again on a quiet machine" in caplog.text
    assert predictor.predict_alone(trained[:1])[0] > 0


def test_predicts_a_searchs_worth_of_kernels(fitted: LatencyPredictor) -> None:
    kernels: list[Kernel] = [
        PointwiseConvKernel(8 * i, 8 * o, 14, 14, "relu")
        for i in range(1, 130)
        for o in range(1, 130)
    ]
    times = fitted.predict(kernels)
    assert times.shape == (len(kernels),)
    assert np.isfinite(times).all()
    assert (times > 0).all()


def test_report_is_of_held_out_data(fitted: LatencyPredictor) -> None:
    report = fitted.report_
    assert {name for name, _ in report.by_type} == set(fitted.models_)
    assert report.kernels.count == len(fitted.predict(list(fitted.alone_ms_)))
    assert 0.85 <= report.kernels.interval_coverage <= 0.95
    assert report.kernels.mape_pct > report.kernels.repeat_median_pct
    assert report.kernels.spearman > 0.95
    assert report.networks is not None
    assert report.plain_sum is not None
    assert report.networks.count == NETWORKS
    assert report.networks.mape_pct < report.plain_sum.mape_pct
    text = json.dumps(report.to_dict(), allow_nan=False)
    assert json.loads(text)["by_type"]["add"]["count"] > 0


def test_a_groups_fold_does_not_depend_on_the_other_rows(
    fitted: LatencyPredictor, trained: list[Kernel]
) -> None:
    fewer = LatencyPredictor().fit(
        device.table(device.rows(np.random.default_rng(0), trained[::2]))
    )

    def folds(predictor: LatencyPredictor) -> dict[Kernel, int]:
        return {
            model.kernels[i]: int(fold)
            for model in predictor.models_.values()
            for i, fold in zip(model.residuals.index, model.residuals.fold, strict=True)
        }

    all_folds = folds(fitted)
    assert all(all_folds[kernel] == fold for kernel, fold in folds(fewer).items())


@pytest.mark.parametrize("milliseconds", [0.03, 1.0, 30.0])
def test_an_interval_without_networks_does_not_depend_on_the_unit(milliseconds: float) -> None:
    correction = Correction.fit([], np.zeros(0))
    sums = [NetworkSum({"pointwise_conv": milliseconds})]
    (ratio,) = correction.interval_ratio(sums, 0.9)
    assert ratio == pytest.approx(Correction.fit([], np.zeros(0)).interval_ratio(
        [NetworkSum({"pointwise_conv": 1.0})], 0.9
    )[0])  # fmt: skip
    assert 1.2 < ratio < 1.7


def test_intervals_of_few_rows_stay_usable(pool: list[Kernel]) -> None:
    upper_over_predicted, covered = [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        order = [pool[i] for i in rng.permutation(len(pool))]
        predictor = LatencyPredictor().fit(device.table(device.rows(rng, order[:60])))
        unseen = [k for k in order[60:] if k.type_name in predictor.models_]
        unseen = [
            k for k, far in zip(unseen, predictor.extrapolates(unseen), strict=True) if not far
        ]
        low, high = predictor.predict_interval(unseen).T
        upper_over_predicted.append(float((high / predictor.predict(unseen)).max()))
        alone_ms = own_ms(unseen) + np.array([device.layout_us(k) for k in unseen]) / 1e3
        covered += list((low <= alone_ms) & (alone_ms <= high))
    assert max(upper_over_predicted) < 10
    assert np.mean(covered) > 0.85


def test_the_model_knows_the_noise_of_a_row() -> None:
    """Held-out rows of a noisy table lie within the model's own standard deviation as normal."""
    rng = np.random.default_rng(0)
    kernels = pointwise(900, rng)
    noisy_ms = own_ms(kernels) * np.exp(rng.normal(0, 0.1, len(kernels)))
    columns = KernelEncoder().fit_transform(kernels)
    regressor = KernelTimeRegressor(noise=0.8).fit(columns[:600], np.log(noisy_ms[:600]))
    log_ms, log_sd = regressor.predict(columns[600:], return_std=True)
    score = np.abs(np.log(noisy_ms[600:]) - log_ms) / log_sd
    assert 0.6 < np.mean(score < 1) < 0.8


def test_a_slow_variant_of_few_rows_keeps_its_slowness() -> None:
    """Six rows of 7x7, far fewer than a roofline of their own takes, among many of 3x3."""
    rng = np.random.default_rng(0)
    widths = [8 * int(w) for w in rng.permutation(np.arange(2, 60))]
    fast: list[Kernel] = [DepthwiseConvKernel(w, 3, 1, 14, 14, "relu") for w in widths]
    slow: list[Kernel] = [DepthwiseConvKernel(w, 7, 1, 14, 14, "relu") for w in widths]
    seen = [*fast, *slow[:6]]
    encoder = KernelEncoder().fit(seen)
    regressor = KernelTimeRegressor().fit(encoder.transform(seen), np.log(own_ms(seen)))
    unseen = encoder.transform(slow[6:])
    errors = np.abs(np.exp(regressor.predict(unseen)) / own_ms(slow[6:]) - 1)
    assert np.median(errors) < 0.08
    roofline_ms = regressor._roofline_ms(unseen.to_numpy())
    assert np.median(np.abs(roofline_ms / own_ms(slow[6:]) - 1)) < 0.2


def test_thousands_of_rows_of_one_type_teach_a_bounded_process() -> None:
    kernels = pointwise(4000, np.random.default_rng(0))
    columns = KernelEncoder().fit_transform(kernels)
    regressor = KernelTimeRegressor().fit(columns, np.log(own_ms(kernels)))
    process = regressor.residual_.steps[-1][1]
    assert len(process.X_train_) == MAX_PROCESS_ROWS
    errors = np.abs(np.exp(regressor.predict(columns)) / own_ms(kernels) - 1)
    assert np.median(errors) < 0.05


def pointwise(count: int, rng: np.random.Generator) -> list[Kernel]:
    made: set[Kernel] = set()
    while len(made) < count:
        size, (narrow, wide) = int(rng.choice([7, 14, 28, 56])), rng.integers(1, 200, 2)
        made.add(PointwiseConvKernel(int(8 * narrow), int(8 * wide), size, size, "relu"))
    ordered = sorted(made, key=lambda k: k.key)
    return [ordered[i] for i in rng.permutation(count)]


def published(kernels: Sequence[Kernel]) -> pd.DataFrame:
    alone_us = [device.own_us(k) + device.layout_us(k) for k in kernels]
    return pd.DataFrame({"key": [k.key for k in kernels], "latency_us": alone_us})


def test_a_published_table_is_keys_and_latencies(
    trained: list[Kernel], unseen: list[Kernel]
) -> None:
    predictor = LatencyPredictor().fit(published(trained))
    alone_ms = own_ms(unseen) + np.array([device.layout_us(k) for k in unseen]) / 1e3
    assert np.median(np.abs(predictor.predict_alone(unseen) / alone_ms - 1)) < 0.02
    assert math.isnan(predictor.report_.kernels.repeat_median_pct)  # unknown, not 0
    assert predictor.report_.to_dict()["kernels"]["repeat_median_pct"] is None
    low, high = predictor.predict_interval(trained[:5]).T
    assert np.all(high / low > 1.01)  # a measured kernel is not certain either
    assert predictor.data_.provenance.device.model == "unknown"


def test_a_published_predictor_is_saved_and_loaded(trained: list[Kernel], tmp_path: Path) -> None:
    predictor = LatencyPredictor().fit(published(trained))
    predictor.save(tmp_path / "predictor.json.gz")
    loaded = LatencyPredictor.load(tmp_path / "predictor.json.gz")
    assert loaded.predict(trained) == pytest.approx(predictor.predict(trained))


def test_a_kernel_in_several_rows_counts_with_its_median(
    trained: list[Kernel], caplog: pytest.LogCaptureFixture
) -> None:
    frame = published(trained)
    odd = frame.iloc[[0, 0]].assign(latency_us=[1e4, frame.latency_us[0] * 1.02])
    with caplog.at_level(logging.WARNING, logger="predictor"):
        predictor = LatencyPredictor().fit(pd.concat([frame, odd]))
    assert "1 kernels or networks stand in several rows" in caplog.text
    alone_ms = frame.latency_us[0] * 1.02 / 1e3
    assert predictor.predict_alone([trained[0]])[0] == pytest.approx(alone_ms)


@pytest.mark.parametrize("value", ["fast", -1.0, 0.0, float("inf"), float("nan"), None])
def test_a_published_row_without_a_latency_is_an_error(
    trained: list[Kernel], value: object
) -> None:
    frame = published(trained).astype({"latency_us": object})
    frame.loc[3, "latency_us"] = value
    with pytest.raises(TrainingDataError, match=r"correct|measure it again"):
        LatencyPredictor().fit(frame)
