"""The order in which a task's pictures come, and how they are made ready ahead of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

Made = TypeVar("Made")

_AHEAD: Final = 2
"""Batches that are made ready before they are asked for."""


class Epochs:
    """A training stream without end: all numbers once an epoch, each epoch in an order of its own.

    Parameters
    ----------
    numbers: of the pictures, `(N,)`.
    key: what the order is drawn from, together with the epoch.
    """

    def __init__(self, numbers: Numbers, key: tuple[int, ...]) -> None:
        self._all = numbers
        self._key = key
        self._order: tuple[int, Numbers] | None = None  # of the epoch that was last asked for

    def numbers(self, places: Numbers) -> Numbers:
        """Which pictures stand at these places of the stream, ascending ones."""
        count = len(self._all)
        found = np.empty(len(places), np.int64)
        for epoch in range(int(places[0]) // count, int(places[-1]) // count + 1):
            if self._order is None or self._order[0] != epoch:
                rng = np.random.default_rng((*self._key, epoch))
                self._order = (epoch, self._all[rng.permutation(count)])
            within = places // count == epoch
            found[within] = self._order[1][places[within] % count]
        return found


class Ahead(Generic[Made]):
    """Batches of a stream, the next ones under way as long as they are asked for in their order."""

    def __init__(self) -> None:
        self._ready: dict[tuple[int, int], Callable[[], Made]] = {}
        self._last: tuple[int, int] | None = None

    def take(
        self, step: int, size: int, begin: Callable[[int, int], Callable[[], Made]]
    ) -> Callable[[], Made]:
        """What waits for batch number `step`.

        begin: sets out to make the batch of `size` from a place on; what it returns waits for it.
        """
        begun = self._ready.pop((step, size), None) or begin(step * size, size)
        if self._last == (step - 1, size):  # going through them: others than the next are not kept
            ahead = [(step + 1 + n, size) for n in range(_AHEAD)]
            self._ready = {key: self._ready.get(key) or begin(key[0] * size, size) for key in ahead}
        else:
            self._ready = {}
        self._last = (step, size)
        return begun


def batches_ahead(
    numbers: Numbers, size: int, begin: Callable[[Numbers], Callable[[], Made]]
) -> Iterator[tuple[Numbers, Made]]:
    """`numbers` in batches of `size`, and what `begin` makes of each, the next ones under way."""
    batches = [numbers[start : start + size] for start in range(0, len(numbers), size)]
    begun: list[Callable[[], Made]] = []
    for number, batch in enumerate(batches):
        for later in batches[number + len(begun) : number + 1 + _AHEAD]:
            begun.append(begin(later))
        yield batch, begun.pop(0)()
