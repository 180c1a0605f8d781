"""`LatencyPredictor` is a scikit-learn estimator: its functions take it as any other regressor."""

from __future__ import annotations

import ast
import dataclasses
import logging
import pickle
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_regressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks

from netadapt.predictor import (
    KernelEncoder,
    KernelInputError,
    KernelTimeRegressor,
    LatencyPredictor,
    MissingKernelTypeError,
    TrainingDataError,
    kernel_groups,
)
from netadapt.profiler.errors import UnknownKernelError
from netadapt.profiler.kernels import (
    AddKernel,
    BypassKernel,
    DepthwiseConvKernel,
    Kernel,
    PointwiseConvKernel,
)
from netadapt.profiler.table import LatencyTable
from tests.predictor import made_up_device as device

ROOT = Path(__file__).parents[2]
FORMS = ["frame of fields", "frame of keys", "keys", "array of keys", "series", "kernels"]


def _of_few_types(count: int, seed: int) -> list[Kernel]:
    """Enough to make networks of, and quick to fit."""
    kinds = (PointwiseConvKernel, DepthwiseConvKernel, AddKernel)
    return [k for k in device.kernels(count, np.random.default_rng(seed)) if isinstance(k, kinds)]


@pytest.fixture(scope="module")
def kernels() -> list[Kernel]:
    made = _of_few_types(240, 0)
    return [made[i] for i in np.random.default_rng(1).permutation(len(made))[:120]]


@pytest.fixture(scope="module")
def alone_ms(kernels: list[Kernel]) -> np.ndarray:
    exact_us = np.array([device.own_us(k) + device.layout_us(k) for k in kernels])
    return exact_us * np.exp(np.random.default_rng(2).normal(0, 0.01, len(kernels))) / 1e3


@pytest.fixture(scope="module")
def table(kernels: list[Kernel]) -> LatencyTable:
    rng = np.random.default_rng(3)
    chains = [k for k in kernels if k.keeps_shape and k.carries_layout_cost][:12]
    return device.table(device.rows(rng, kernels, chains, [device.network(rng) for _ in range(4)]))


@pytest.fixture(scope="module")
def fitted(table: LatencyTable) -> LatencyPredictor:
    return LatencyPredictor().fit(table)


@pytest.fixture(scope="module")
def unseen(kernels: list[Kernel]) -> list[Kernel]:
    return [k for k in _of_few_types(200, 7) if k not in set(kernels)]


def fields(kernels: list[Kernel]) -> pd.DataFrame:
    """As in a table's frame: a column for each field of any type, gaps where a type has none."""
    return pd.DataFrame([{"type": k.type_name, **dataclasses.asdict(k)} for k in kernels])


def given(kernels: list[Kernel], form: str) -> Any:
    keys = [kernel.key for kernel in kernels]
    return {
        "frame of fields": fields(kernels),
        "frame of keys": pd.DataFrame({"key": keys}),
        "keys": keys,
        "array of keys": np.array(keys),
        "series": pd.Series(keys, index=range(7, 7 + len(keys))),
        "kernels": kernels,
    }[form]


@pytest.mark.parametrize("form", FORMS)
def test_kernels_come_in_any_form(
    kernels: list[Kernel], alone_ms: np.ndarray, unseen: list[Kernel], form: str
) -> None:
    expected = LatencyPredictor().fit(kernels, alone_ms)
    predictor = LatencyPredictor().fit(given(kernels, form), alone_ms)
    X = given(unseen, form)
    for method in ("predict", "predict_alone", "predict_interval", "extrapolates"):
        assert np.array_equal(getattr(predictor, method)(X), getattr(expected, method)(unseen))
    assert np.array_equal(predictor.predict(given(kernels, form)), alone_ms)  # no chain: no layout


def test_kernels_and_latencies_teach_what_a_published_frame_does(
    kernels: list[Kernel], alone_ms: np.ndarray, unseen: list[Kernel]
) -> None:
    frame = pd.DataFrame({"key": [k.key for k in kernels], "latency_us": alone_ms * 1e3})
    expected = LatencyPredictor().fit(frame).predict(unseen)
    assert LatencyPredictor().fit(kernels, alone_ms).predict(unseen) == pytest.approx(expected)


