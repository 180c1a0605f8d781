"""Several processes train what one does, share out what is scored, and none waits for a dead one.

They are forked here, with what torchrun would tell them; torchrun itself starts them in
benchmarks/distributed.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from netadapt.search import ranks
from netadapt.search.errors import InvalidSettingError, RankLostError
from netadapt.search.evaluation import Evaluator
from netadapt.search.evaluation_settings import EvaluationSettings
from netadapt.search.space import Space
from netadapt.search.supernet import SuperNetwork
from netadapt.search.tasks.digits import ClutteredDigits
from netadapt.search.tasks.settings import DigitsSettings
from netadapt.search.training import (
    OrderedDropoutSettings,
    OrderedDropoutStep,
    TrainingProgress,
    TrainingSettings,
    train_supernet,
)
from netadapt.search.training.compute import compute_device
from tests.killed import Child, Say

SPACE = Path(__file__).parents[1] / "netadapt" / "toy" / "timed_space.toml"
COUNT = 2


def make_task() -> ClutteredDigits:
    return ClutteredDigits(DigitsSettings(train_images=60, validation_images=40))


def trained(steps: int, parts: int, checkpoint: Path, say: Say | None = None) -> SuperNetwork:
    """A super-network of the toy space; `say` hears of each step."""

    def on_progress(progress: TrainingProgress) -> None:
        if say is not None:
            say(progress.step)

    space = Space.load(SPACE)
    supernet = space.supernetwork(generator=torch.Generator().manual_seed(0))
    settings = TrainingSettings(
        steps=steps, batch_size=16, warmup_steps=1, accumulate=parts, checkpoint_every_steps=1
    )
    step = OrderedDropoutStep.of(OrderedDropoutSettings(ramp=(0.0, 0.0)), space)
    train_supernet(
        supernet,
        make_task(),
        settings,
        step,
        seed=1,
        checkpoint=checkpoint,
        on_progress=on_progress,
    )
    return supernet


def scores(supernet: SuperNetwork) -> list[float]:
    rng = np.random.default_rng(2)
    evaluate = Evaluator(
        supernet,
        make_task(),
        EvaluationSettings(calibration_images=32, batch_size=32, race_images=32),
    )
    return evaluate([supernet.space.random(rng) for _ in range(5)])


def run_rank(say: Say, number: int, port: int, steps: int, checkpoint: Path) -> None:
    """One of `COUNT` processes; rank 0 says its steps, then the scores."""
    os.environ.update(
        {
            "TORCHELASTIC_RUN_ID": "test",
            "RANK": str(number),
            "LOCAL_RANK": str(number),
            "WORLD_SIZE": str(COUNT),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    )
    torch.set_num_threads(1)
    try:
        with ranks.joined() as own:
            if own.number:
                ranks.follow(make_task(), torch.device("cpu"))
            else:
                say(scores(trained(steps, 1, checkpoint, say)))
    except RankLostError as error:
        say(str(error))


def start(steps: int, checkpoint: Path) -> list[Child]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [Child(run_rank, number, port, steps, checkpoint) for number in range(COUNT)]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.timeout(240)
def test_two_processes_train_and_score_as_one_does(tmp_path: Path) -> None:
    expected = trained(6, COUNT, tmp_path / "alone.pt")
    together = tmp_path / "together.pt"
    leader, follower = start(6, together)
    *steps, scored = leader.rest()
    assert follower.rest() == []
    assert steps == list(range(1, 7))
    assert leader.finished
    assert follower.finished
    state = torch.load(together, weights_only=True)["module"]
    for name, value in expected.state_dict().items():
        # The norms' statistics: one process counts half after half in, two the mean of theirs
        if "running_" not in name and value.is_floating_point():
            torch.testing.assert_close(state[name], value, rtol=0, atol=1e-5)
    assert scored == pytest.approx(scores(expected.eval()), rel=1e-4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a training that nobody interrupted."""
    path = tmp_path_factory.mktemp("whole") / "whole.pt"
    for child in start(6, path):
        child.rest()
    return path


@pytest.mark.timeout(240)
@pytest.mark.parametrize("victim", range(COUNT))
def test_none_waits_for_a_dead_one_and_the_next_start_resumes(
    victim: int, whole: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.pt"
    processes = start(6, broken)
    while processes[0].told() != 3:
        pass
    processes[victim].kill()
    survivor = processes[1 - victim].rest()
    assert "go on to the end, but rank" in survivor[-1]
    assert "\n" not in survivor[-1]
    leader, follower = start(6, broken)
    assert leader.rest()[0] in (4, 5)  # the step that was under way may have been kept
    follower.rest()
    kept, expected = (torch.load(path, weights_only=True)["module"] for path in (broken, whole))
    assert all(torch.equal(kept[name], value) for name, value in expected.items())


def test_a_batch_without_equal_parts_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ranks, "_current", ranks.Ranks(0, 3))
    with pytest.raises(
        InvalidSettingError, match="3 processes take equal parts of a batch, got 16"
    ):
        trained(2, 1, tmp_path / "none.pt")


@pytest.mark.parametrize("name", ["cuda:99", "phone", ""])
def test_a_device_that_is_not_there_is_one_line(name: str) -> None:
    with pytest.raises(InvalidSettingError, match="set auto or cpu") as caught:
        compute_device(name)
    assert "\n" not in str(caught.value)


def test_auto_is_always_there() -> None:
    assert torch.zeros(1, device=compute_device()).sum() == 0
