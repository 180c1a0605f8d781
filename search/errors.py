"""Everything this package raises on purpose; one line each: the rule, the value, the next step."""

from __future__ import annotations

LONGEST_SHOWN = 120


def shown(value: object) -> str:
    """A value as an error shows it: one line of bounded length, whatever somebody has written."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes no integers of some 4,300 digits or more
        return "a value too long to show"
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


class SearchError(Exception):
    """Root of this package's errors."""


class InvalidSettingError(SearchError, ValueError):
    """A setting outside its range."""


class CheckpointError(SearchError, ValueError):
    """A checkpoint that cannot be read or belongs to another training."""


class TrainingDivergedError(SearchError, ArithmeticError):
    """A training whose loss is no longer finite."""


class MetricError(SearchError, ValueError):
    """A metric without an answer, or a budget that is none."""


class ImpossibleBudgetError(SearchError, ValueError):
    """A budget that no network of the space meets."""


class TrialLogError(SearchError, ValueError):
    """A trial log that cannot be read or belongs to another search."""


class SpaceFileError(SearchError, ValueError):
    """A space's file that cannot be read or describes no space."""


class ArchError(SearchError, ValueError):
    """An architecture, or a value of one, that is not in the space."""
