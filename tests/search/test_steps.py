"""What a training learns in a step: each kind against its own arithmetic, and through the loop."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netadapt.android_runner.errors import PluginError
from netadapt.search.archs import larger, smallest
from netadapt.search.errors import CheckpointError, InvalidSettingError
from netadapt.search.network import build_network
from netadapt.search.ordered_dropout import OrderedDropout
from netadapt.search.space import Arch, Dimension, Space
from netadapt.search.supernet import SuperNetwork
from netadapt.search.task import Samples, Task
from netadapt.search.tasks.digits import ClutteredDigits
from netadapt.search.tasks.settings import Clutter, DigitsSettings
from netadapt.search.training import (
    STEPS,
    DistillationSettings,
    DistillationStep,
    OrderedDropoutSettings,
    OrderedDropoutStep,
    PlainStep,
    SandwichSettings,
    SandwichStep,
    Step,
    StepInput,
    SupernetStep,
    TrainingProgress,
    TrainingSettings,
    train_network,
    train_supernet,
)
from netadapt.search.training.checkpoint import FORMER
from netadapt.search.training.distillation import LargestTeacher, NetworkTeacher
from tests.contracts.step import StepContract
from tests.search.test_training import Stop, assert_same_weights, stop_after, toy_network

TOY = Path(__file__).parents[1] / "netadapt" / "toy" / "space.toml"
SPACE = Space.load(str(TOY))
SETTINGS = TrainingSettings(
    steps=6, batch_size=8, warmup_steps=2, checkpoint_every_steps=2, norm_batches=2
)
ALL_AT_ONCE = OrderedDropoutSettings(ramp=(0.0, 0.0))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def task() -> ClutteredDigits:
    return ClutteredDigits(DigitsSettings(train_images=50))


def supernet() -> SuperNetwork:
    return SPACE.supernetwork(generator=torch.Generator().manual_seed(0))


def given(module: nn.Module, task: ClutteredDigits, batch: Samples) -> StepInput:
    return StepInput(module, task, batch, 0.0, np.random.default_rng(0), 0.5)


def former_training(
    module: nn.Module,
    outputs: Callable[[Tensor, np.random.Generator, float], Tensor],
    task: ClutteredDigits,
    settings: TrainingSettings,
    seed: int,
) -> None:
    """The training of 0.1 as it was written there, without checkpoints."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    parameters = list(module.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    rate = settings.learning_rate
    optimizer: torch.optim.Optimizer = (
        torch.optim.AdamW(groups, lr=rate, foreach=True)
        if settings.optimizer == "adamw"
        else torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True, foreach=True)
    )
    module.train()
    for step in range(settings.steps):
        rng = np.random.default_rng((seed, step))
        batch = task.train_batch(step, settings.batch_size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            images = batch.images.to(memory_format=torch.channels_last)
            given = outputs(images, rng, step / settings.steps)
        loss = torch.nn.functional.cross_entropy(
            given, batch.targets, label_smoothing=settings.label_smoothing
        )
        if step < settings.warmup_steps:
            now = rate * (step + 1) / settings.warmup_steps
        else:
            done = (step - settings.warmup_steps) / (settings.steps - settings.warmup_steps)
            now = rate * 0.5 * (1 + math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = now
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("kernel_per", ["image", "step"])
def test_ordered_dropout_ends_with_the_former_weights(
    task: ClutteredDigits, optimizer: Any, kernel_per: Any
) -> None:
    settings = replace(SETTINGS, optimizer=optimizer, learning_rate=0.01, label_smoothing=0.1)
    sampler = OrderedDropout(SPACE, OrderedDropoutSettings(kernel_per))
    now, former = supernet(), supernet()
    train_supernet(now, task, settings, OrderedDropoutStep(sampler), seed=3)
    former_training(
        former, lambda x, rng, p: former(x, sampler(len(x), rng, p)), task, settings, seed=3
    )
    assert_same_weights(now, former)


def test_a_plain_training_ends_with_the_former_weights(task: ClutteredDigits) -> None:
    settings = replace(SETTINGS, learning_rate=0.05, norm_batches=0)
    now, former = toy_network(), toy_network()  # with dropout
    train_network(now, task, settings, seed=3)
    former_training(former, lambda x, *_: former(x), task, settings, seed=3)
    assert_same_weights(now, former.eval())


def linear(seed: int, inputs: int = 6) -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 4, bias=False).double())
    generator = torch.Generator().manual_seed(seed)
    nn.init.normal_(network[1].weight, generator=generator)
    return network


