"""Many archs of one space as columns of numbers: what a batch's masks are computed from.

A batch with one arch an image has hundreds of them. As objects they cost more than a GPU's step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from netadapt.search.families.inverted_residual.arch import InvertedResidualArch
    from netadapt.search.families.inverted_residual.space import InvertedResidualSpace

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Columns:
    """`B` archs of a space of `N` blocks.

    Parameters
    ----------
    stem, head, hidden, resolution: `(B,)`; 0 of what the space does not have.
    widths, expansions, kernel_sizes, ses, activations: `(B, N)`; all 0 of a removed block. The
        last two are places from 1 in `OPERATIONS`, 0 where the space has no choice of them.
    """

    stem: Integers
    head: Integers
    hidden: Integers
    resolution: Integers
    widths: Integers
    expansions: Integers
    kernel_sizes: Integers
    ses: Integers
    activations: Integers

    def of(self, chosen: Integers) -> Columns:
        """Those of these numbers."""
        return Columns(
            self.stem[chosen],
            self.head[chosen],
            self.hidden[chosen],
            self.resolution[chosen],
            self.widths[chosen],
            self.expansions[chosen],
            self.kernel_sizes[chosen],
            self.ses[chosen],
            self.activations[chosen],
        )


class DrawnArchs(Sequence["InvertedResidualArch"]):
    """Archs by the values of their space's dimensions, `(B, dimensions)`; made when looked at."""

    def __init__(self, space: InvertedResidualSpace, values: Integers) -> None:
        self.space = space
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> InvertedResidualArch: ...
    @overload
    def __getitem__(self, index: slice) -> DrawnArchs: ...
    def __getitem__(self, index: int | slice) -> InvertedResidualArch | DrawnArchs:
        if isinstance(index, slice):
            return DrawnArchs(self.space, self.values[index])
        return self.space.point(self.values[index].tolist())

    @cached_property
    def columns(self) -> Columns:
        """In their archs' one form: what a 0 removes is removed."""
        return self.space.columns(self.values)


def columns_of(archs: Sequence[InvertedResidualArch]) -> Columns:
    """The columns of archs that are valid in one space."""
    if isinstance(archs, DrawnArchs):
        return archs.columns
    ends = np.array([(a.stem, a.head, a.hidden, a.resolution or 0) for a in archs])
    blocks = np.array([[block.numbers for block in arch.blocks] for arch in archs])
    return Columns(*ends.T, *np.moveaxis(blocks, 2, 0))
