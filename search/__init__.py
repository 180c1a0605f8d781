"""Kernels' latencies to a network: spaces, super-networks, optimisers, training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from android_runner.exports import exports

if TYPE_CHECKING:
    from search.driver import SearchResult, run_search
    from search.errors import (
        ArchError,
        CheckpointError,
        ImpossibleBudgetError,
        InvalidSettingError,
        MetricError,
        SearchError,
        SpaceFileError,
        TrainingDivergedError,
        TrialLogError,
    )
    from search.network import build_network
    from search.space import Arch, Space
    from search.supernet import SuperNetwork, calibrate, extract
    from search.task import Task
    from search.training import TrainingSettings, train_network, train_supernet

__all__ = [
    "Arch",
    "ArchError",
    "CheckpointError",
    "ImpossibleBudgetError",
    "InvalidSettingError",
    "MetricError",
    "SearchError",
    "SearchResult",
    "Space",
    "SpaceFileError",
    "SuperNetwork",
    "Task",
    "TrainingDivergedError",
    "TrainingSettings",
    "TrialLogError",
    "build_network",
    "calibrate",
    "extract",
    "run_search",
    "train_network",
    "train_supernet",
]

_HOMES = {
    "Arch": "search.space",
    "ArchError": "search.errors",
    "CheckpointError": "search.errors",
    "ImpossibleBudgetError": "search.errors",
    "InvalidSettingError": "search.errors",
    "MetricError": "search.errors",
    "SearchError": "search.errors",
    "SearchResult": "search.driver",
    "Space": "search.space",
    "SpaceFileError": "search.errors",
    "SuperNetwork": "search.supernet",
    "Task": "search.task",
    "TrainingDivergedError": "search.errors",
    "TrainingSettings": "search.training",
    "TrialLogError": "search.errors",
    "build_network": "search.network",
    "calibrate": "search.supernet",
    "extract": "search.supernet",
    "run_search": "search.driver",
    "train_network": "search.training",
    "train_supernet": "search.training",
}
__getattr__ = exports(__name__, _HOMES)