def tiny_batch(images: int = 5, inputs: int = 6) -> Samples:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(images, 1, 1, inputs, dtype=torch.float64, generator=generator)
    return Samples(x, torch.arange(images) % 4)


def softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))


@pytest.mark.parametrize(("weight", "temperature"), [(0.0, 1.0), (0.3, 4.0), (1.0, 2.0)])
def test_distillations_gradient_is_the_one_on_paper(
    task: ClutteredDigits, weight: float, temperature: float
) -> None:
    student, teacher, batch = linear(0), linear(1), tiny_batch()
    settings = DistillationSettings(weight, temperature)
    loss = DistillationStep(PlainStep(), NetworkTeacher(teacher), settings)(
        given(student, task, batch)
    )
    torch.autograd.backward(loss)
    x = batch.images.flatten(1).numpy()
    logits, taught = (x @ n[1].weight.detach().numpy().T for n in (student, teacher))
    labels = np.eye(4)[batch.targets.numpy()]
    from_labels = softmax(logits) - labels
    from_teacher = temperature * (softmax(logits / temperature) - softmax(taught / temperature))
    expected = ((1 - weight) * from_labels + weight * from_teacher).T @ x / len(x)
    np.testing.assert_allclose(student[1].weight.grad.numpy(), expected, rtol=1e-9, atol=1e-12)
    assert teacher[1].weight.grad is None


