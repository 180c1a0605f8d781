"""What the predictor said of made-up tables before the parts of it were rebuilt.

`same_numbers.json` holds predictions, intervals and reports of three predictors: one fitted to a
whole table, one to single kernels alone, one to somebody else's latencies. A change that is meant
to change them records them anew, and its message says why:

    python -m tests.predictor.test_same_numbers
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from netadapt.predictor import LatencyPredictor
from netadapt.profiler.kernels import DepthwiseConvKernel, Kernel, PointwiseConvKernel
from tests.predictor import made_up_device as device

FORMER = Path(__file__).with_name("same_numbers.json")
TOLERANCE = 1e-9
SHOWN = 40
"""Kernels of each kind whose predictions are recorded."""


@functools.cache
def _kernels() -> tuple[list[Kernel], list[Kernel]]:
    """Those that were measured, and those to predict: half of them measured, the rest not."""
    pool = device.kernels(260, np.random.default_rng(0))
    order = [pool[i] for i in np.random.default_rng(1).permutation(len(pool))]
    seen, unseen = order[:160], order[160:]
    odd = [
        PointwiseConvKernel(2048, 4096, 28, 28, "relu"),
        DepthwiseConvKernel(64, 9, 1, 14, 14, "relu"),
    ]
    return seen, [*seen[:SHOWN], *unseen[:SHOWN], *odd]


def _whole() -> LatencyPredictor:
    seen, _ = _kernels()
    rng = np.random.default_rng(2)
    chains = [k for k in seen if k.keeps_shape and k.carries_layout_cost][:16]
    networks = [device.network(rng) for _ in range(6)]
    with device.table(device.rows(rng, seen, chains, networks)) as table:
        return LatencyPredictor().fit(table)


def _singles() -> LatencyPredictor:
    seen, _ = _kernels()
    with device.table(device.rows(np.random.default_rng(3), seen[:80])) as table:
        return LatencyPredictor(coverage=0.8).fit(table)


def _published() -> LatencyPredictor:
    seen, _ = _kernels()
    alone_us = np.array([device.own_us(k) + device.layout_us(k) for k in seen])
    noisy_us = alone_us * np.exp(np.random.default_rng(5).normal(0, 0.02, len(seen)))
    return LatencyPredictor().fit(
        pd.DataFrame({"key": [k.key for k in seen], "latency_us": noisy_us})
    )


PREDICTORS: dict[str, Callable[[], LatencyPredictor]] = {
    "whole table": _whole,
    "single kernels": _singles,
    "published": _published,
}


def numbers(name: str) -> dict[str, Any]:
    """All that the predictor called `name` says, as plain values."""
    predictor = PREDICTORS[name]()
    _, asked = _kernels()
    rng = np.random.default_rng(4)
    networks = [device.network(rng) for _ in range(8)]
    said = {
        "predict": predictor.predict(asked).tolist(),
        "predict_alone": predictor.predict_alone(asked).tolist(),
        "predict_interval": predictor.predict_interval(asked).tolist(),
        "extrapolates": predictor.extrapolates(asked).tolist(),
        "predict_networks": predictor.predict_networks(networks).tolist(),
        "predict_networks_interval": predictor.predict_networks_interval(networks).tolist(),
        "report": predictor.report_.to_dict(),
    }
    measured_ms = [1.1 * device.network_us(kernels) / 1e3 for kernels in networks[:4]]
    predictor.fit_correction(networks[:4], measured_ms)
    said["corrected"] = predictor.predict_networks_interval(networks).tolist()
    return said


def _leaves(value: Any, at: str = "") -> dict[str, Any]:
    """Every number of nested lists and dictionaries by where it stands."""
    if isinstance(value, dict):
        items = [(f"{at}.{name}", item) for name, item in value.items()]
    elif isinstance(value, list):
        items = [(f"{at}[{i}]", item) for i, item in enumerate(value)]
    else:
        return {at: value}
    return {place: leaf for name, item in items for place, leaf in _leaves(item, name).items()}


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_predictor_says_what_it_said(name: str) -> None:
    former = _leaves(json.loads(FORMER.read_text())[name])
    now = _leaves(numbers(name))
    assert now.keys() == former.keys()
    for place, value in former.items():
        said = pytest.approx(value, rel=TOLERANCE, abs=0) if isinstance(value, float) else value
        assert now[place] == said, place


if __name__ == "__main__":
    FORMER.write_text(json.dumps({name: numbers(name) for name in PREDICTORS}) + "\n")
