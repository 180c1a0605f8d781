"""The exponential moving average of what is trained (EMA): smoother than any step's weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """Of a module's parameters and statistics.

    Parameters
    ----------
    decay: share of the average that a step keeps. The first steps keep less,
        `(1 + step) / (10 + step)`, as TensorFlow's average does: it would hold on to the first
        weights for the length of a short training otherwise.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self.state: dict[str, Tensor] = {
            name: value.detach().clone() for name, value in module.state_dict().items()
        }

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Count the weights behind the `step`-th step in, from 0."""
        new = 1 - min(self._decay, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            kept = self.state[name]
            if kept.is_floating_point():
                kept.lerp_(value.detach(), new)
            else:  # how many batches were counted
                kept.copy_(value)

    def resume(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state` that was saved. Raises `KeyError` for that of another module."""
        for name, value in self.state.items():
            value.copy_(state[name])

    def hand_over(self, module: nn.Module) -> None:
        """Give the average to the module as its weights."""
        module.load_state_dict(self.state)