def test_a_tables_frame_and_its_latencies_teach_what_the_table_does(
    table: LatencyTable, fitted: LatencyPredictor, unseen: list[Kernel]
) -> None:
    frame = table.to_frame()
    frame = frame[frame["type"] != "network"]
    predictor = LatencyPredictor().fit(frame, frame["latency_us"] / 1e3)
    assert predictor.predict(unseen) == pytest.approx(fitted.predict(unseen))
    assert predictor.data_.provenance == fitted.data_.provenance
    assert predictor.report_.kernels.repeat_median_pct > 0
    assert predictor.n_features_in_ == len(frame.columns)
    assert list(predictor.feature_names_in_) == list(frame.columns)
    assert not hasattr(predictor.fit(table), "feature_names_in_")


def test_a_line_with_copies_is_a_program_of_its_own(
    table: LatencyTable, fitted: LatencyPredictor, unseen: list[Kernel]
) -> None:
    frame = table.to_frame()
    frame = frame[frame["type"] != "network"]
    measured_ms = (frame["latency_us"] / 1e3).to_numpy(dtype=float)
    single = (frame["copies"] == 1).to_numpy()
    predicted = fitted.predict(frame)
    assert predicted[single] == pytest.approx(measured_ms[single])
    assert predicted[~single] == pytest.approx(measured_ms[~single], rel=0.1)
    assert fitted.score(frame, measured_ms) > 0.99
    assert fitted.predict(fields(unseen).assign(copies=1)) == pytest.approx(
        fitted.predict_alone(unseen)
    )
    low, high = fitted.predict_interval(frame).T
    assert ((low < predicted) & (predicted < high)).all()


def test_score_is_the_coefficient_of_determination(
    kernels: list[Kernel], alone_ms: np.ndarray
) -> None:
    predictor = LatencyPredictor().fit(kernels[:90], alone_ms[:90])
    X, y = kernels[90:], alone_ms[90:]
    assert predictor.score(X, y) == r2_score(y, predictor.predict(X))
    assert predictor.score(X, y) > 0.8
    assert is_regressor(predictor)


@pytest.mark.parametrize("form", ["frame of fields", "keys", "kernels"])
def test_cross_validation(kernels: list[Kernel], alone_ms: np.ndarray, form: str) -> None:
    X = given(kernels, form)
    scores = cross_val_score(
        LatencyPredictor(),
        X,
        alone_ms,
        cv=GroupKFold(3),
        groups=kernel_groups(X),
        scoring="neg_mean_absolute_percentage_error",
    )
    assert scores.shape == (3,)
    assert (scores > -0.3).all()
    by_scorer_of_ours = cross_val_score(LatencyPredictor(), X, alone_ms, cv=3)
    assert (by_scorer_of_ours > 0.5).all()


def test_groups_hold_near_duplicates_together() -> None:
    near, nearer, far = (PointwiseConvKernel(64, c, 14, 14, "relu") for c in (128, 136, 256))
    first, second, third = kernel_groups([near, nearer, far])
    assert first == second != third


def test_held_out_predictions(kernels: list[Kernel], alone_ms: np.ndarray) -> None:
    predicted = cross_val_predict(LatencyPredictor(), kernels, alone_ms, cv=3)
    assert np.median(np.abs(predicted / alone_ms - 1)) < 0.1
    assert not np.array_equal(predicted, alone_ms)


@pytest.mark.parametrize(
    ("regressor", "grid"),
    [
        (KernelTimeRegressor(), {"regressor__length_scale": [2.0, 4.0]}),
        (Ridge(), {"regressor__alpha": [0.1, 10.0], "coverage": [0.8]}),
        (None, {"regressor": [Ridge(), RandomForestRegressor(5, random_state=0)]}),
    ],
)
def test_grid_search(
    kernels: list[Kernel], alone_ms: np.ndarray, regressor: Any, grid: dict[str, list[Any]]
) -> None:
    search = GridSearchCV(LatencyPredictor(regressor), grid, cv=2, error_score="raise")
    search.fit(fields(kernels), alone_ms)
    assert set(search.best_params_) == set(grid)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(kernels).shape == (len(kernels),)


