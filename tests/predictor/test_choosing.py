"""What a predictor wants measured next."""

from __future__ import annotations

import numpy as np
import pytest

from netadapt.predictor.choosing import doubts, most_doubtful
from netadapt.predictor.features import group
from netadapt.predictor.predictor import LatencyPredictor
from netadapt.profiler.kernels import BypassKernel, Kernel
from tests.predictor import made_up_device as device

POOL = device.kernels(260, np.random.default_rng(0))
ORDER = np.random.default_rng(1).permutation(len(POOL))


@pytest.fixture(scope="module")
def predictor() -> LatencyPredictor:
    seen = [POOL[i] for i in ORDER[:90]]
    return LatencyPredictor().fit(device.table(device.rows(np.random.default_rng(2), seen)))


def test_the_most_doubtful_come_first_and_no_near_duplicates(predictor: LatencyPredictor) -> None:
    chosen = most_doubtful(predictor, POOL, 40)
    assert len(chosen) == len(set(map(group, chosen))) == 40
    assert not set(chosen) & set(predictor.own_ms_)
    found = doubts(predictor, chosen)
    assert list(found) == sorted(found, reverse=True)
    left = [k for k in POOL if k not in predictor.own_ms_ and k not in chosen]
    names = {group(kernel) for kernel in chosen}
    others = [kernel for kernel in left if group(kernel) not in names]
    assert found[-1] >= doubts(predictor, others).max()


def test_what_is_not_known_at_all_comes_before_all(predictor: LatencyPredictor) -> None:
    stranger = BypassKernel(8, 16, 16, 7, 7)
    assert most_doubtful(predictor, [*POOL, stranger], 3)[0] == stranger


def test_nothing_is_chosen_where_all_was_measured(predictor: LatencyPredictor) -> None:
    assert most_doubtful(predictor, list(predictor.own_ms_), 5) == []


def test_chosen_rows_teach_more_than_random_ones(predictor: LatencyPredictor) -> None:
    """On a device without noise worth mentioning, from the same 90 rows to 150."""
    seen = list(predictor.own_ms_)
    left = [kernel for kernel in POOL if kernel not in predictor.own_ms_]

    def error(more: list[Kernel]) -> float:
        rows = device.rows(np.random.default_rng(3), [*seen, *more])
        fitted = LatencyPredictor().fit(device.table(rows))
        alone_us = [device.own_us(kernel) + device.layout_us(kernel) for kernel in POOL]
        return float(np.mean(np.abs(1e3 * fitted.predict_alone(POOL) / np.array(alone_us) - 1)))

    chosen = error(most_doubtful(predictor, left, 60))
    random = [error([left[i] for i in np.random.default_rng(s).permutation(len(left))[:60]])
              for s in range(3)]  # fmt: skip
    assert chosen < 0.6 * min(random)