class FewInputs(nn.Module):
    """A super-network of one layer; an arch is how many inputs it uses."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = linear(0)[1]

    def forward(self, x: Tensor, inputs: int) -> Tensor:
        weight: Tensor = self.layer.weight  # type: ignore[assignment]
        return x.flatten(1)[:, :inputs] @ weight[:, :inputs].T


class FewInputsSpace:
    """As much of a space as the sandwich rule asks for."""

    dimensions = (Dimension("inputs", (2, 3, 4, 5, 6)),)

    def full(self) -> int:
        return 6

    def smaller(self, arch: int, dimension: Dimension) -> tuple[int, ...]:
        return tuple(v for v in reversed(dimension.values) if v < arch)

    def random(self, rng: np.random.Generator) -> int:
        return int(rng.integers(2, 7))


@pytest.mark.parametrize("distil", [True, False])
def test_the_sandwichs_gradient_is_the_one_on_paper(task: ClutteredDigits, distil: bool) -> None:
    module, batch = FewInputs(), tiny_batch()
    space: Any = FewInputsSpace()
    step = SandwichStep.of(SandwichSettings(random=2, distil=distil), space)
    torch.autograd.backward(step(given(module, task, batch)))
    rng = np.random.default_rng(0)
    widths = [6, 2, *(space.random(rng) for _ in range(2))]
    x, weight = batch.images.flatten(1).numpy(), module.layer.weight.detach().numpy()
    labels = np.eye(4)[batch.targets.numpy()]
    largest = softmax(x @ weight.T)
    expected = np.zeros_like(weight)
    for number, width in enumerate(widths):
        wanted = largest if number and distil else labels
        error = softmax(x[:, :width] @ weight[:, :width].T) - wanted
        expected[:, :width] += error.T @ x[:, :width] / len(x) / len(widths)
    found = module.layer.weight.grad
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_a_sandwich_in_a_space_of_blocks_is_the_mean_of_its_networks(task: ClutteredDigits) -> None:
    batch = task.train_batch(0, 8)
    module, settings = supernet().train(), SandwichSettings(random=1)
    torch.autograd.backward(SandwichStep.of(settings, SPACE)(given(module, task, batch)))
    alone = supernet().train()
    archs = [SPACE.full(), smallest(SPACE), SPACE.random(np.random.default_rng(0))]
    taught = alone(batch.images, archs[0]).detach().softmax(1)
    losses = [
        torch.nn.functional.cross_entropy(
            alone(batch.images, arch), taught if number else batch.targets
        )
        for number, arch in enumerate(archs)
    ]
    torch.autograd.backward(sum(losses[1:], losses[0]) / 3)
    for (name, parameter), other in zip(module.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, msg=name)


def steps() -> dict[str, SupernetStep]:
    return {
        "ordered_dropout": OrderedDropoutStep.of(ALL_AT_ONCE, SPACE),
        "distillation": DistillationStep.of(DistillationSettings(0.5, 2.0, ALL_AT_ONCE), SPACE),
        "sandwich": SandwichStep.of(SandwichSettings(), SPACE),
    }


class HouseStep(StepContract):
    space = SPACE
    name: ClassVar[str]

    def step(self) -> Step:
        return steps()[self.name]

    def task(self) -> Task:
        return ClutteredDigits(DigitsSettings(train_images=50))


class TestOrderedDropout(HouseStep):
    name = "ordered_dropout"


class TestDistillation(HouseStep):
    name = "distillation"


class TestSandwich(HouseStep):
    name = "sandwich"


class TestPlain(HouseStep):
    def step(self) -> Step:
        return PlainStep()

    def module(self) -> nn.Module:
        return toy_network()


def test_an_interrupted_distillation_from_a_network_ends_as_one_that_was_not(
    task: ClutteredDigits, tmp_path: Path
) -> None:
    teacher = build_network(SPACE, SPACE.full(), generator=torch.Generator().manual_seed(1))
    before = copy.deepcopy(teacher)
    step = DistillationStep(PlainStep(), NetworkTeacher(teacher), DistillationSettings(0.7, 3.0))
    path = tmp_path / "network.pt"
    whole, interrupted, resumed = toy_network(), toy_network(), toy_network()
    train_network(whole, task, SETTINGS, step, seed=0)
    with pytest.raises(Stop):
        train_network(
            interrupted,
            task,
            SETTINGS,
            step,
            seed=0,
            checkpoint=path,
            on_progress=stop_after(3),
        )
    train_network(resumed, task, SETTINGS, step, seed=0, checkpoint=path)
    assert_same_weights(whole, resumed)
    assert_same_weights(teacher, before)
    assert teacher.training, "left as it was"
    other = build_network(SPACE, SPACE.full(), generator=torch.Generator().manual_seed(2))
    another = DistillationStep(PlainStep(), NetworkTeacher(other), step.settings)
    with pytest.raises(CheckpointError, match="differs in step"):
        train_network(toy_network(), task, SETTINGS, another, seed=0, checkpoint=path)


@pytest.mark.parametrize(
    "step",
    [
        DistillationStep.of(DistillationSettings(), SPACE),
        SandwichStep.of(SandwichSettings(), SPACE),
    ],
    ids=["distillation", "sandwich"],
)
def test_losses_fall(step: SupernetStep) -> None:
    easy = ClutteredDigits(
        DigitsSettings(clutter=Clutter(rotation_deg=0, min_size_px=16, distractors=0, noise=0.1))
    )
    settings = TrainingSettings(
        steps=100, batch_size=32, optimizer="adamw", warmup_steps=5, learning_rate=0.03
    )
    losses: list[float] = []

    def note(progress: TrainingProgress) -> None:
        losses.append(progress.loss)

    module = supernet()
    batch = next(easy.validation(500))
    chance = math.log(10)
    train_supernet(module, easy, settings, step, seed=0, on_progress=note)
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])
    module.train()  # the batch's own statistics
    for arch in (SPACE.full(), smallest(SPACE)):
        assert easy.loss(module(batch.images, arch), batch.targets) < 0.95 * chance


def test_a_largest_teacher_needs_no_gradient(task: ClutteredDigits) -> None:
    module, batch = supernet().train(), task.train_batch(0, 4)
    taught = LargestTeacher(SPACE)(given(module, task, batch))
    assert not taught.requires_grad
    torch.testing.assert_close(taught, supernet().train()(batch.images, SPACE.full()).detach())


class FirstImageOnly(SupernetStep):
    """Somebody else's step, as a run file names it."""

    settings_class: ClassVar[type] = SandwichSettings

    @classmethod
    def of(cls, settings: Any, space: Space) -> Self:
        made = cls()
        made.full = space.full()
        return made

    full: Arch

    def __call__(self, given: StepInput, /) -> Tensor:
        outputs = given.module(given.batch.images, self.full)
        return given.task.loss(outputs[:1], given.batch.targets[:1])

    def describe(self) -> str:
        return "first image only"


