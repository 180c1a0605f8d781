"""Networks on their way to being candidates, and what they load the budgets with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from netadapt.search.space import Arch

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
