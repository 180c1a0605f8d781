"""Kernels whose latency is known only together with others'."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from netadapt.predictor import LatencyPredictor
from netadapt.profiler.kernels import (
    AddKernel,
    DepthwiseConvKernel,
    Kernel,
    LinearKernel,
    PointwiseConvKernel,
)
from tests.predictor import made_up_device

WIDTHS = (16, 24, 40, 64, 96)


def blocks(seed: int, count: int) -> list[tuple[Kernel, ...]]:
    """Inverted residuals, none twice."""
    rng = np.random.default_rng(seed)
    found: dict[tuple[Kernel, ...], None] = {}
    while len(found) < count:
        narrow, out = (int(rng.choice(WIDTHS)) for _ in range(2))
        wide = narrow * int(rng.choice([3, 4, 6]))
        size, stride = int(rng.choice([14, 28, 56])), int(rng.choice([1, 2]))
        block: list[Kernel] = [
            PointwiseConvKernel(narrow, wide, size, size, "relu"),
            DepthwiseConvKernel(wide, int(rng.choice([3, 5])), stride, size, size, "relu"),
            PointwiseConvKernel(wide, out, size // stride, size // stride),
        ]
        if stride == 1 and narrow == out:
            block.append(AddKernel(out, size, size))
        found[tuple(block)] = None
    return list(found)


def frame(members: list[tuple[Kernel, ...]], seed: int = 0) -> pd.DataFrame:
    """Each measured as one, with noise."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "key": [f"block {i}" if len(b) > 1 else b[0].key for i, b in enumerate(members)],
            "kernels": [[k.key for k in b] if len(b) > 1 else None for b in members],
            "latency_us": [
                sum(map(made_up_device.own_us, b)) * float(np.exp(0.01 * rng.normal()))
                for b in members
            ],
        }
    )


def test_blocks_teach_their_kernels_and_other_blocks() -> None:
    members = blocks(0, 260)
    predictor = LatencyPredictor().fit(frame(members[:200]))
    assert predictor.own_ms_ == {}
    assert {k.type_name for k in predictor.concluded_ms_} == {
        "pointwise_conv",
        "depthwise_conv",
        "add",
    }
    unseen = members[200:]
    predicted = predictor.predict_networks(unseen) * 1e3
    true = np.array([sum(map(made_up_device.own_us, block)) for block in unseen])
    errors = np.abs(predicted / true - 1)
    assert np.median(errors) < 0.05
    assert np.quantile(errors, 0.9) < 0.2
    large = [k for b in unseen for k in b[:3]]
    times = predictor.predict(large) * 1e3
    apart = np.abs(np.log(times / np.array([made_up_device.own_us(k) for k in large])))
    assert np.median(apart) < 0.2, "which of them takes it is known less well"


def test_what_was_measured_alone_is_taken_off_and_stays() -> None:
    members = blocks(1, 80)
    alone = [(kernel,) for block in members[:40] for kernel in block if block[0] is kernel]
    alone = list(dict.fromkeys(alone))
    predictor = LatencyPredictor().fit(frame([*members, *alone]))
    assert set(predictor.own_ms_) == {kernel for (kernel,) in alone}
    assert not set(predictor.own_ms_) & set(predictor.concluded_ms_)
    depthwise = [block[1] for block in members]
    times = predictor.predict(depthwise) * 1e3
    apart = np.abs(np.log(times / np.array([made_up_device.own_us(k) for k in depthwise])))
    assert np.median(apart) < 0.25


def test_it_is_saved_and_read_as_it_was(tmp_path: object) -> None:
    members = blocks(2, 60)
    predictor = LatencyPredictor().fit(frame(members))
    path = f"{tmp_path}/predictor.json"
    predictor.save(path)
    again = LatencyPredictor.load(path)
    assert again.predict_networks(members) == pytest.approx(predictor.predict_networks(members))


def test_a_network_teaches_no_type_that_nobody_measured() -> None:
    """A row of many kernels is a network: it corrects, and its unknown type stays unknown."""
    members = blocks(3, 40)
    single = [(kernel,) for block in members for kernel in block]
    network = (*(k for block in members[:5] for k in block), LinearKernel(64, 10))
    predictor = LatencyPredictor().fit(frame([*dict.fromkeys(single), network]))
    assert predictor.concluded_ms_ == {}
    assert not predictor.knows(LinearKernel(64, 10))
