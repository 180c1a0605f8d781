"""A run is a list of steps; what is done already is left out, and all else follows from the list.

A step keeps what it does as it goes, in the run's folder. A run that was interrupted resumes when
it is started again: steps that are done are skipped, the others begin where their files end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from netadapt.runs.context import Context
    from netadapt.runs.folder import RunFolder


class Step(Protocol):
    """One step."""

    @property
    def name(self) -> str:
        """What its seconds are noted under; steps of one name count together."""
        ...

    def done(self, folder: RunFolder) -> bool:
        """Whether the folder says that nothing is left to do, and no later step needs more."""
        ...

    def do(self, context: Context) -> None:
        """Do it, or what is left of it; what later steps need goes into the context."""
        ...


def perform(steps: Iterable[Step], context: Context) -> None:
    """Do what is not done, in order, and note how long each step took, also when interrupted."""
    for step in steps:
        if not step.done(context.folder):
            with context.folder.timed(step.name):
                step.do(context)
