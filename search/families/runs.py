"""Images of one batch that differ in a choice, such as a kernel size: each group at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_RUNS = 6
"""More runs of equal choices in a batch than this are sorted together first."""


@dataclass(frozen=True, slots=True)
class Runs:
    """Consecutive images of equal choice; `lengths` add up to B.

    `order` `(B,)` sorts the images so; None: they stand like this already.
    """

    lengths: list[int]
    choices: list[int]
    order: Tensor | None

    @classmethod
    def of(cls, choices: NDArray[np.integer[Any]]) -> Runs:
        """Of choices `(B,)`; 0 stands for any, and takes what stands before it (or behind)."""
        known = np.flatnonzero(choices)
        if not len(known):
            return cls([len(choices)], [1], None)
        nearest = np.searchsorted(known, np.arange(len(choices)), side="right") - 1
        choices = choices[known[np.maximum(nearest, 0)]]
        order = None
        if np.count_nonzero(np.diff(choices)) >= MAX_RUNS:
            permutation = np.argsort(choices, kind="stable")
            order, choices = torch.from_numpy(permutation), choices[permutation]
        starts = np.flatnonzero(np.diff(choices, prepend=0))
        lengths = np.diff(starts, append=len(choices))
        return cls(lengths.tolist(), choices[starts].tolist(), order)

    def computed(self, x: Tensor, function: Callable[[Tensor, int], Tensor]) -> Tensor:
        """`function` of the images of each choice, in the images' order; none computed twice.

        Where all choose the same, there may be any number of images.
        """
        if len(self.choices) == 1:
            return function(x, self.choices[0])
        if self.order is not None:
            x = x[self.order]
        # split, not slices: its gradient is one concatenation
        parts = torch.split(x, self.lengths)
        done = [function(part, choice) for part, choice in zip(parts, self.choices, strict=True)]
        y = torch.cat(done)
        return y if self.order is None else y[torch.argsort(self.order)]
