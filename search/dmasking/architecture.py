"""What is learnt of a space: one vector of logits for each of its dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from netadapt.search.errors import TrainingDivergedError

if TYPE_CHECKING:
    from netadapt.search.space import Arch, Space

SMALLEST = 1e-20
"""Uniform draws are no smaller, so that their logarithms are finite."""


class Architecture(nn.Module):
    """A distribution over the archs of `space`, its dimensions independent; uniform at first."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space
        self.logits = nn.ParameterList(torch.zeros(len(d.values)) for d in space.dimensions)

    def probabilities(self) -> dict[str, Tensor]:
        """By the dimension's name those of its values, `(values,)`; differentiable."""
        return {
            dimension.name: torch.softmax(logits, 0)
            for dimension, logits in zip(self.space.dimensions, self.logits, strict=True)
        }

    def drawn(self, rng: np.random.Generator, temperature: float) -> dict[str, Tensor]:
        """A mixture by the Gumbel-softmax (Jang et al. 2017); differentiable in the logits.

        The lower the temperature, the nearer it is to one arch drawn by `probabilities`.
        """
        found = {}
        for dimension, logits in zip(self.space.dimensions, self.logits, strict=True):
            uniform = np.maximum(rng.random(len(dimension.values)), SMALLEST)
            noise = torch.from_numpy(-np.log(-np.log(uniform))).to(logits)
            found[dimension.name] = torch.softmax((logits + noise) / temperature, 0)
        return found

    def likeliest(self) -> Arch:
        """The arch of the largest logits, of equal ones the largest values."""
        values = [
            max(v for v, logit in zip(dimension.values, each, strict=True) if logit == max(each))
            for dimension, each in zip(self.space.dimensions, self._numbers(), strict=True)
        ]
        return self.space.point(values)

    def draws(self, rng: np.random.Generator, count: int) -> list[Arch]:
        """`count` archs by `probabilities`, the likeliest first among those that are different."""
        logits = [np.array(each) for each in self._numbers()]
        noise = [rng.gumbel(size=(count, len(each))) for each in logits]
        places = np.stack(
            [(each + more).argmax(1) for each, more in zip(logits, noise, strict=True)], axis=1
        )
        scores = sum(
            (each - np.logaddexp.reduce(each))[column]
            for each, column in zip(logits, places.T, strict=True)
        )
        order = np.argsort(-np.asarray(scores), kind="stable")
        values = [np.array(dimension.values) for dimension in self.space.dimensions]
        rows = np.stack([v[column] for v, column in zip(values, places[order].T, strict=True)], 1)
        points = (self.space.point(row) for row in rows.tolist())
        return list(dict.fromkeys((self.likeliest(), *points)))

    def entropy(self) -> float:
        """How open the choice still is: the mean over dimensions, 1 where all is equally likely."""
        shares = [
            float(torch.special.entr(p).sum()) / float(np.log(len(p)))
            for p in self.probabilities().values()
        ]
        return float(np.mean(shares)) if shares else 0.0

    def check(self) -> None:
        """Raises `TrainingDivergedError` for a logit that is no number, by its dimension."""
        for dimension, logits in zip(self.space.dimensions, self.logits, strict=True):
            if not bool(torch.isfinite(logits).all()):
                raise TrainingDivergedError(
                    f"an architecture's logits stay finite, those of {dimension.name} are "
                    f"{logits.tolist()}; lower the learning rate of the architecture"
                )

    def _numbers(self) -> list[list[float]]:
        return [each.tolist() for each in self.logits]