def without_notes(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns="notes")


def test_the_last_step_of_a_pipeline(kernels: list[Kernel], alone_ms: np.ndarray) -> None:
    frame = fields(kernels).assign(notes="")
    pipeline = make_pipeline(FunctionTransformer(without_notes), LatencyPredictor())
    pipeline.fit(frame, alone_ms)
    assert np.array_equal(pipeline.predict(frame), alone_ms)
    assert "notes" not in pipeline[-1].feature_names_in_
    pipeline.set_params(latencypredictor__coverage=0.5)
    assert pipeline[-1].coverage == 0.5
    assert np.array_equal(
        cross_val_score(pipeline, frame, alone_ms, cv=2),
        cross_val_score(LatencyPredictor(coverage=0.5), kernels, alone_ms, cv=2),
    )


def test_settings_are_stored_as_given() -> None:
    regressor, qualities = KernelTimeRegressor(length_scale=2.0), ("ok", "unstable")
    predictor = LatencyPredictor(regressor, coverage=0.8, qualities=qualities)
    assert predictor.regressor is regressor
    assert predictor.qualities is qualities
    assert vars(predictor).keys() == {"regressor", "coverage", "qualities", "prior"}
    assert predictor.get_params()["regressor__length_scale"] == 2.0
    copy = clone(predictor).set_params(coverage=0.5, regressor__noise=0.1)
    assert (copy.coverage, copy.regressor.length_scale, copy.regressor.noise) == (0.5, 2.0, 0.1)
    assert (predictor.coverage, regressor.noise) == (0.8, 0.02)
    assert "coverage=0.8" in repr(predictor)
    with pytest.raises(NotFittedError):
        copy.predict([PointwiseConvKernel(8, 8, 7, 7)])


def test_a_fit_learns_names_that_end_in_an_underscore_and_changes_no_setting(
    kernels: list[Kernel], alone_ms: np.ndarray
) -> None:
    regressor = KernelTimeRegressor()
    predictor = LatencyPredictor(regressor)
    settings = set(vars(predictor))
    assert predictor.fit(kernels, alone_ms) is predictor
    assert all(name.endswith("_") for name in vars(predictor).keys() - settings)
    assert predictor.regressor is regressor
    assert vars(regressor).keys() == {"length_scale", "noise"}
    ours = next(iter(predictor.models_.values())).regressor
    assert all(name.endswith("_") for name in vars(ours).keys() - vars(regressor).keys())


def test_a_fit_forgets_the_one_before(
    kernels: list[Kernel], alone_ms: np.ndarray, unseen: list[Kernel]
) -> None:
    once = LatencyPredictor().fit(kernels[40:], alone_ms[40:])
    again = LatencyPredictor().fit(fields(kernels), 2 * alone_ms).fit(kernels[40:], alone_ms[40:])
    assert np.array_equal(again.predict(kernels), once.predict(kernels))
    assert vars(again).keys() == vars(once).keys()


def test_predicting_changes_nothing(
    fitted: LatencyPredictor, kernels: list[Kernel], unseen: list[Kernel]
) -> None:
    networks = [device.network(np.random.default_rng(seed)) for seed in range(3)]
    calls: list[Callable[[], object]] = [
        lambda: fitted.predict(unseen),
        lambda: fitted.predict_alone(fields(unseen)),
        lambda: fitted.predict_interval([k.key for k in unseen]),
        lambda: fitted.extrapolates(unseen),
        lambda: fitted.predict_networks(networks),
        lambda: fitted.predict_networks_interval(networks),
        lambda: fitted.score(kernels, np.ones(len(kernels))),
        lambda: fitted.memoised().predict(unseen),
    ]
    for call in calls:
        before = pickle.dumps(fitted)
        call()
        assert pickle.dumps(fitted) == before


def test_threads_may_share_a_predictor(fitted: LatencyPredictor, unseen: list[Kernel]) -> None:
    expected = fitted.predict(unseen)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(fitted.predict, [unseen] * 16):
            assert np.array_equal(found, expected)


def test_a_pickled_predictor_predicts_the_same(
    fitted: LatencyPredictor, unseen: list[Kernel]
) -> None:
    copy = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(copy.predict_interval(unseen), fitted.predict_interval(unseen))


