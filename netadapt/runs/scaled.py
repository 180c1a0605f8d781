"""What a found network is compared with: the reference scaled in width to the same latency."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from netadapt.runs.context import FinalNetwork
from netadapt.search.errors import ArchError
from netadapt.text import milliseconds

if TYPE_CHECKING:
    from netadapt.runs.budgets import Budget
    from netadapt.runs.context import Context, Found
    from netadapt.runs.folder import RunFolder
    from netadapt.search.space import Arch

logger = logging.getLogger(__name__)

MULTIPLIERS = tuple(round(0.01 * i, 2) for i in range(5, 201))
"""Width multipliers that scaled networks are looked for among."""

SCALED_START = 0.93
"""Scaled networks predicted below this share of the found latency are not measured."""


@dataclass(frozen=True, slots=True)
class ScaledBy:
    """A way to scale the reference: with its own kernel sizes, or one for all blocks."""

    label: str
    kernel_size: int | None


SCALED_BY = (ScaledBy("own", None), ScaledBy("3", 3), ScaledBy("5", 5))


class ChooseScaled:
    """Of each way to scale, the smallest multiplier that is not below the found latency."""

    name = "time scaled networks"

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def done(self, folder: RunFolder) -> bool:
        return False  # what was timed is in the run's sessions, and is not timed again

    def do(self, context: Context) -> None:
        found = context.found[self._budget.label]
        context.found[self._budget.label] = replace(found, scaled=tuple(_choose(context, found)))


def _choose(context: Context, found: Found) -> Iterator[FinalNetwork]:
    chosen: dict[ScaledBy, FinalNetwork] = {}
    with context.progress.step("Timing scaled networks") as update:
        left = {way: _ascending(context, found, way) for way in SCALED_BY}
        while left:
            update(len(SCALED_BY) - len(left), len(SCALED_BY))
            # One of each at a time, so that they are lowered side by side
            turn = {way: next(candidates, None) for way, candidates in left.items()}
            wanted = [final.arch for final in turn.values() if final]
            ms = dict(zip(wanted, context.timer.measured(wanted), strict=True)) if wanted else {}
            for way, final in turn.items():
                if final is None:
                    logger.warning(
                        "no width of the reference with kernel sizes %s takes %s",
                        way.label,
                        milliseconds(found.ms),
                    )
                elif ms[final.arch] >= found.ms:
                    chosen[way] = final
                else:
                    continue
                del left[way]
        update(len(SCALED_BY), len(SCALED_BY))
    return (chosen[way] for way in SCALED_BY if way in chosen)


def _ascending(context: Context, found: Found, way: ScaledBy) -> Iterator[FinalNetwork]:
    """The networks by width, from a little below the found latency on.

    Each is timed by the time the next one is asked for.
    """
    space = context.space
    archs: dict[Arch, float] = {}
    for multiplier in MULTIPLIERS:
        try:
            archs.setdefault(space.scaled(multiplier, way.kernel_size), multiplier)
        except ArchError:
            continue  # wider than the space
    predicted = context.predictor.predict_networks([space.kernels(arch) for arch in archs])
    off = 1.0  # by how much the last one measured other than predicted
    for (arch, multiplier), ms in zip(archs.items(), predicted, strict=True):
        if off * ms >= SCALED_START * found.ms:
            label = f"scaled {way.label} {found.budget.label}"
            checkpoint = found.network.checkpoint.with_name(f"scaled-{way.label}.pt")
            yield FinalNetwork(label, arch, checkpoint, way.label, multiplier)
            off = context.timer.measured([arch])[0] / ms
