"""`metrics.jsonl`: what a training writes is what is read, over kills and torn lines."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import nn

from netadapt.search.tasks.digits import ClutteredDigits
from netadapt.search.training import TrainingProgress, TrainingSettings, train_network
from netadapt.training_log import POINTS, MetricPoint, TrainingLog, read_metrics

SETTINGS = TrainingSettings(steps=6, batch_size=4, warmup_steps=2, checkpoint_every_steps=2)


class Killed(Exception):
    pass


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(24 * 24, 10))


def train(folder: Path, phase: str = "supernet", killed_after: int | None = None) -> None:
    with TrainingLog(folder / "metrics.jsonl", phase, tensorboard=folder / "tensorboard") as log:

        def on_progress(progress: TrainingProgress) -> None:
            log(progress)
            if progress.step == killed_after:
                raise Killed

        train_network(
            network(),
            ClutteredDigits(train_images=50),
            SETTINGS,
            checkpoint=folder / f"{phase}.pt",
            on_progress=on_progress,
        )


def test_every_phase_has_its_curve(tmp_path: Path) -> None:
    train(tmp_path)
    train(tmp_path, "scaled, kernels own")
    points = read_metrics(tmp_path / "metrics.jsonl")
    assert [(p.phase, p.step) for p in points] == [
        *(("supernet", n) for n in range(1, 7)),
        *(("scaled, kernels own", n) for n in range(1, 7)),
    ]
    assert all(p.steps == 6 for p in points)
    curve = points[:6]
    assert [p.learning_rate for p in curve] == [SETTINGS.learning_rate_at(n) for n in range(6)]
    assert all(0 < a.seconds < b.seconds for a, b in pairwise(curve))
    assert curve[0].loss == pytest.approx(2.3, abs=0.5), "ten classes, nothing learnt yet"


def test_a_resumed_training_goes_on_in_the_same_curve(tmp_path: Path) -> None:
    (tmp_path / "unbroken").mkdir()
    train(tmp_path / "unbroken")
    with pytest.raises(Killed):
        train(tmp_path, killed_after=5)  # the last checkpoint is of step 4
    path = tmp_path / "metrics.jsonl"
    with path.open("a") as file:
        file.write('{"phase": "supernet", "st')
    before = {p.step: p for p in read_metrics(path)}
    train(tmp_path)
    after = read_metrics(path)
    assert [p.step for p in after] == [1, 2, 3, 4, 5, 6]
    assert after[:4] == tuple(before[n] for n in (1, 2, 3, 4))
    assert after[4].seconds > after[3].seconds, "seconds count from the checkpoint on"
    expected = read_metrics(tmp_path / "unbroken" / "metrics.jsonl")
    assert [p.loss for p in after] == [p.loss for p in expected]


def test_a_long_training_gets_about_a_hundred_points(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with TrainingLog(path, "supernet") as log:
        for step in range(1, 3001):
            log(TrainingProgress(step, 3000, float(step), 0.1, 0.01, 0.01 * step))
    points = read_metrics(path)
    assert POINTS <= len(points) <= POINTS + 1
    assert (points[0].step, points[-1].step) == (1, 3000)
    assert points[-1].loss == pytest.approx(2985.5), "the mean over the steps of a point"


def test_no_file_is_no_points(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == ()


POINT = {
    "phase": "supernet",
    "step": 1,
    "steps": 2,
    "loss": 1.0,
    "learning_rate": 0.1,
    "seconds": 1.0,
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
lines = st.one_of(
    st.binary(max_size=80),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(st.sampled_from(sorted(POINT)), json_values).map(
        lambda change: json.dumps(POINT | change).encode()
    ),
)


@given(st.lists(lines, max_size=4))
@example([json.dumps(POINT | {"loss": 10**400}).encode()])
@example([b"[" * 100_000])
@example([b'{"step": ' + b"9" * 10_000 + b"}"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_file_holds_only_points_come_out(tmp_path: Path, content: list[bytes]) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\n".join([*content, b"", json.dumps(POINT | {"phase": "last"}).encode()]))
    points = read_metrics(path)
    assert points[-1].phase == "last" or any(p.phase == "last" for p in points)
    for point in points:
        assert MetricPoint(**json.loads(json.dumps(asdict(point), allow_nan=False))) == point
        assert 1 <= point.step <= point.steps


def test_tensorboard_gets_the_same_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(Killed):
        train(tmp_path, "reference", killed_after=5)
    train(tmp_path, "reference")
    events = EventAccumulator(str(tmp_path / "tensorboard" / "reference"))
    events.Reload()
    points = read_metrics(tmp_path / "metrics.jsonl")
    assert sorted(events.Tags()["scalars"]) == ["learning rate", "loss", "seconds"]
    for tag, values in (
        ("loss", [p.loss for p in points]),
        ("learning rate", [p.learning_rate for p in points]),
    ):
        scalars = events.Scalars(tag)
        assert [s.step for s in scalars] == [1, 2, 3, 4, 5, 6], "none twice after a kill"
        assert [s.value for s in scalars] == pytest.approx(values)
