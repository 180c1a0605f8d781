"""Networks on their way to being candidates, and what they load the budgets with."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from netadapt.search.archs import larger

if TYPE_CHECKING:
    from netadapt.search.space import Arch, Space

Loads = NDArray[np.float64]
"""Metrics as shares of their budgets, so that 1 meets a budget; last axis: constraints."""

LoadsOf = Callable[[Sequence["Arch"]], Loads]
"""Archs to their loads, `(N, constraints)`; much faster for many at once."""

TOLERANCE = 1e-9
"""Loads this much over a limit still meet it: rounding, not latency."""

USES_BUDGET = 0.02
"""A network uses a budget when it leaves no more than this share of it; no candidate is proposed
that uses none, as long as another one is there (assumption)."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A network on its way to being a candidate, with its loads."""

    arch: Arch
    loads: Loads


def meets(loads: Loads, limits: Loads) -> bool:
    """Whether every load `(constraints,)` is within its limit."""
    return bool((loads <= limits + TOLERANCE).all())


def uses(loads: Loads, limits: Loads) -> bool:
    """Whether the limits leave no room worth filling (`USES_BUDGET`)."""
    return bool((loads >= limits * (1 - USES_BUDGET)).any())


def excess(loads: Loads, limits: Loads) -> float:
    """How much of the budgets is over the limits, all constraints together."""
    over = loads - limits
    return math.fsum(over[over > 0])


def first_meeting(
    loads_of: LoadsOf, options: Sequence[Sequence[Arch]], limits: Sequence[Loads]
) -> list[Draft | None]:
    """Of each list of options the first within its limits, or None.

    All lists advance together, so that a metric sees few, large batches.
    """
    found: list[Draft | None] = [None] * len(options)
    open_lists = list(range(len(options)))
    begin, width = 0, 4
    while open_lists:
        window = [(i, a) for i in open_lists for a in options[i][begin : begin + width]]
        if not window:
            break
        loads = loads_of([arch for _, arch in window])
        for (i, arch), row in zip(window, loads, strict=True):
            if found[i] is None and meets(row, limits[i]):
                found[i] = Draft(arch, row)
        begin, width = begin + width, 2 * width
        open_lists = [i for i in open_lists if found[i] is None and begin < len(options[i])]
    return found


def nearest(
    loads_of: LoadsOf, options: Sequence[Sequence[Arch]], limits: Sequence[Loads]
) -> list[Draft | None]:
    """Of each list of options the one that exceeds its limits least, None of an empty one."""
    flat = [arch for archs in options for arch in archs]
    rows = iter(loads_of(flat)) if flat else iter(())
    return [
        min(
            (Draft(arch, next(rows)) for arch in archs),
            key=lambda draft: excess(draft.loads, limit),
            default=None,
        )
        for archs, limit in zip(options, limits, strict=True)
    ]


def brought_to_budget(
    space: Space,
    loads_of: LoadsOf,
    archs: Sequence[Arch],
    limits: Loads,
    rng: np.random.Generator,
    *,
    growing: int | None = None,
) -> list[Draft]:
    """Each arch changed at random until it uses the limits, as near to that as it comes.

    One that is over a limit has random dimensions shrunk to random values until it fits; then
    random dimensions grow to random values that still fit, until it uses the limits; only the first
    `growing` archs do (None: all), the others may leave room.
    """
    fleet = [Draft(a, row) for a, row in zip(archs, loads_of(archs), strict=True)]
    dimensions = space.dimensions
    orders = [rng.permutation(len(dimensions)) for _ in fleet]
    for turn in range(len(dimensions)):
        due = [i for i, draft in enumerate(fleet) if not meets(draft.loads, limits)]
        options = [space.smaller(fleet[i].arch, dimensions[orders[i][turn]]) for i in due]
        # From the largest value down to a random one: the first that fits, or the random one.
        cut = [o[: 1 + int(rng.integers(len(o)))] if o else () for o in options]
        found = first_meeting(loads_of, cut, [limits] * len(due))
        lost = [(i, o[-1]) for i, o, f in zip(due, cut, found, strict=True) if o and not f]
        rows = loads_of([arch for _, arch in lost]) if lost else ()
        for i, draft in zip(due, found, strict=True):
            fleet[i] = draft or fleet[i]
        for (i, arch), row in zip(lost, rows, strict=True):
            fleet[i] = Draft(arch, row)
    for turn in range(len(dimensions)):
        due = [i for i, draft in enumerate(fleet[:growing]) if _has_room(draft.loads, limits)]
        options = [larger(space, fleet[i].arch, dimensions[orders[i][turn]]) for i in due]
        cut = [o[int(rng.integers(len(o))) :] if o else o for o in options]
        found = first_meeting(loads_of, cut, [limits] * len(due))
        for i, draft in zip(due, found, strict=True):
            fleet[i] = draft or fleet[i]
    return fleet


def fresh_drafts(
    propose: Callable[[int], Sequence[Draft]],
    count: int,
    limits: Loads,
    retries: int,
    tried: Collection[Arch],
) -> tuple[list[Draft], list[Draft]]:
    """Up to `count` proposals within the limits that use them, and those that leave room.

    `propose` is asked for as many as are missing, `retries` times more; what was `tried`, or comes
    again, does not count.
    """
    using: dict[Arch, Draft] = {}
    spare: dict[Arch, Draft] = {}
    for _ in range(1 + retries):
        for draft in propose(count - len(using)):
            if draft.arch not in tried and meets(draft.loads, limits):
                (using if uses(draft.loads, limits) else spare)[draft.arch] = draft
        if len(using) == count:
            break
    return list(using.values()), list(spare.values())


def _has_room(loads: Loads, limits: Loads) -> bool:
    return meets(loads, limits) and not uses(loads, limits)
