"""Kernels' latencies to a network: spaces, super-networks, optimisers, training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netadapt.android_runner.exports import exports

if TYPE_CHECKING:
    from netadapt.search.driver import SearchResult, run_search
    from netadapt.search.errors import (
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
    from netadapt.search.network import build_network
    from netadapt.search.space import Arch, Space
    from netadapt.search.supernet import SuperNetwork, calibrate, extract
    from netadapt.search.task import Task, make_task
    from netadapt.search.training import TrainingSettings, train_network, train_supernet

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
    "make_task",
    "run_search",
    "train_network",
    "train_supernet",
]

_HOMES = {
    "Arch": "netadapt.search.space",
    "ArchError": "netadapt.search.errors",
    "CheckpointError": "netadapt.search.errors",
    "ImpossibleBudgetError": "netadapt.search.errors",
    "InvalidSettingError": "netadapt.search.errors",
    "MetricError": "netadapt.search.errors",
    "SearchError": "netadapt.search.errors",
    "SearchResult": "netadapt.search.driver",
    "Space": "netadapt.search.space",
    "SpaceFileError": "netadapt.search.errors",
    "SuperNetwork": "netadapt.search.supernet",
    "Task": "netadapt.search.task",
    "TrainingDivergedError": "netadapt.search.errors",
    "TrainingSettings": "netadapt.search.training.settings",
    "TrialLogError": "netadapt.search.errors",
    "build_network": "netadapt.search.network",
    "calibrate": "netadapt.search.supernet",
    "extract": "netadapt.search.supernet",
    "make_task": "netadapt.search.task",
    "run_search": "netadapt.search.driver",
    "train_network": "netadapt.search.training.train",
    "train_supernet": "netadapt.search.training.train",
}
__getattr__ = exports(__name__, _HOMES)