def test_a_view_says_what_the_predictor_says_and_asks_it_once(
    fitted: LatencyPredictor, unseen: list[Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    view = fitted.memoised()
    networks = [device.network(np.random.default_rng(seed)) for seed in range(6)]
    for _ in range(2):
        assert view.predict(unseen) == pytest.approx(fitted.predict(unseen))
        assert view.predict_networks(networks) == pytest.approx(fitted.predict_networks(networks))
        assert view.predict_networks_interval(networks) == pytest.approx(
            fitted.predict_networks_interval(networks)
        )
    monkeypatch.setattr(fitted, "models_", {})
    assert len(view.predict(unseen)) == len(unseen)
    with pytest.raises(MissingKernelTypeError):
        fitted.predict(unseen)


def test_extrapolation_is_reported_once_of_a_type_and_fit(
    table: LatencyTable, caplog: pytest.LogCaptureFixture
) -> None:
    huge = [AddKernel(8 * n, 112, 112) for n in (800, 900)]
    for fits in (1, 2):
        predictor = LatencyPredictor().fit(table)
        view = predictor.memoised()
        with caplog.at_level(logging.WARNING):
            for kernel in huge:
                view.predict([kernel])
                predictor.predict([kernel])
        # The fit, whose networks have such kernels, said so
        assert caplog.text.count(" add") == fits


def test_nothing_to_predict_is_no_error(fitted: LatencyPredictor) -> None:
    assert fitted.predict([]).shape == (0,)
    assert fitted.predict_interval([]).shape == (0, 2)
    assert fitted.predict(pd.DataFrame({"key": []})).shape == (0,)


CONV = {"type": "pointwise_conv", "in_channels": 8, "out_channels": 16, "height": 7, "width": 7}
KEY = PointwiseConvKernel(8, 16, 7, 7, "relu").key


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (KEY, "got str"),
        (PointwiseConvKernel(8, 8, 7, 7), "got PointwiseConvKernel"),
        ({"key": [KEY]}, "got dict"),
        (7, "got int"),
        (np.zeros((3, 2)), r"got ndarray of shape \(3, 2\).*set_output"),
        ([KEY, 3], "line 1 is a int"),
        ([KEY, f"network({'0' * 32})"], "line 1 is a whole network.*predict_networks"),
        (pd.DataFrame({"key": [KEY], "type": ["network"]}), "line 0 is a whole network"),
        (pd.DataFrame({"width": [7]}), "a column `key`, or `type`.*got width"),
        (pd.DataFrame([CONV]), "line 0 lacks activation; add the columns"),
        (pd.DataFrame([CONV | {"type": "warp"}]), "line 0 has 'warp'"),
        (pd.DataFrame([CONV | {"activation": "relu", "height": 7.5}]), "line 0 is no kernel.*7.5"),
        (pd.DataFrame([CONV | {"activation": "relu", "height": -7}]), "line 0 is no kernel"),
        (pd.DataFrame({"key": [KEY], "width": [14]}), "in line 0 width is 14 beside"),
        (pd.DataFrame({"key": [KEY], "type": ["add"]}), "in line 0 type is 'add' beside"),
        (pd.DataFrame({"key": [KEY], "copies": [0]}), "line 0 has 0"),
        (pd.DataFrame({"key": [KEY], "copies": [1.5]}), "line 0 has 1.5"),
    ],
)
def test_what_is_no_kernel_is_one_clear_error(
    fitted: LatencyPredictor, X: Any, message: str
) -> None:
    for method in (fitted.predict, fitted.predict_interval, lambda X: clone(fitted).fit(X, [1.0])):
        with pytest.raises(KernelInputError, match=message) as caught:
            method(X)
        assert "\n" not in str(caught.value)


def test_an_unknown_key_is_an_error_that_names_it(fitted: LatencyPredictor) -> None:
    with pytest.raises(UnknownKernelError, match="nonsense"):
        fitted.predict(["nonsense"])


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf, "fast", None])
def test_a_latency_that_is_none_is_one_clear_error(
    kernels: list[Kernel], alone_ms: np.ndarray, bad: object
) -> None:
    y = [*alone_ms[:-1], bad]
    with pytest.raises(TrainingDataError, match=r"correct it|measure it again"):
        LatencyPredictor().fit(kernels, y)


