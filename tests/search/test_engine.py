"""What a training can be set to beside its steps: held against references, and resumed exactly."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from netadapt.search.errors import InvalidSettingError
from netadapt.search.space import Space
from netadapt.search.tasks.digits import ClutteredDigits
from netadapt.search.tasks.settings import DigitsSettings
from netadapt.search.torchvision_import import import_torchvision
from netadapt.search.training import (
    OrderedDropoutSettings,
    OrderedDropoutStep,
    TrainingProgress,
    TrainingSettings,
    train_network,
    train_supernet,
)
from netadapt.search.training.average import WeightAverage
from netadapt.search.training.compute import check_compiler
from netadapt.search.training.optimizers import RMSpropTF

SETTINGS = TrainingSettings(
    steps=6, batch_size=16, warmup_steps=1, checkpoint_every_steps=2, norm_batches=0
)


@pytest.fixture(scope="module")
def task() -> ClutteredDigits:
    return ClutteredDigits(DigitsSettings(train_images=50))


def without_norms() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 49, 10))


def with_norms() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 49, 10)
    )


def distance(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


class TestRMSprop:
    @pytest.mark.parametrize("weight_decay", [0.0, 1e-2])
    @pytest.mark.parametrize("momentum", [0.0, 0.9])
    def test_it_is_that_of_the_papers_recipes(self, weight_decay: float, momentum: float) -> None:
        import_torchvision()
        from timm.optim import RMSpropTF as Timms

        ours, theirs = without_norms(), without_norms()
        made = (
            RMSpropTF(ours.parameters(), 0.01, momentum=momentum, weight_decay=weight_decay),
            Timms(
                theirs.parameters(), 0.01, 0.9, 1e-3, weight_decay=weight_decay, momentum=momentum
            ),
        )
        generator = torch.Generator().manual_seed(1)
        for _ in range(5):
            images = torch.randn(4, 1, 24, 24, generator=generator)
            for network, optimizer in zip((ours, theirs), made, strict=True):
                optimizer.zero_grad()
                network(images).square().mean().backward()
                optimizer.step()
        assert distance(ours, theirs) < 1e-6
        assert distance(ours, without_norms()) > 1e-3


def test_the_exponential_schedule_is_a_staircase() -> None:
    settings = replace(
        SETTINGS, steps=100, warmup_steps=10, schedule="exponential", decay=0.5, decay_steps=20
    )
    rates = [settings.learning_rate_at(step) / settings.learning_rate for step in range(100)]
    assert rates[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert rates[10:] == [0.5 ** (n // 20) for n in range(90)]


class TestEpochs:
    def test_they_become_steps_of_the_task(self) -> None:
        settings = replace(
            SETTINGS, batch_size=32, epochs=3, warmup_epochs=0.5, decay_epochs=0.25, steps=7
        )
        steps = settings.in_steps(1000)
        assert (steps.steps, steps.warmup_steps, steps.decay_steps) == (94, 16, 8)
        assert steps == steps.in_steps(5)
        assert replace(SETTINGS, epochs=1e-6, warmup_epochs=0).in_steps(10).steps == 1

    def test_a_training_has_so_many(self, task: ClutteredDigits) -> None:
        seen: list[int] = []
        settings = replace(SETTINGS, batch_size=8, epochs=0.25, warmup_epochs=0, norm_batches=0)
        train_network(
            with_norms(), task, settings, seed=0, on_progress=lambda p: seen.append(p.steps)
        )
        assert seen == [round(task.train_images / 32)] * len(seen)
        assert len(seen) == seen[0] > 1

    def test_a_warm_up_that_is_too_long_is_refused(self) -> None:
        settings = replace(SETTINGS, batch_size=10, epochs=1, warmup_epochs=2)
        with pytest.raises(InvalidSettingError, match="got 200 of 100 steps"):
            settings.in_steps(1000)


class TestAccumulation:
    @pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop"])
    def test_four_parts_are_the_whole_batch(self, task: ClutteredDigits, optimizer: str) -> None:
        settings = replace(SETTINGS, optimizer=optimizer, learning_rate=0.01)
        whole, parts = without_norms(), without_norms()
        losses: list[list[float]] = [[], []]
        for network, accumulate, noted in zip((whole, parts), (1, 4), losses, strict=True):
            train_network(
                network,
                task,
                replace(settings, accumulate=accumulate),
                seed=0,
                on_progress=lambda p, noted=noted: noted.append(p.loss),
            )
        assert distance(whole, parts) < 1e-5
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)

    def test_each_image_has_the_arch_that_it_has_in_the_whole_batch(
        self, task: ClutteredDigits
    ) -> None:
        space = Space.load("digits")
        step = OrderedDropoutStep.of(OrderedDropoutSettings("image", ramp=(0, 0)), space)
        seen: dict[int, list[object]] = {1: [], 4: []}
        for accumulate, archs in seen.items():

            class Watched(nn.Module):
                def __init__(self) -> None:
                    super().__init__()
                    self.weight = nn.Parameter(torch.zeros(10))

                def forward(self, images: torch.Tensor, given: list[object]) -> torch.Tensor:
                    archs.extend(given)  # noqa: B023 (called within the loop)
                    return self.weight + torch.zeros(len(images), 1)

            settings = replace(SETTINGS, steps=2, accumulate=accumulate)
            train_supernet(Watched(), task, settings, step, seed=0)
        assert len(seen[1]) == 2 * 16
        assert seen[1] == seen[4]

    def test_parts_are_equal(self) -> None:
        with pytest.raises(InvalidSettingError, match="got 16 images in 3 parts"):
            replace(SETTINGS, accumulate=3)


class TestAverage:
    def test_its_figures(self) -> None:
        module = nn.Linear(1, 1, bias=False)
        nn.init.constant_(module.weight, 0.0)
        average = WeightAverage(module, 0.5)
        expected = 0.0
        for step, value in enumerate((1.0, 3.0, -2.0, 8.0, 8.0)):
            nn.init.constant_(module.weight, value)
            average.update(module, step)
            kept = min(0.5, (1 + step) / (10 + step))
            expected = kept * expected + (1 - kept) * value
        assert average.state["weight"].item() == pytest.approx(expected)
        average.hand_over(module)
        assert module.weight.item() == pytest.approx(expected)

    def test_it_is_what_is_trained(self, task: ClutteredDigits) -> None:
        plain, averaged, by_hand = with_norms(), with_norms(), with_norms()
        train_network(plain, task, SETTINGS, seed=0)
        train_network(averaged, task, replace(SETTINGS, ema=0.9), seed=0)
        average = WeightAverage(by_hand, 0.9)

        def update(progress: TrainingProgress) -> None:
            average.update(by_hand, progress.step - 1)

        train_network(by_hand, task, SETTINGS, seed=0, on_progress=update)
        average.hand_over(by_hand)
        for name, value in averaged.state_dict().items():
            assert torch.equal(value, by_hand.state_dict()[name]), name
        assert distance(plain, averaged) > 1e-4


class Stop(Exception):
    """Raised by a progress callback: the training is cut off here."""


@pytest.mark.parametrize(
    "changed",
    [
        {"ema": 0.9},
        {"optimizer": "rmsprop", "learning_rate": 0.01, "schedule": "exponential"},
        {"accumulate": 2, "precision": "bf16"},
    ],
    ids=lambda changed: "-".join(changed),
)
def test_resumed_it_equals_one_that_was_not_interrupted(
    task: ClutteredDigits, tmp_path: Path, changed: dict[str, object]
) -> None:
    settings = replace(SETTINGS, **changed)  # type: ignore[arg-type]
    unbroken, broken = with_norms(), with_norms()
    train_network(unbroken, task, settings, seed=0)

    def stop(progress: TrainingProgress) -> None:
        if progress.step == 3:
            raise Stop

    path = tmp_path / "state.pt"
    with pytest.raises(Stop):
        train_network(broken, task, settings, seed=0, checkpoint=path, on_progress=stop)
    for again in (with_norms(), with_norms()):  # the second finds it finished
        train_network(again, task, settings, seed=0, checkpoint=path)
        for name, value in again.state_dict().items():
            assert torch.equal(value, unbroken.state_dict()[name]), name


def test_bf16_learns_as_fp32_does(task: ClutteredDigits) -> None:
    losses: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for precision, noted in losses.items():
        network = with_norms()
        settings = replace(SETTINGS, steps=20, precision=precision, learning_rate=0.05)  # type: ignore[arg-type]
        train_network(
            network, task, settings, seed=0, on_progress=lambda p, n=noted: n.append(p.loss)
        )
        assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)
    assert all(map(math.isfinite, losses["bf16"]))


class TestCompiled:
    SETTINGS = replace(SETTINGS, compile=True, steps=4)

    @pytest.mark.slow
    @pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles by g++")
    def test_resumed_it_equals_one_that_was_not_interrupted(
        self, task: ClutteredDigits, tmp_path: Path
    ) -> None:
        def network() -> nn.Module:
            torch.manual_seed(0)
            return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(576, 10))

        whole, interrupted, resumed, plain = (network() for _ in range(4))
        train_network(whole, task, self.SETTINGS, seed=0)
        path = tmp_path / "network.pt"

        def stop(progress: TrainingProgress) -> None:
            if progress.step == 3:
                raise Stop

        with pytest.raises(Stop):
            train_network(
                interrupted, task, self.SETTINGS, seed=0, checkpoint=path, on_progress=stop
            )
        train_network(resumed, task, self.SETTINGS, seed=0, checkpoint=path)
        assert distance(whole, resumed) == 0
        train_network(plain, task, replace(self.SETTINGS, compile=False), seed=0)
        assert distance(whole, plain) > 0, "the compiler's dropout draws other masks"
        assert whole.state_dict().keys() == plain.state_dict().keys()

    def test_without_a_compiler_it_is_one_clear_line(self, task: ClutteredDigits) -> None:
        from torch._inductor import config

        check_compiler.cache_clear()
        with (
            config.patch({"cpp.cxx": ("/nowhere/g++",)}),
            pytest.raises(
                InvalidSettingError, match="install one, or set compile = false"
            ) as caught,
        ):
            train_network(with_norms(), task, self.SETTINGS, seed=0)
        assert "\n" not in str(caught.value)

    def test_a_super_network_is_refused(self, task: ClutteredDigits) -> None:
        space = Space.load("digits")
        step = OrderedDropoutStep.of(OrderedDropoutSettings(), space)
        with pytest.raises(InvalidSettingError, match=r"set it in \[final\] alone"):
            train_supernet(space.supernetwork(), task, self.SETTINGS, step, seed=0)
