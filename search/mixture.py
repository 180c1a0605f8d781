"""A mixture of archs: how likely each value of each dimension of a space is, differentiably.

A differentiable search (`netadapt.search.dmasking`) asks a super-network for the outputs of a
mixture and a space for the kernels that it has, each with its probability. One value of each
dimension at probability 1 is one arch, and both answers are then that arch's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from netadapt.search.errors import ArchError

if TYPE_CHECKING:
    from netadapt.profiler.kernels import Kernel
    from netadapt.search.space import Arch, Space

Mixture = Mapping[str, Tensor]
"""By a dimension's name `(values,)` probabilities of its values, ascending as they are."""


@dataclass(frozen=True, slots=True)
class Likely:
    """What one place of a network may hold: kernels, of which a network has one or none.

    Parameters
    ----------
    kernels: all that are possible.
    probabilities: `(kernels,)`, differentiable; their sum is below 1 where there may be none.
    """

    kernels: tuple[Kernel, ...]
    probabilities: Tensor


@dataclass(frozen=True, slots=True)
class Distribution:
    """Of a whole number, such as a width.

    Parameters
    ----------
    values: ascending, all different.
    probabilities: `(values,)`.
    """

    values: tuple[int, ...]
    probabilities: Tensor

    @classmethod
    def sure(cls, value: int, like: Tensor) -> Distribution:
        """Of one value alone; `like`: a tensor of the type and the place to have."""
        return cls((value,), like.new_ones(1))

    def where(self, holds: Callable[[int], bool]) -> Tensor:
        """The probability of the values for which something holds, a scalar."""
        flags = [float(holds(value)) for value in self.values]
        return self.probabilities @ self.probabilities.new_tensor(flags)

    def mean(self) -> Tensor:
        """The expected value, a scalar."""
        return self.probabilities @ self.probabilities.new_tensor(self.values)

    def mask(self, largest: int) -> Tensor:
        """`(largest,)`: of each channel the probability that it is among the first so many.

        The sum of the values' masks, each times its probability (FBNetV2 section 3.1).
        """
        first = torch.arange(largest) < torch.tensor(self.values)[:, None]
        return self.probabilities @ first.to(self.probabilities)

    def kernel_mask(self, largest: int) -> Tensor:
        """`(largest, largest)`: of each place of the largest kernel how likely a kernel has it."""
        # A place belongs to all kernels that reach as far from the centre, in rows and in columns.
        away = torch.arange(largest) - largest // 2
        away = torch.maximum(away.abs()[:, None], away.abs())
        reach = torch.tensor(self.values) // 2
        return (self.probabilities[:, None, None] * (away <= reach[:, None, None])).sum(0)

    def sharpened(self) -> Distribution:
        """All probability on the two neighbours of the mean, which it keeps.

        So what is linear between neighbouring values has its value at the mean: the effective
        shape of FBNetV2 (section 3.3; between two values of the space linearly, an assumption).
        """
        mean, known = self.mean(), self.probabilities.new_tensor(self.values)
        if len(self.values) == 1:
            return self
        place = int(torch.searchsorted(known, mean.detach(), right=True).clamp(1, len(known) - 1))
        low, high = known[place - 1], known[place]
        share = ((mean - low) / (high - low)).clamp(0, 1)
        probabilities = torch.zeros_like(self.probabilities)
        probabilities = probabilities.index_put((torch.tensor(place - 1),), 1 - share)
        return Distribution(self.values, probabilities.index_put((torch.tensor(place),), share))

    def through(self, other: Distribution, result: Callable[[int, int], int]) -> Distribution:
        """Of `result` of two independent numbers."""
        made = [result(a, b) for a in self.values for b in other.values]
        values = sorted(set(made))
        places = torch.tensor([values.index(value) for value in made])
        joint = torch.outer(self.probabilities, other.probabilities).flatten()
        return Distribution(tuple(values), joint.new_zeros(len(values)).index_add(0, places, joint))

    def mixed(self, other: Distribution, share: Tensor) -> Distribution:
        """This one with probability `share`, else the other one."""
        values = sorted({*self.values, *other.values})
        total = self.probabilities.new_zeros(len(values))
        for each, part in ((self, share), (other, 1 - share)):
            places = torch.tensor([values.index(value) for value in each.values])
            total = total.index_add(0, places, each.probabilities * part)
        return Distribution(tuple(values), total)


def one_hot(space: Space, arch: Arch) -> dict[str, Tensor]:
    """The mixture that is `arch` alone.

    What a removed block's other dimensions are makes no difference: their first value is taken.
    """
    found = {}
    for dimension in space.dimensions:
        value = space.value(arch, dimension)
        place = dimension.values.index(value) if value in dimension.values else 0
        found[dimension.name] = torch.eye(len(dimension.values))[place]
    return found


def check_mixture(space: Space, mixture: Mixture) -> None:
    """Raises `ArchError` unless there are probabilities for each dimension of the space."""
    for dimension in space.dimensions:
        got = mixture.get(dimension.name)
        if got is None or got.shape != (len(dimension.values),):
            raise ArchError(
                f"a mixture has {len(dimension.values)} probabilities for {dimension.name} of "
                f"space {space.name!r}, got "
                f"{'none' if got is None else tuple(got.shape)}; give one a value"
            )
        if not bool(torch.isfinite(got).all()):
            raise ArchError(
                f"probabilities are finite, {dimension.name} of space {space.name!r} has "
                f"{got.tolist()}; lower the architecture's learning rate"
            )
