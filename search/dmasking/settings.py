"""What a differentiable search can be set to. No torch here: a run file is read without it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval

from netadapt.android_runner.bounds import check_bounds
from netadapt.search.errors import InvalidSettingError

Objective = Literal["budget", "product"]
CostShape = Literal["expected", "effective"]


@dataclass(frozen=True, slots=True)
class DMaskingSettings:
    """How the architecture is learnt beside the super-network's weights.

    The papers' own values that are not stated anywhere at hand are FBNet V1's (assumptions).

    Parameters
    ----------
    learning_rate, weight_decay: of the architecture's logits, by Adam.
    weight_steps: steps of the weights before each of the architecture's; 4 are 80 : 20 (FBNetV2
        section 4.1: weights on 80 % of the images, the architecture on the rest).
    frozen: share of the training in which weights alone are learnt, of archs drawn uniformly.
    temperature, last_temperature: of the Gumbel-softmax at the first and at the last step; in
        between it falls exponentially. 5 times exp(-0.045) an epoch is 0.087 after 90.
    objective: "budget" lands at the run's budgets, by a Lagrange multiplier on log(cost / budget)
        (ours); "product" is the published CE * alpha * log(cost)^beta, which knows no budget: what
        is proposed in the end meets it all the same.
    alpha, beta: of the product; its cost is in microseconds, or what a network is counted in.
    cost: "expected" is the mean of the networks' costs, "effective" the cost of the network of mean
        widths (FBNetV2 section 3.3).
    aim: share of a budget that the cost is brought to.
    penalty: how hard a cost above its aim is pressed, beside the multiplier.
    multiplier_rate: how fast the multiplier follows log(cost / aim), a step of the architecture.
    measure_epochs: after how many epochs of the training images the likeliest network is measured,
        which corrects the cost from then on; 0: never.
    candidates: networks of what was learnt that are scored in the end.
    draws: archs drawn to find those that use the budget.

    Raises `InvalidSettingError`.
    """

    learning_rate: Annotated[float, Gt(0)] = 0.3
    weight_decay: Annotated[float, Ge(0)] = 5e-4
    weight_steps: Annotated[int, Interval(ge=1, le=1_000)] = 4
    frozen: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    temperature: Annotated[float, Gt(0)] = 5.0
    last_temperature: Annotated[float, Gt(0)] = 0.1
    objective: Objective = "budget"
    alpha: Annotated[float, Gt(0)] = 0.2
    beta: Annotated[float, Gt(0)] = 0.6
    cost: CostShape = "expected"
    aim: Annotated[float, Interval(gt=0, le=1)] = 0.975
    penalty: Annotated[float, Ge(0)] = 2.0
    multiplier_rate: Annotated[float, Ge(0)] = 0.05
    measure_epochs: Annotated[float, Interval(ge=0, le=1_000_000)] = 1.0
    candidates: Annotated[int, Interval(ge=1, le=100_000)] = 16
    draws: Annotated[int, Interval(ge=1, le=1_000_000)] = 1024

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)
        if self.last_temperature > self.temperature:
            raise InvalidSettingError(
                f"a temperature falls, got {self.temperature} to {self.last_temperature}; "
                "the defaults are 5 and 0.1"
            )

    def temperature_at(self, progress: float) -> float:
        """Of the Gumbel-softmax at a training's `progress`, 0 to 1."""
        return self.temperature * math.pow(self.last_temperature / self.temperature, progress)

    def frozen_steps(self, steps: int) -> int:
        """Of a training's `steps` those in which the architecture is left alone."""
        return round(self.frozen * steps)
