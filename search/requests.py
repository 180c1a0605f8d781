"""What a search asks of whoever runs it, and is answered.

`netadapt.search.landing.Search.requests` yields them, `netadapt.search.driver.run_search` answers.
In every iteration comes `Evaluate`, answered by trials, then `Measure` for the most accurate of
them, answered by milliseconds (or None when nobody measures), then `Accept` for the one that the
search continues with. Before it returns the arch it found it yields `Confirm` for it, answered by
what that network took when it was timed again, by itself.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from netadapt.search.trials import Trial

if TYPE_CHECKING:
    from netadapt.search.space import Arch


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Score these. `predicted` has the metrics by name, one mapping a candidate.

    `targets` is what the iteration aimed at; `iterations_left` estimates how many more of its
    size are to come; `guard` is the share by which the interval of the first candidate's latency
    reaches above the prediction, 0 without a guard.
    """

    iteration: int
    candidates: tuple[Arch, ...]
    predicted: tuple[Mapping[str, float], ...]
    targets: Mapping[str, float]
    iterations_left: int
    guard: float


@dataclass(frozen=True, slots=True)
class Measure:
    """Time these networks as wholes, the most accurate of the iteration first.

    The answer has their milliseconds, or is None when nobody measures.
    """

    iteration: int
    archs: tuple[Arch, ...]


@dataclass(frozen=True, slots=True)
class Accept:
    """The iteration settled on this network; no answer is read."""

    iteration: int
    arch: Arch


@dataclass(frozen=True, slots=True)
class Confirm:
    """Time this network, which may be the search's answer, again and by itself.

    The answer has the milliseconds of each repetition, or is None when nobody measures.
    """

    iteration: int
    arch: Arch


Request = Evaluate | Measure | Accept | Confirm
Answer = tuple[Trial, ...] | tuple[float, ...] | None
Requests = Generator[Request, Answer, "Arch"]
