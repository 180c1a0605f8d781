"""Where a differentiable search stands, as its log and its pictures have it. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MaskingPoint:
    """Where a search stood after `step` of `steps` steps.

    Parameters
    ----------
    loss: of the architecture's last step, on held-out images.
    costs, budgets, multipliers: by the name of what is counted.
    corrections: what was last measured divided by what had been predicted of it.
    likeliest: the arch of the largest probabilities.
    predicted, measured: what it takes; measured only where it was.
    probabilities: by the dimension's name.
    """

    step: int
    steps: int
    loss: float
    temperature: float
    entropy: float
    costs: Mapping[str, float]
    budgets: Mapping[str, float]
    multipliers: Mapping[str, float]
    corrections: Mapping[str, float]
    likeliest: str
    predicted: Mapping[str, float]
    measured: Mapping[str, float]
    probabilities: Mapping[str, Sequence[float]]
