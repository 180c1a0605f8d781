"""Random networks that use the budget: the baseline every search has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from netadapt.search.errors import InvalidSettingError
from netadapt.search.searchers.base import (
    Choice,
    Draft,
    Landing,
    Loads,
    Loop,
    Proposals,
    Searcher,
    meets,
    uses,
)

if TYPE_CHECKING:
    from netadapt.search.metrics import Constraint
    from netadapt.search.space import Arch, Space


@dataclass(frozen=True, slots=True)
class RandomSettings:
    """How many archs are scored, and how many of them a round (an iteration) has."""

    evaluations: int = 1000
    round_size: int = 100
    retries: int = 4

    def __post_init__(self) -> None:
        if min(self.evaluations, self.round_size) < 1 or self.retries < 0:
            raise InvalidSettingError(
                "random search needs evaluations and round_size of 1 or more and retries of 0 or "
                f"more, got {self}; the defaults are 1000, 100 and 4"
            )


class RandomSearch(Searcher):
    """Random networks brought to the budget by random changes; the most accurate one is kept.

    A network of `space.random` that is over a budget has random dimensions shrunk to random values
    until it fits; then random dimensions grow to random values that still fit, until it uses the
    budget. The best of each round is measured, and the correction moves the next round.
    """

    name = "random"

    def __init__(
        self,
        space: Space,
        constraints: Sequence[Constraint],
        settings: RandomSettings | None = None,
        *,
        seed: int,
        landing: Landing | None = None,
        loop: Loop | None = None,
    ) -> None:
        super().__init__(space, constraints, seed, landing, loop)
        self._settings = settings or RandomSettings()

    def settings(self) -> RandomSettings:
        return self._settings

    def search(self) -> Proposals:
        rng = np.random.default_rng(self.seed)
        self._check_reachable()
        middle = self.space.reference()
        measured = False
        spent, iteration = 0, 0
        tried: set[Arch] = set()
        best: tuple[bool, float, Choice] | None = None  # uses the budget, score
        while True:
            # Measured results that leave part of the budget unused are worth some more rounds.
            enough = best is not None and (best[0] or iteration > self._rounds + self.landing.tries)
            if best is not None and enough and spent >= self._settings.evaluations:
                met, _, _ = yield from self._confirm(iteration - 1, best[2])
                if met:
                    return best[2].arch
                best = None
            floors = self._floors(measured, middle)
            drafts = self._round(
                min(self._settings.round_size, max(self._settings.evaluations - spent, 1)),
                floors,
                tried,
                rng,
            )
            if not drafts or iteration > self._rounds + self.landing.tries:
                break
            drafts = self._guarded(drafts)
            trials = yield from self._evaluate(
                iteration,
                [draft.arch for draft in drafts],
                np.stack([draft.loads for draft in drafts]),
                floors,
                max(self._rounds - iteration - 1, 0),
            )
            spent += len(trials)
            choice = yield from self._choose(
                iteration, trials, self._limits(floors, floors, True), self.landing.lowest
            )
            measured = choice.measured_ms is not None
            middle = choice.arch
            met, used = self._landed(choice.arch, choice.measured_ms)
            if met and (best is None or (used, choice.score) > best[:2]):
                best = (used, choice.score, choice)
            iteration += 1
        if best is None:
            self._give_up(self.loads([self._smallest()])[0])
        yield from self._confirm(iteration - 1, best[2])
        return best[2].arch

    @property
    def _rounds(self) -> int:
        return -(-self._settings.evaluations // self._settings.round_size)

    def _round(
        self, count: int, limits: Loads, tried: set[Arch], rng: np.random.Generator
    ) -> list[Draft]:
        """`count` networks that use the budgets and were not there before, or the nearest."""
        chosen: list[Draft] = []
        spare: list[Draft] = []
        for _ in range(1 + self._settings.retries):
            for draft in self._walk(count - len(chosen), limits, rng):
                if draft.arch not in tried and meets(draft.loads, limits):
                    tried.add(draft.arch)
                    (chosen if uses(draft.loads, limits) else spare).append(draft)
            if len(chosen) == count:
                break
        return chosen or spare[:count]

    def _walk(self, count: int, limits: Loads, rng: np.random.Generator) -> list[Draft]:
        archs = [self.space.random(rng) for _ in range(count)]
        fleet = [Draft(a, row) for a, row in zip(archs, self.loads(archs), strict=True)]
        dimensions = self.space.dimensions
        orders = [rng.permutation(len(dimensions)) for _ in fleet]
        for turn in range(len(dimensions)):
            due = [i for i, draft in enumerate(fleet) if not meets(draft.loads, limits)]
            options = [self.space.smaller(fleet[i].arch, dimensions[orders[i][turn]]) for i in due]
            # From the largest value down to a random one: the first that fits, or the random one.
            cut = [o[: 1 + int(rng.integers(len(o)))] if o else () for o in options]
            found = self._first_meeting(cut, [limits] * len(due))
            lost = [(i, o[-1]) for i, o, f in zip(due, cut, found, strict=True) if o and not f]
            rows = self.loads([arch for _, arch in lost]) if lost else ()
            for i, draft in zip(due, found, strict=True):
                fleet[i] = draft or fleet[i]
            for (i, arch), row in zip(lost, rows, strict=True):
                fleet[i] = Draft(arch, row)
        for turn in range(len(dimensions)):
            due = [i for i, draft in enumerate(fleet) if _has_room(draft.loads, limits)]
            options = [self._larger(fleet[i].arch, dimensions[orders[i][turn]]) for i in due]
            cut = [o[int(rng.integers(len(o))) :] if o else o for o in options]
            found = self._first_meeting(cut, [limits] * len(due))
            for i, draft in zip(due, found, strict=True):
                fleet[i] = draft or fleet[i]
        return fleet


def _has_room(loads: Loads, limits: Loads) -> bool:
    return meets(loads, limits) and not uses(loads, limits)
