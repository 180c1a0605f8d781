"""Optimisers by the names that `TrainingSettings` has for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from netadapt.search.training.settings import TrainingSettings

Groups = list[dict[str, object]]


def make_optimizer(module: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """That of `settings`, for the parameters of `module` that are learnt."""
    return OPTIMIZERS[settings.optimizer](_groups(module, settings), settings)


class RMSpropTF(torch.optim.Optimizer):
    """RMSprop as TensorFlow has it, and thereby the papers' recipes.

    Unlike torch's, epsilon is added before the root is taken, the mean of squares begins at 1, and
    the learning rate is part of what the momentum gathers (tensorflow.keras' RMSprop of 1.x and its
    `ApplyRMSProp`; the tests hold it against timm's). Weight decay is added to the gradient.

    Parameters
    ----------
    alpha: decay of the mean of squares.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        alpha: float = 0.9,
        eps: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "momentum": momentum,
                "weight_decay": weight_decay,
            },
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Follow the gradients once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._follow(parameter, parameter.grad, group)
        return loss

    def _follow(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["square_average"] = torch.ones_like(parameter)
            state["momentum"] = torch.zeros_like(parameter)
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        average, momentum = state["square_average"], state["momentum"]
        average.add_(gradient.square().sub_(average), alpha=1 - group["alpha"])
        root = average.add(group["eps"]).sqrt_()
        momentum.mul_(group["momentum"]).addcdiv_(gradient, root, value=group["lr"])
        parameter.sub_(momentum)


def _groups(module: nn.Module, settings: TrainingSettings) -> Groups:
    parameters = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _adamw(groups: Groups, settings: TrainingSettings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=settings.learning_rate, foreach=True)


def _sgd(groups: Groups, settings: TrainingSettings) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        groups,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
        foreach=True,
    )


def _rmsprop(groups: Groups, settings: TrainingSettings) -> torch.optim.Optimizer:
    return RMSpropTF(groups, settings.learning_rate, momentum=settings.momentum)


OPTIMIZERS: dict[str, Callable[[Groups, TrainingSettings], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "sgd": _sgd,
    "rmsprop": _rmsprop,
}
"""By the name that `TrainingSettings` has for it."""
