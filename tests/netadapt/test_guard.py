"""A guard inside the budget needs networks that vouch for its interval."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from netadapt.predictor.predictor import LatencyPredictor
from netadapt.runs.latency import latency_metric, remembered
from netadapt.search.space import Arch, Space
from tests.predictor import made_up_device as device


@pytest.fixture(scope="module")
def space() -> Space:
    return Space.load("digits")


@pytest.fixture(scope="module")
def archs(space: Space) -> list[Arch]:
    rng = np.random.default_rng(0)
    return [space.random(rng) for _ in range(12)]


def predictor(space: Space, archs: list[Arch], networks: int) -> LatencyPredictor:
    networks_kernels = [space.kernels(arch) for arch in archs[:networks]]
    kernels = sorted({k for arch in archs for k in space.kernels(arch)}, key=lambda k: k.key)
    rows = device.rows(np.random.default_rng(1), kernels, (), networks_kernels)
    return LatencyPredictor().fit(device.table(rows))


def test_without_measured_networks_the_whole_budget_is_used(
    space: Space, archs: list[Arch], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="netadapt"):
        metric = latency_metric(space, remembered(predictor(space, archs, 0)))
    assert "guard inside the budget is off" in caplog.text
    assert list(metric.upper(archs)) == pytest.approx(metric(archs))


def test_measured_networks_vouch_for_the_guard(space: Space, archs: list[Arch]) -> None:
    metric = latency_metric(space, remembered(predictor(space, archs, 8)))
    assert np.all(metric.upper(archs) > 1.005 * np.array(metric(archs)))
