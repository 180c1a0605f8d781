"""What every training step does. Subclass it, and say how yours is made:

    class TestMine(StepContract):
        def step(self) -> Step:
            return MyStep(MySettings(share=0.5))

A step that trains a super-network is tried on one; one that trains networks overrides `module`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netadapt.search.space import Space
from netadapt.search.task import Samples, Task
from netadapt.search.training import (
    Step,
    StepInput,
    SupernetStep,
    TrainingProgress,
    TrainingSettings,
)
from netadapt.search.training.loop import train

SETTINGS = TrainingSettings(
    steps=4, batch_size=6, warmup_steps=1, checkpoint_every_steps=1, learning_rate=0.05
)


class Interruption(Exception):
    """Raised on cue."""


class StepContract(ABC):
    """A batch in, a loss out: a function of weights, batch and generators, with nothing kept."""

    space: ClassVar[Space]
    """Where the trained modules are of; a small one."""

    @abstractmethod
    def step(self) -> Step:
        """The step, made anew."""

    @abstractmethod
    def task(self) -> Task:
        """Of the space's images; a small one, made anew."""

    def module(self) -> nn.Module:
        """What is trained: a super-network with the same weights each time."""
        return self.space.supernetwork(generator=torch.Generator().manual_seed(0))

    def given(self, module: nn.Module, progress: float, batch: Samples) -> StepInput:
        """As the loop has it."""
        return StepInput(module, self.task(), batch, 0.1, np.random.default_rng(3), progress)

    def learnt(self, progress: float) -> tuple[float, list[Tensor | None]]:
        """A step's loss and its gradients."""
        module, batch = self.module().train(), self.task().train_batch(0, 6)
        before = [tensor.clone() for tensor in batch]
        torch.manual_seed(5)
        loss = self.step()(self.given(module, progress, batch))
        assert loss.shape == ()
        torch.autograd.backward(loss)
        assert all(map(torch.equal, batch, before)), "the batch is left as it was"
        return loss.item(), [parameter.grad for parameter in module.parameters()]

    @pytest.mark.parametrize("progress", [0.0, 0.5, 0.99])
    def test_the_loss_is_finite_and_the_same_again(self, progress: float) -> None:
        (loss, gradients), (again, others) = self.learnt(progress), self.learnt(progress)
        assert np.isfinite(loss)
        assert loss == again
        some = [gradient for gradient in gradients if gradient is not None]
        assert any(bool((gradient != 0).any()) for gradient in some)
        assert all(bool(gradient.isfinite().all()) for gradient in some)
        for one, other in zip(gradients, others, strict=True):
            assert (one is None) == (other is None)
            assert one is None or other is None or torch.equal(one, other)

    def test_it_describes_itself_in_stable_text(self) -> None:
        assert self.step().describe() == self.step().describe()
        assert self.step().describe().isprintable()

    def test_an_interrupted_training_ends_as_one_that_was_not(self, tmp_path: Path) -> None:
        def interrupt(progress: TrainingProgress) -> None:
            if progress.step == 2:
                raise Interruption

        whole, interrupted, resumed = self.module(), self.module(), self.module()
        train(whole, self.task(), SETTINGS, self.step(), seed=1)
        path = tmp_path / "training.pt"
        with pytest.raises(Interruption):
            train(
                interrupted,
                self.task(),
                SETTINGS,
                self.step(),
                seed=1,
                checkpoint=path,
                on_progress=interrupt,
            )
        train(resumed, self.task(), SETTINGS, self.step(), seed=1, checkpoint=path)
        state = resumed.state_dict()
        for name, tensor in whole.state_dict().items():
            assert torch.equal(tensor, state[name]), name

    def test_settings_have_defaults_and_are_frozen(self) -> None:
        step = self.step()
        if isinstance(step, SupernetStep):
            settings = type(step).settings_class
            assert settings.__dataclass_params__.frozen
            assert type(step).of(settings(), self.space).describe()
