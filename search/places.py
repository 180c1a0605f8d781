"""The kernels that networks of a mixture may hold, place by place, by the numbers that decide them.

A kernel depends on a few numbers, such as the channels before it, its filters and its size; so a
place is a table over these numbers' values, contracted with their probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from netadapt.search.mixture import Distribution, Likely

if TYPE_CHECKING:
    from netadapt.profiler.kernels import Kernel


@dataclass(frozen=True, slots=True)
class _Place:
    """Where kernels of a kind stand: all there may be, by some of the numbers.

    Parameters
    ----------
    axes: which of the numbers decide the kernel, by position.
    kernels: in the order of the product of these numbers' values.
    kept: the places of these kernels in that product, where not all of them have one.
    """

    axes: tuple[int, ...]
    kernels: tuple[Kernel, ...]
    kept: Tensor | None


class KnownPlaces:
    """Places of one space by their names; remembers what it made of them."""

    def __init__(self) -> None:
        self._made: dict[tuple[object, ...], tuple[_Place, ...]] = {}

    def likely(
        self,
        name: str,
        make: Callable[..., Sequence[Kernel | None]],
        numbers: Sequence[Distribution],
        share: Tensor | None = None,
        *,
        sure: bool = False,
    ) -> list[Likely]:
        """What `make` gives for each of the numbers' values, with its probability.

        Parameters
        ----------
        name: of the place; what `make` gives depends on it and on the numbers alone.
        make: a value of each number to the kernels there, None where there is none; as many each.
        numbers: independent of each other.
        share: a factor of all.
        sure: each kernel depends on all numbers.
        """
        key = (name, *(number.values for number in numbers))
        if key not in self._made:
            self._made[key] = tuple(_places(make, [number.values for number in numbers], sure))
        found = []
        for place in self._made[key]:
            total = numbers[0].probabilities.new_ones(()) if share is None else share
            for axis, number in enumerate(numbers):
                if axis in place.axes:
                    total = total[..., None] * number.probabilities
                else:
                    total = total * number.probabilities.sum()
            total = total.flatten()
            found.append(Likely(place.kernels, total if place.kept is None else total[place.kept]))
        return found


def above_0(number: Distribution) -> Distribution:
    """Without the value 0, whose probability is then missing."""
    if number.values[0] != 0:
        return number
    return Distribution(number.values[1:], number.probabilities[1:])


def _places(
    make: Callable[..., Sequence[Kernel | None]], values: Sequence[Sequence[int]], sure: bool
) -> list[_Place]:
    """One for each kernel that `make` gives; those are as many for all values."""
    lowest, highest = [each[0] for each in values], [each[-1] for each in values]
    found = []
    for position in range(len(make(*lowest))):

        def decides(axis: int, position: int = position) -> bool:
            """Whether the kernel changes with this number, at either end of the others."""
            ends = [
                [*base[:axis], end[axis], *base[axis + 1 :]]
                for base in (lowest, highest)
                for end in (lowest, highest)
            ]
            kernels = [make(*each)[position] for each in ends]
            return kernels[0] != kernels[1] or kernels[2] != kernels[3]

        axes = tuple(
            axis for axis in range(len(values)) if len(values[axis]) > 1 and (sure or decides(axis))
        )
        kernels: list[Kernel | None] = []
        for chosen in product(*(values[axis] for axis in axes)):
            numbers = list(lowest)
            for axis, value in zip(axes, chosen, strict=True):
                numbers[axis] = value
            kernels.append(make(*numbers)[position])
        made = [(i, kernel) for i, kernel in enumerate(kernels) if kernel is not None]
        places = torch.tensor([i for i, _ in made], dtype=torch.int64)
        kept = places if len(made) < len(kernels) else None
        found.append(_Place(axes, tuple(kernel for _, kernel in made), kept))
    return found
