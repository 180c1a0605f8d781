"""Multi-layer coordinate descent (NetAdaptV2): shrink several random layers at once.

Symbols: `J` candidates an iteration, `L` layers shrunk a candidate, `m_t` the iteration's targets,
`m_0` the full network's metrics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from annotated_types import Gt, Interval

from netadapt.android_runner.bounds import check_bounds
from netadapt.search.errors import InvalidSettingError
from netadapt.search.searchers.base import Aims
from netadapt.search.searchers.coordinate_descent import AnySchedule, CoordinateDescent, Schedule
from netadapt.search.searchers.drafts import Draft, Loads, excess, first_meeting, meets, nearest

if TYPE_CHECKING:
    from netadapt.search.space import Arch, Dimension

Change = tuple["Dimension", int]


@dataclass(frozen=True, slots=True)
class McdSettings:
    """The paper's algorithm in numbers; all of them assumptions.

    Parameters
    ----------
    candidates: J.
    layers: L; a dimension of the space (a width, an expansion, a kernel size) is a layer here.
    schedule: r0 and d, or a geometric one.
    similarity: candidates are similar when they undershoot m_t by no more than this share of m_0,
        or when no layer they shrank can be a step larger without missing m_t. The second holds for
        a layer whose single steps are coarse (a kernel size, a small network): such a candidate is
        that one layer's step and leaves all others alone.
    evenness: how evenly the chosen layers share a step. Shares are drawn from a symmetric Dirichlet
        distribution of this concentration: large is equal shares, small lets one or two layers take
        most of the step, which makes the candidates differ more.
    retries: rounds of new draws for candidates that missed m_t or came out twice.
    evaluations: spread this many scored archs over the iterations instead of J each.
    """

    candidates: Annotated[int, Interval(ge=1, le=1_000_000)] = 100
    layers: Annotated[int, Interval(ge=1, le=1_000_000)] = 10
    schedule: AnySchedule = field(default_factory=Schedule)
    similarity: Annotated[float, Interval(ge=0, lt=1)] = 0.01
    evenness: Annotated[float, Gt(0)] = 0.3
    retries: Annotated[int, Interval(ge=0, le=1_000)] = 4
    evaluations: Annotated[int, Interval(ge=1, le=1_000_000)] | None = None

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)


class MultiLayerCoordinateDescent(CoordinateDescent):
    """Each candidate shrinks `L` random layers of the last network until it meets `m_t`.

    The chosen layers take turns in random order. Each has a random share of the way from m to m_t
    and brings the network to where all shares so far have to be (what one layer took too much is
    off the next one's share) with the largest of its smaller values that does. A layer that is not
    needed for that, or that cannot reach it, stays as it is; only when the target is missed in the
    end may each go as far as it helps. A change that makes the network slower can therefore only
    come from another constraint's share. The paper states the random shrinking of L layers and the
    choice of the most accurate of J; these details are assumptions.
    """

    name = "mcd"

    settings: McdSettings
    settings_class: ClassVar[type] = McdSettings

    @property
    def schedule(self) -> AnySchedule:
        return self.settings.schedule

    def count(self, spent: int, iterations_left: int) -> int:
        total = self.settings.evaluations
        if total is None:
            return self.settings.candidates
        return max(1, math.ceil((total - spent) / (iterations_left + 1)))

    def forecast(self, goal: float) -> tuple[int, int]:
        steps = self.steps_to(goal)
        return steps, self.settings.evaluations or steps * self.settings.candidates

    def propose(
        self,
        aims: Aims,
        base: Draft,
        targets: Loads,
        origin: Loads,
        count: int,
        rng: np.random.Generator,
    ) -> list[Draft]:
        layers = [d for d in self.space.dimensions if self.space.smaller(base.arch, d)]
        window = self.settings.similarity * origin
        proposed: dict[Arch, Draft] = {}
        missed: dict[Arch, Draft] = {}
        for _ in range(1 + self.settings.retries):
            fleet = [self._draw(base, layers, rng) for _ in range(count - len(proposed))]
            self._shrink_by_shares(aims, fleet, targets)
            self._shrink_to(aims, targets, [s for s in fleet if not meets(s.loads, targets)])
            self._give_back(
                aims,
                targets,
                [s for s in fleet if meets(s.loads + window, targets)],
            )
            for shrinking in fleet:
                if shrinking.arch != base.arch:
                    pool = proposed if meets(shrinking.loads, targets) else missed
                    pool.setdefault(shrinking.arch, Draft(shrinking.arch, shrinking.loads))
            if len(proposed) == count:
                break
        return list(proposed.values()) or list(missed.values())

    def _draw(
        self, base: Draft, layers: Sequence[Dimension], rng: np.random.Generator
    ) -> _Shrinking:
        order = [layers[i] for i in rng.permutation(len(layers))[: self.settings.layers]]
        shares = rng.dirichlet(np.full(len(order), self.settings.evenness))
        return _Shrinking(base, order, np.cumsum(shares))

    def _shrink_by_shares(self, aims: Aims, fleet: Sequence[_Shrinking], targets: Loads) -> None:
        for turn in range(max(len(s.order) for s in fleet)):
            limits = {
                s: s.base.loads + (targets - s.base.loads) * s.shares[turn]
                for s in fleet
                if turn < len(s.order)
            }
            # A constraint that the base meets already has no share to give, only its target.
            limits = {s: np.where(s.base.loads <= targets, targets, x) for s, x in limits.items()}
            due = [s for s, limit in limits.items() if not meets(s.loads, limit)]
            options = [self.space.smaller(s.arch, s.order[turn]) for s in due]
            found = first_meeting(aims.loads, options, [limits[s] for s in due])
            for shrinking, draft in zip(due, found, strict=True):
                if draft is not None:
                    self._take(shrinking, shrinking.order[turn], draft)

    def _shrink_to(self, aims: Aims, targets: Loads, fleet: Sequence[_Shrinking]) -> None:
        """Let the chosen layers, in their order, go as far as it helps."""
        for turn in range(max((len(s.order) for s in fleet), default=0)):
            due = [s for s in fleet if turn < len(s.order) and not meets(s.loads, targets)]
            options = [self.space.smaller(s.arch, s.order[turn]) for s in due]
            found = first_meeting(aims.loads, options, [targets] * len(due))
            closest = nearest(
                aims.loads,
                [() if f is not None else o for f, o in zip(found, options, strict=True)],
                [targets] * len(due),
            )
            for shrinking, fits, helps in zip(due, found, closest, strict=True):
                draft = fits or helps
                if draft and excess(draft.loads, targets) < excess(shrinking.loads, targets):
                    self._take(shrinking, shrinking.order[turn], draft)

    def _take(self, shrinking: _Shrinking, dimension: Dimension, draft: Draft) -> None:
        value = self.space.value(draft.arch, dimension)
        assert value is not None
        shrinking.changes = [c for c in shrinking.changes if c[0] != dimension]
        shrinking.changes.append((dimension, value))
        shrinking.arch, shrinking.loads = draft.arch, draft.loads

    def _give_back(self, aims: Aims, targets: Loads, fleet: Sequence[_Shrinking]) -> None:
        """Let shrunk layers, in their order, grow again as far as the target allows."""
        for turn in range(max((len(s.changes) for s in fleet), default=0)):
            due = [s for s in fleet if turn < len(s.changes)]
            options = [self._grown(s, turn) for s in due]
            found = first_meeting(
                aims.loads,
                [[arch for arch, _ in option] for option in options],
                [targets] * len(due),
            )
            for shrinking, option, draft in zip(due, options, found, strict=True):
                if draft is not None:
                    shrinking.changes = dict(option)[draft.arch]
                    shrinking.arch, shrinking.loads = draft.arch, draft.loads

    def _grown(self, shrinking: _Shrinking, turn: int) -> list[tuple[Arch, list[Change]]]:
        """All networks with change number `turn` smaller or undone, largest first."""
        dimension, value = shrinking.changes[turn]
        original = self.space.value(shrinking.base.arch, dimension)
        assert original is not None
        options = []
        for other in reversed([v for v in dimension.values if value < v <= original]):
            changes = list(shrinking.changes)
            changes[turn] = (dimension, other)
            options.append((self._apply(shrinking.base.arch, changes), changes))
        return options

    def _apply(self, arch: Arch, changes: Sequence[Change]) -> Arch:
        for dimension, value in changes:
            current = self.space.value(arch, dimension)
            # A block that an earlier change removed has nothing left to shrink.
            if current is not None and value < current:
                arch = self.space.with_value(arch, dimension, value)
        return arch


class _Shrinking:
    """A candidate in the making: what it is now, and the changes that led there from `base`."""

    def __init__(self, base: Draft, order: Sequence[Dimension], shares: Loads) -> None:
        self.base = base
        self.order = order
        self.shares = shares
        """Of the way to the target, what the layers up to each one have to go together."""
        self.changes: list[Change] = []
        self.arch = base.arch
        self.loads = base.loads
