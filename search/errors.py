"""Everything this package raises on purpose; one line each: the rule, the value, the next step."""

from __future__ import annotations

from netadapt.android_runner.text import shown as shown


class SearchError(Exception):
    """Root of this package's errors."""


class InvalidSettingError(SearchError, ValueError):
    """A setting outside its range."""


class CheckpointError(SearchError, ValueError):
    """A checkpoint that cannot be read or belongs to another training."""


class TrainingDivergedError(SearchError, ArithmeticError):
    """A training whose loss is no longer finite."""


class RankLostError(SearchError):
    """Of several processes that train together one is gone."""


class MetricError(SearchError, ValueError):
    """A metric without an answer, or a budget that is none."""


class AccuracyTableError(SearchError, ValueError):
    """A table of accuracies that cannot be read, or lacks an arch that it is asked for."""


class ImpossibleBudgetError(SearchError, ValueError):
    """A budget that no network of the space meets."""


class TrialLogError(SearchError, ValueError):
    """A trial log that cannot be read or belongs to another search."""


class SpaceFileError(SearchError, ValueError):
    """A space's file that cannot be read or describes no space."""


class ArchError(SearchError, ValueError):
    """An architecture, or a value of one, that is not in the space."""


class ImageError(SearchError, ValueError):
    """A picture that cannot be read, or a folder of them that is none."""


def no_mixtures(kind: str, name: str, what: str) -> ArchError:
    """What a family that has no mixtures of archs raises when it is asked for one."""
    return ArchError(
        f"a differentiable search takes a family that mixes its archs, {kind} {name!r} has no "
        f"{what}; search with the strategy supernet"
    )