def test_a_step_is_found_by_its_name_or_by_its_place(task: ClutteredDigits) -> None:
    for name, step in steps().items():
        assert STEPS.find(name) is type(step)
        assert STEPS.settings_class(name) is STEPS.find(name).settings_class
        assert STEPS.find(name).of(STEPS.settings_class(name)(), SPACE).describe() != ""
    place = f"{__name__}:FirstImageOnly"
    assert STEPS.settings_class(place) is SandwichSettings
    module = supernet()
    own = STEPS.find(place).of(SandwichSettings(), SPACE)
    train_supernet(module, task, SETTINGS, own, seed=0)
    with pytest.raises(AssertionError):
        assert_same_weights(module, supernet())
    with pytest.raises(PluginError, match="one of distillation, ordered_dropout, sandwich"):
        STEPS.find("dropout")
    descriptions = {step.describe() for step in (*steps().values(), own, PlainStep())}
    assert len(descriptions) == 5


def test_a_checkpoint_of_another_step_is_refused(task: ClutteredDigits, tmp_path: Path) -> None:
    path = tmp_path / "supernet.pt"
    train_supernet(supernet(), task, SETTINGS, steps()["sandwich"], seed=0, checkpoint=path)
    for other in (steps()["distillation"], SandwichStep.of(SandwichSettings(3), SPACE)):
        with pytest.raises(CheckpointError, match="differs in step; restore"):
            train_supernet(supernet(), task, SETTINGS, other, seed=0, checkpoint=path)


def test_a_checkpoint_of_the_first_version_is_resumed(
    task: ClutteredDigits, tmp_path: Path
) -> None:
    """0.1 wrote down neither the step nor how the learning rate falls, nor at first the time."""
    step, path = steps()["ordered_dropout"], tmp_path / "supernet.pt"
    whole, interrupted, resumed = supernet(), supernet(), supernet()
    train_supernet(whole, task, SETTINGS, step, seed=5)
    with pytest.raises(Stop):
        train_supernet(
            interrupted,
            task,
            SETTINGS,
            step,
            seed=5,
            checkpoint=path,
            on_progress=stop_after(4),
        )
    state = torch.load(path, weights_only=True)
    found = {k: v for k, v in state["fingerprint"].items() if k not in FORMER}
    assert found == {
        "task": "digits",
        "task_seed": 0,
        "steps": 6,
        "batch_size": 8,
        "optimizer": "sgd",
        "learning_rate": 0.2,
        "warmup_steps": 2,
        "weight_decay": 1e-4,
        "momentum": 0.9,
        "label_smoothing": 0.0,
        "norm_batches": 0,
        "channels_last": True,
        "checkpoint_every_steps": 1,
        "seed": 5,
    }
    del state["seconds"]
    torch.save(state | {"fingerprint": found}, path)
    reported: list[int] = []
    linearly = replace(SETTINGS, schedule="linear")
    with pytest.raises(CheckpointError, match="differs in schedule; restore"):
        train_supernet(supernet(), task, linearly, step, seed=5, checkpoint=path)
    train_supernet(
        resumed,
        task,
        SETTINGS,
        step,
        seed=5,
        checkpoint=path,
        on_progress=lambda p: reported.append(p.step),
    )
    assert reported == [5, 6]
    assert_same_weights(whole, resumed)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DistillationSettings(weight=1.5),
        lambda: DistillationSettings(temperature=0.0),
        lambda: SandwichSettings(random=-1),
        lambda: OrderedDropoutSettings(ramp=(0.5, 0.2)),
        lambda: OrderedDropoutSettings(ramp=(0.5,)),  # type: ignore[arg-type]
    ],
)
def test_impossible_settings_are_one_clear_line(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidSettingError) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_the_smallest_arch_and_larger_ones() -> None:
    least = smallest(SPACE)
    SPACE.validate(least)
    assert not any(SPACE.smaller(least, dimension) for dimension in SPACE.dimensions)
    for dimension in SPACE.dimensions:
        for arch in larger(SPACE, least, dimension):
            assert least in SPACE.smaller(arch, dimension)
    assert [larger(SPACE, SPACE.full(), d) for d in SPACE.dimensions] == [()] * len(
        SPACE.dimensions
    )
