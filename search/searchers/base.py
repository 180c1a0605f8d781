"""The seam of the searchers: each proposes candidates for targets, round by round.

A searcher knows a space and how much of their budgets networks take. It never measures, trains,
times or logs, and does not know what a device or an accuracy is: `netadapt.search.landing.Search`
takes its rounds, has them scored and measured, chooses from them, and sees that the search ends
within its budgets. So a searcher is a small generator, runs in milliseconds against a made-up
score, and is replayed exactly by sending it recorded answers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from netadapt.android_runner.plugins import Registry
from netadapt.search.errors import InvalidSettingError
from netadapt.search.searchers.drafts import Draft, Loads

if TYPE_CHECKING:
    from netadapt.search.space import Arch, Space
    from netadapt.search.trials import Trial

USUAL_CANDIDATES = 100
"""Of an iteration, where a searcher says nothing else: the paper's reading of J (assumption)."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one iteration is to score.

    Parameters
    ----------
    drafts: the candidates with their loads, none twice; empty: there is nothing left to propose.
    targets: what they aim at, shares of the budgets, `(constraints,)`.
    iterations_left: an estimate of how many more rounds are to come.
    largest: nothing larger is in the space, so the one that is chosen of them ends the search if it
        meets the budgets, though it may leave part of them unused.
    """

    drafts: tuple[Draft, ...]
    targets: Loads
    iterations_left: int
    largest: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a round.

    Parameters
    ----------
    arch: the network to continue from: the one that was chosen, or where `again` is set its parent.
    again: the round ended below its budget; aim at its targets once more, the metrics know better.
    spent: archs scored so far, in all rounds of the search.
    trials: the round's candidates with their scores.
    """

    arch: Arch
    again: bool
    spent: int
    trials: tuple[Trial, ...] = ()


Rounds = Generator[Round, Outcome, None]


class Aims(Protocol):
    """Where a search has to end, and how far networks are from it; learns as networks are timed."""

    def loads(self, archs: Sequence[Arch], /) -> Loads:
        """Every metric of every arch as a share of its budget, `(N, constraints)`."""

    def floors(self, at: Arch | None = None) -> Loads:
        """What the last round aims at, as shares of the budgets, for networks like `at`.

        A little below 1 where networks are measured, and below that by the guard band where the
        latency of networks like `at` is not certain; without `at` the guard band is left out.
        """

    def hair_below(self, loads: Loads, targets: Loads) -> Loads:
        """`targets` for a network that is predicted to meet them but measured over its budget."""


class Searcher(ABC):
    """Proposes the networks of a search.

    One that a run file names is made as `Class(space, settings)`; settings are its
    `settings_class`.

    Parameters
    ----------
    space: where to search.
    settings: the frozen dataclass that it is configured with; None: the defaults.

    Raises `InvalidSettingError` for settings of another class.
    """

    name: str = ""
    """As a trial log has it; not given, where the class is defined."""
    settings_class: ClassVar[type]
    """The frozen dataclass of its settings; every field has a default."""

    def __init__(self, space: Space, settings: Any = None) -> None:
        self.space = space
        self.settings = self.settings_class() if settings is None else settings
        if not isinstance(self.settings, self.settings_class):
            raise InvalidSettingError(
                f"{type(self).__name__} is configured by {self.settings_class.__name__}, got "
                f"{type(settings).__name__}; give it its own settings"
            )
        self.name = self.name or f"{type(self).__module__}:{type(self).__qualname__}"

    @abstractmethod
    def rounds(self, aims: Aims, rng: np.random.Generator) -> Rounds:
        """A new search from its start: yields rounds, and is sent what became of each.

        It may end where it has nothing more to propose. All randomness is `rng`'s: the same
        answers then give the same rounds.
        """

    @property
    def best_of(self) -> int | None:
        """How many archs are scored before the search ends, with the best that landed.

        None: the search is a way to its budgets and ends with the first network that lands there.
        """
        return None

    def count(self, spent: int, iterations_left: int) -> int:
        """How many candidates the next round has, with `spent` archs scored already."""
        return USUAL_CANDIDATES

    def forecast(self, goal: float) -> tuple[int, int] | None:
        """About how many rounds it takes to come from all of a metric to the share `goal` of it.

        And how many archs are scored in them. None: cannot be said.
        """
        return None


SEARCHERS: Registry[Searcher] = Registry(
    "searcher",
    Searcher,
    {
        "mcd": "netadapt.search.searchers.mcd:MultiLayerCoordinateDescent",
        "single_layer": "netadapt.search.searchers.single_layer:SingleLayerCoordinateDescent",
        "random": "netadapt.search.searchers.random_search:RandomSearch",
        "evolution": "netadapt.search.searchers.evolution:Evolution",
        "mcd_evolution": "netadapt.search.searchers.evolution:DescentThenEvolution",
        "nsga2": "netadapt.search.searchers.nsga2:Nsga2",
    },
)
"""What comes along; a run file names one, or `package.module:Class`."""


def make_searcher(name: str, space: Space, settings: object = None) -> Searcher:
    """The searcher called `name`, of `SEARCHERS` or `package.module:Class`.

    `settings` is of its `settings_class`; None takes the defaults. Raises `PluginError`, and what
    the searcher raises.
    """
    return SEARCHERS.find(name)(space, settings)