def test_kernels_and_latencies_come_in_pairs(
    kernels: list[Kernel], alone_ms: np.ndarray, table: LatencyTable, unseen: list[Kernel]
) -> None:
    with pytest.raises(TrainingDataError, match=r"120 kernels of X, got shape \(3,\)"):
        LatencyPredictor().fit(kernels, alone_ms[:3])
    with pytest.raises(TrainingDataError, match="list without y"):
        LatencyPredictor().fit(kernels)
    with pytest.raises(TrainingDataError, match="a table has latencies of its own"):
        LatencyPredictor().fit(table, alone_ms)
    with pytest.raises(TrainingDataError, match="rows to choose by provenance"):
        LatencyPredictor().fit(kernels, alone_ms, provenance=table.provenances()[0])
    column = LatencyPredictor().fit(kernels, alone_ms[:, None])
    expected = LatencyPredictor().fit(kernels, alone_ms)
    assert np.array_equal(column.predict(unseen), expected.predict(unseen))


def test_rows_of_two_provenances_do_not_mix(kernels: list[Kernel], alone_ms: np.ndarray) -> None:
    frame = fields(kernels).assign(threads=[1, 4] * (len(kernels) // 2))
    with pytest.raises(TrainingDataError, match="one provenance, got 2 values of threads"):
        LatencyPredictor().fit(frame, alone_ms)


def test_a_coverage_is_a_share() -> None:
    kernels = [AddKernel(8 * n, 7, 7) for n in range(1, 20)]
    with pytest.raises(TrainingDataError, match="between 0 and 1"):
        LatencyPredictor(coverage=1.5).fit(kernels, np.arange(1.0, 20.0))


def test_a_type_without_rows_is_an_error(fitted: LatencyPredictor) -> None:
    with pytest.raises(MissingKernelTypeError, match="bypass"):
        fitted.predict(pd.DataFrame({"key": [BypassKernel(16, 8, 16, 28, 28).key]}))


def test_the_manuals_example_runs(kernels: list[Kernel]) -> None:
    table = device.table(device.rows(np.random.default_rng(0), kernels[:60]))
    text = (ROOT / "docs" / "predictor.md").read_text()
    (example,) = (b for b in re.findall(r"```python\n(.*?)```", text, re.S) if "GridSearchCV" in b)
    names = {"table": table, "LatencyPredictor": LatencyPredictor}
    exec(example, names)
    assert isinstance(names["search"], GridSearchCV)
    assert names["search"].best_params_.keys() == {"regressor__length_scale"}
    assert -1 < names["search"].best_score_ < 0


# scikit-learn's own checks that need no matrix of numbers. All others fit random matrices, and an X
# of ours names kernels, or an encoder's columns (the tag `two_d_array` says so, for which
# `check_estimator` skips them); what they are about is tested above on kernels.
CHECKS = [
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_mixin_order",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("estimator", [LatencyPredictor(), KernelTimeRegressor(), KernelEncoder()])
def test_scikit_learns_own_checks(check: str, estimator: Any) -> None:
    getattr(estimator_checks, check)(type(estimator).__name__, estimator)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize("estimator", [LatencyPredictor(), KernelTimeRegressor(), KernelEncoder()])
def test_check_estimator_as_a_whole(estimator: Any) -> None:
    estimator_checks.check_estimator(estimator)


def test_no_module_of_the_predictor_needs_one_that_needs_it() -> None:
    """Imports within functions and for types alone count too."""
    folder = ROOT / "predictor"
    needs = {path.stem: _siblings(path) for path in folder.glob("*.py") if path.stem != "__init__"}
    while needs:
        free = {name for name, others in needs.items() if not others & needs.keys()}
        assert free, f"a circle among {sorted(needs)}"
        needs = {name: others for name, others in needs.items() if name not in free}


def _siblings(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "netadapt.predictor":
                found |= {alias.name for alias in node.names}
            elif node.module.startswith("netadapt.predictor."):
                found.add(node.module.rpartition(".")[2])
    return found
