"""The differentiable search: its costs are the predictor's, its training resumes to the bit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.equivalence import archs as peculiar_archs
from netadapt.predictor import LatencyPredictor
from netadapt.predictor.errors import MissingKernelTypeError
from netadapt.search.dmasking.architecture import Architecture
from netadapt.search.dmasking.cost import ExpectedCost, counted, latency
from netadapt.search.dmasking.drawn import DrawnArchs
from netadapt.search.dmasking.points import MaskingPoint
from netadapt.search.dmasking.settings import DMaskingSettings
from netadapt.search.dmasking.training import Goal, MaskedSearch, learn
from netadapt.search.driver import run_search
from netadapt.search.errors import (
    CheckpointError,
    ImpossibleBudgetError,
    InvalidSettingError,
    TrainingDivergedError,
)
from netadapt.search.landing import Search
from netadapt.search.metrics import Constraint, LatencyMetric
from netadapt.search.mixture import Distribution, one_hot
from netadapt.search.space import Arch, Space
from netadapt.search.tasks.digits import ClutteredDigits
from netadapt.search.tasks.settings import DigitsSettings
from netadapt.search.training import TrainingProgress, TrainingSettings
from tests.predictor import made_up_device as device

TRAINING = TrainingSettings(
    steps=24, batch_size=8, warmup_steps=2, learning_rate=0.05, checkpoint_every_steps=5
)
SETTINGS = DMaskingSettings(weight_steps=2, frozen=0.25, measure_epochs=1.0)
"""18 steps with the architecture, 9 of them its own; an epoch is 6."""


@pytest.fixture(scope="module")
def space() -> Space:
    return Space.load(Path(__file__).parents[1] / "netadapt" / "toy" / "sizes_space.toml")


@pytest.fixture(scope="module")
def task() -> ClutteredDigits:
    return ClutteredDigits(DigitsSettings(train_images=48, validation_images=20))


def new_search(space: Space, goals: int = 1) -> MaskedSearch:
    return MaskedSearch(space.supernetwork(generator=torch.Generator().manual_seed(0)), goals)


def half_macs(space: Space, measure: Callable[[Arch], float] | None = None) -> Goal:
    return Goal(counted(space, "macs"), space.macs(space.reference()) / 2, measure)


def uniform(space: Space) -> dict[str, torch.Tensor]:
    return Architecture(space).probabilities()


# Numbers


def test_masks_are_the_sum_of_the_choices() -> None:
    widths = Distribution((0, 8, 16), torch.tensor([0.5, 0.3, 0.2]))
    mask = widths.mask(16)
    assert torch.allclose(mask[:8], torch.tensor(0.5))
    assert torch.allclose(mask[8:], torch.tensor(0.2))
    assert float(widths.mean()) == pytest.approx(5.6)


@pytest.mark.parametrize("shares", [(1, 0, 0), (0, 0, 1), (0.25, 0.5, 0.25), (0.2, 0.1, 0.7)])
def test_an_effective_shape_keeps_the_mean_between_two_neighbours(
    shares: tuple[float, ...],
) -> None:
    number = Distribution((8, 16, 32), torch.tensor(shares, dtype=torch.float64))
    sharp = number.sharpened()
    assert float(sharp.mean()) == pytest.approx(float(number.mean()))
    assert float(sharp.probabilities.sum()) == pytest.approx(1)
    assert sum(p > 0 for p in sharp.probabilities.tolist()) <= 2


# Costs


@pytest.fixture(scope="module")
def predictor() -> LatencyPredictor:
    """Fitted to kernels of the digits space and a few of its networks."""
    digits, rng = Space.load("digits"), np.random.default_rng(0)
    networks = [digits.kernels(digits.random(rng)) for _ in range(30)]
    singles = sorted({k for kernels in networks for k in kernels}, key=lambda kernel: kernel.key)
    return LatencyPredictor().fit(device.table(device.rows(rng, singles, (), networks[:8])))


@pytest.mark.parametrize("effective", [False, True])
def test_of_one_arch_a_cost_is_what_the_predictor_says(
    predictor: LatencyPredictor, effective: bool
) -> None:
    space = Space.load("digits")
    cost = latency(space, predictor, effective=effective)
    many = peculiar_archs(space, seed=3)  # type: ignore[arg-type]
    archs = [next(many) for _ in range(50)]
    archs += [space.random(np.random.default_rng(seed)) for seed in range(50)]
    expected = predictor.predict_networks([space.kernels(arch) for arch in archs])
    assert predictor.correction_.samples > 0
    for arch, ms in zip(archs, expected, strict=True):
        assert cost(one_hot(space, arch)).item() == pytest.approx(ms, rel=1e-6)
        for name in ("macs", "params"):
            count = counted(space, name, effective=effective)(one_hot(space, arch)).item()
            assert count == pytest.approx(getattr(space, name)(arch), rel=1e-6)


@pytest.mark.parametrize("effective", [False, True])
def test_a_costs_gradient_is_that_of_finite_differences(
    predictor: LatencyPredictor, space: Space, effective: bool
) -> None:
    cost = latency(space, predictor, effective=effective)
    assert_gradient(space, lambda architecture: cost(architecture.probabilities()))


@pytest.mark.parametrize("objective", ["budget", "product"])
def test_the_losses_gradient_is_that_of_finite_differences(space: Space, objective: str) -> None:
    supernet = space.supernetwork(generator=torch.Generator().manual_seed(0)).double().eval()
    images = torch.randn(4, *space.input_shape[1:], dtype=torch.float64)
    targets = torch.tensor([0, 3, 5, 1])
    goal = counted(space, "macs")

    def loss(architecture: Architecture) -> torch.Tensor:
        mixture = architecture.drawn(np.random.default_rng(5), 2.0)
        own = torch.nn.functional.cross_entropy(supernet.mixed(images, mixture), targets)
        log_cost = torch.log(goal(architecture.probabilities()))
        return own * log_cost**0.6 if objective == "product" else own + 0.7 * log_cost

    assert_gradient(space, loss)


def assert_gradient(space: Space, function: Callable[[Architecture], torch.Tensor]) -> None:
    """Along some directions of all logits together, within 1e-3."""
    generator = torch.Generator().manual_seed(0)
    architecture = Architecture(space).double()
    with torch.no_grad():
        for logits in architecture.logits:
            logits.normal_(generator=generator)
    gradients = torch.autograd.grad(function(architecture), tuple(architecture.logits))
    for _ in range(5):
        ways = [torch.randn(g.shape, generator=generator, dtype=g.dtype) for g in gradients]
        expected = sum(float(g @ way) for g, way in zip(gradients, ways, strict=True))
        ends = []
        for size in (1e-4, -1e-4):
            with torch.no_grad():
                moved = Architecture(space).double()
                for logits, base, way in zip(moved.logits, architecture.logits, ways, strict=True):
                    logits.copy_(base + size * way)
                ends.append(function(moved).item())
        assert (ends[0] - ends[1]) / 2e-4 == pytest.approx(expected, rel=1e-3, abs=1e-7)


def test_a_kernel_that_the_predictor_does_not_know_is_named(
    predictor: LatencyPredictor, space: Space
) -> None:
    known = LatencyPredictor()
    known.__dict__ |= predictor.__dict__
    known.models_ = {k: m for k, m in predictor.models_.items() if k != "depthwise_conv"}
    known.own_ms_ = {}
    with pytest.raises(MissingKernelTypeError, match="depthwise_conv"):
        latency(space, known)(uniform(space))


# The architecture


def test_draws_go_by_the_probabilities(space: Space) -> None:
    architecture = Architecture(space)
    dimension = space.dimensions[0]
    with torch.no_grad():
        architecture.logits[0][-1] = math.log(3 * (len(dimension.values) - 1))
    assert float(architecture.probabilities()[dimension.name][-1]) == pytest.approx(0.75)
    rng = np.random.default_rng(0)
    drawn = [
        torch.stack([m[dimension.name][-1] for m in [architecture.drawn(rng, 1e-4)]]).item()
        for _ in range(800)
    ]
    assert np.mean(drawn) == pytest.approx(0.75, abs=0.05)
    archs = architecture.draws(rng, 200)
    assert archs[0] == architecture.likeliest() == space.full()  # of equal ones the largest
    assert len(set(archs)) == len(archs) > 20


def test_a_low_temperature_is_one_arch_and_a_high_one_all(space: Space) -> None:
    architecture = Architecture(space)
    for temperature, least, most in ((1e-4, 0.999, 1.0), (1e4, 0.0, 0.6)):
        mixture = architecture.drawn(np.random.default_rng(1), temperature)
        largest = [float(p.max()) for p in mixture.values()]
        assert all(least <= p <= most for p in largest)
    settings = DMaskingSettings()
    assert settings.temperature_at(0.0) == 5.0
    assert settings.temperature_at(1.0) == pytest.approx(0.1)
    assert architecture.entropy() == pytest.approx(1)


def test_a_logit_that_is_no_number_is_named(space: Space) -> None:
    architecture = Architecture(space)
    with torch.no_grad():
        architecture.logits[1][0] = math.nan
    with pytest.raises(TrainingDivergedError, match=space.dimensions[1].name):
        architecture.check()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"temperature": 0.05}, "a temperature falls"),
        ({"frozen": 1.0}, "frozen"),
        ({"weight_steps": 0}, "weight_steps"),
        ({"objective": "hope"}, "objective"),
        ({"cost": "guess"}, "cost"),
        ({"aim": 1.2}, "aim"),
    ],
)
def test_settings_that_make_no_sense_are_one_line(changed: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidSettingError, match=said) as caught:
        DMaskingSettings(**changed)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


# The training


class Stop(Exception):
    """Raised by a progress callback: the training is cut off here."""


@pytest.mark.parametrize("stops", [(3,), (7, 13), (21,)])
def test_resumed_it_ends_as_unbroken(
    space: Space, task: ClutteredDigits, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    measured: list[str] = []

    def measure(arch: Arch) -> float:
        measured.append(arch.to_json())
        return 1.1 * space.macs(arch)

    def train(search: MaskedSearch, checkpoint: Path, stop: int | None) -> list[MaskingPoint]:
        points: list[MaskingPoint] = []

        def progress(now: TrainingProgress) -> None:
            if now.step == stop:
                raise Stop

        goals = [half_macs(space, measure)]
        learn(
            search, task, TRAINING, SETTINGS, goals, seed=3,
            checkpoint=checkpoint, on_progress=progress, on_point=points.append,
        )  # fmt: skip
        return points

    whole = new_search(space)
    points = train(whole, tmp_path / "whole.pt", None)
    assert measured
    assert points[-1].corrections["macs"] == pytest.approx(1.1)
    for stop in (*stops, None):
        broken = new_search(space)
        try:
            last = train(broken, tmp_path / "broken.pt", stop)
        except Stop:
            continue
    state = broken.state_dict()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert last[-1] == points[-1]


def test_weights_alone_first_then_a_goal_of_its_own(
    space: Space, task: ClutteredDigits, tmp_path: Path
) -> None:
    """As a run does it: what is common to all budgets, then each."""
    common, whole, after = new_search(space), new_search(space), new_search(space)
    frozen = SETTINGS.frozen_steps(TRAINING.steps)
    learn(common, task, TRAINING, SETTINGS, (), seed=3, until=frozen, checkpoint=tmp_path / "c.pt")
    assert all(not bool(logits.any()) for logits in common.architecture.logits)
    goals = [half_macs(space)]
    learn(whole, task, TRAINING, SETTINGS, goals, seed=3)
    learn(after, task, TRAINING, SETTINGS, goals, seed=3, after=(tmp_path / "c.pt", ()))
    state = after.state_dict()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert any(bool(logits.any()) for logits in after.architecture.logits)
    other = [Goal(counted(space, "params"), 1000.0)]
    learn(after, task, TRAINING, SETTINGS, goals, seed=3, checkpoint=tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="budgets"):
        learn(after, task, TRAINING, SETTINGS, other, seed=3, checkpoint=tmp_path / "a.pt")


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_the_cost_comes_to_its_budget(space: Space, task: ClutteredDigits, share: float) -> None:
    search = new_search(space)
    cost = counted(space, "macs")
    budget = share * space.macs(space.full())
    training = TrainingSettings(steps=200, batch_size=8, warmup_steps=2, learning_rate=0.02)
    settings = DMaskingSettings(weight_steps=1, measure_epochs=0.0)
    learn(search, task, training, settings, [Goal(cost, budget)], seed=0)
    with torch.no_grad():
        assert cost(search.architecture.probabilities()).item() <= 1.1 * budget


def test_ema_is_refused_in_one_line(space: Space, task: ClutteredDigits) -> None:
    with pytest.raises(InvalidSettingError, match="ema = 0"):
        learn(new_search(space), task, TrainingSettings(ema=0.9), SETTINGS, (), seed=0)


def test_a_loss_that_is_no_number_ends_it(space: Space, task: ClutteredDigits) -> None:
    def nothing(kernels: object) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.full((len(kernels), 1), math.nan)  # type: ignore[arg-type]

    goal = Goal(ExpectedCost(space, "macs", nothing), 1.0)
    with pytest.raises(TrainingDivergedError, match="nan"):
        learn(new_search(space), task, TRAINING, SETTINGS, [goal], seed=0)


# What it proposes


def test_what_was_learnt_lands_at_its_budget(predictor: LatencyPredictor) -> None:
    space = Space.load("digits")
    architecture = Architecture(space)
    metric = LatencyMetric(space, predictor.predict_networks)
    (reference_ms,) = metric([space.reference()])
    searcher = DrawnArchs(space, architecture, DMaskingSettings(candidates=4, draws=64))
    search = Search(searcher, [Constraint(metric, 0.5 * reference_ms)], seed=0)

    def measure(archs: object) -> list[float]:
        return [1.03 * ms for ms in predictor.predict_networks([space.kernels(a) for a in archs])]  # type: ignore[attr-defined]

    result = run_search(search, lambda archs: [float(len(a.to_json())) for a in archs], measure)
    assert result.measured_ms is not None
    assert 0.95 <= result.measured_ms / (0.5 * reference_ms) <= 1
    assert result.evaluations >= 4
    with pytest.raises(ImpossibleBudgetError):
        run_search(
            Search(searcher, [Constraint(metric, 1e-6 * reference_ms)], seed=0),
            lambda archs: [0.0 for _ in archs],
        )


def test_points_are_json(space: Space, task: ClutteredDigits) -> None:
    points: list[MaskingPoint] = []
    learn(
        new_search(space), task, TRAINING, SETTINGS, [half_macs(space)],
        seed=0, on_point=points.append,
    )  # fmt: skip
    steps = [point.step for point in points]
    assert steps == sorted(set(steps))
    assert steps[-1] == TRAINING.steps
    for point in points:
        assert space.arch_from_json(point.likeliest)
        assert json.loads(json.dumps(point.probabilities)).keys() == uniform(space).keys()
        assert point.measured == {}
