"""A device with few rows borrows the shape of another one's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesRegressor

from netadapt.predictor import LatencyPredictor
from netadapt.predictor.errors import PredictorFileError
from netadapt.predictor.prior import Prior
from netadapt.profiler.kernels import Kernel
from netadapt.profiler.table import LatencyTable
from tests.command_line import exit_code
from tests.predictor import made_up_device

FEW = 40


def other_us(kernel: Kernel) -> float:
    """A device of the same kind: each type slower by its own factor, more where more is moved."""
    slower = {"depthwise_conv": 2.6, "pointwise_conv": 1.9}.get(kernel.type_name, 2.2)
    traffic = kernel.input_elements + kernel.output_elements
    return made_up_device.own_us(kernel) * slower * (1 + 0.1 * np.log10(traffic))


def frame(kernels: list[Kernel], us: object, name: str) -> pd.DataFrame:
    noise = np.random.default_rng(0).normal(0, made_up_device.NOISE, len(kernels))
    values = [us(k) * float(np.exp(n)) for k, n in zip(kernels, noise, strict=True)]  # type: ignore[operator]
    return pd.DataFrame({"key": [k.key for k in kernels], "latency_us": values, "device_id": name})


@pytest.fixture(scope="module")
def kernels() -> list[Kernel]:
    made = made_up_device.kernels(500, np.random.default_rng(3))
    order = np.random.default_rng(4).permutation(len(made))
    return [made[i] for i in order]


@pytest.fixture(scope="module")
def prior(kernels: list[Kernel]) -> Prior:
    known = frame(kernels[:300], made_up_device.own_us, "known")
    return LatencyPredictor().fit(known).as_prior()


def errors(predictor: LatencyPredictor, kernels: list[Kernel]) -> np.ndarray:
    members = [k for k in kernels if predictor.knows(k)]
    assert len(members) > 100
    true = np.array([other_us(kernel) for kernel in members])
    return np.abs(predictor.predict(members) * 1e3 / true - 1)


def test_few_rows_go_further(kernels: list[Kernel], prior: Prior) -> None:
    few, unseen = frame(kernels[300 : 300 + FEW], other_us, "new"), kernels[300 + FEW :]
    alone = errors(LatencyPredictor().fit(few), unseen)
    borrowed = errors(LatencyPredictor(prior=prior).fit(few), unseen)
    assert np.median(borrowed) < 0.5 * np.median(alone)
    assert np.median(borrowed) < 0.05


def test_rows_of_its_own_win(kernels: list[Kernel], prior: Prior) -> None:
    few = kernels[300 : 300 + FEW]
    predictor = LatencyPredictor(prior=prior).fit(frame(few, other_us, "new"))
    assert predictor.predict(few) * 1e3 == pytest.approx([other_us(k) for k in few], rel=0.03)
    low, high = predictor.predict_interval(few).T
    assert (low < high).all()


def test_it_is_saved_with_its_prior(kernels: list[Kernel], prior: Prior, tmp_path: Path) -> None:
    few = frame(kernels[300 : 300 + FEW], other_us, "new")
    predictor = LatencyPredictor(prior=prior).fit(few)
    predictor.save(tmp_path / "predictor.json.gz")
    again = LatencyPredictor.load(tmp_path / "predictor.json.gz")
    assert again.prior is not None
    assert again.prior.saved is not None
    assert prior.saved is not None
    assert again.prior.saved.data == prior.saved.data
    members = [k for k in kernels[300 + FEW :] if predictor.knows(k)]
    assert again.predict(members) == pytest.approx(predictor.predict(members))
    copy = clone(predictor)
    assert copy.prior is prior, "still fitted"


def test_a_prior_that_no_file_can_name_is_refused(kernels: list[Kernel], tmp_path: Path) -> None:
    few = frame(kernels[300 : 300 + FEW], other_us, "new")
    trees = LatencyPredictor(ExtraTreesRegressor(5, random_state=0)).fit(few)
    predictor = LatencyPredictor(prior=trees.as_prior()).fit(few)
    with pytest.raises(PredictorFileError, match="got a prior with another one"):
        predictor.save(tmp_path / "predictor.json.gz")


def test_the_command_says_what_it_gained(
    kernels: list[Kernel], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = []
    for name, members in (("new", kernels[:FEW]), ("known", kernels[60:300])):
        paths.append(tmp_path / f"{name}.sqlite")
        with LatencyTable(paths[-1]) as table:
            table.add(made_up_device.rows(np.random.default_rng(0), members))
    out = str(tmp_path / "predictor.json.gz")
    assert exit_code("fit", str(paths[0]), "--prior", str(paths[1]), "--out", out) == 0
    said = capsys.readouterr().out
    assert f"with the shape of {paths[1]}: mean error" in said
    assert ", without it" in said
