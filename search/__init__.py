"""Kernels' latencies to a network: spaces, super-networks, optimisers, training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netadapt.android_runner.exports import exports

if TYPE_CHECKING:
    from netadapt.search.accuracy_table import AccuracyTable
    from netadapt.search.driver import SearchResult, open_log, run_search
    from netadapt.search.errors import (
        AccuracyTableError,
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
    from netadapt.search.evaluation import Evaluator, evaluate_network
    from netadapt.search.evaluation_settings import EvaluationSettings
    from netadapt.search.landing import LandingSettings, LoopSettings, Search
    from netadapt.search.metrics import Constraint, FunctionMetric, LatencyMetric, make_metric
    from netadapt.search.network import build_network
    from netadapt.search.searchers.base import Aims, Outcome, Round, Searcher, make_searcher
    from netadapt.search.searchers.drafts import Draft
    from netadapt.search.space import Arch, Space
    from netadapt.search.supernet import SuperNetwork, calibrate, extract
    from netadapt.search.task import (
        Accuracy,
        DetailedMetric,
        InputFormat,
        RunningMetric,
        Samples,
        Task,
        make_task,
    )
    from netadapt.search.training import TrainingSettings, train_network, train_supernet
    from netadapt.search.training.step import Step, StepInput, SupernetStep

__all__ = [
    "Accuracy",
    "AccuracyTable",
    "AccuracyTableError",
    "Aims",
    "Arch",
    "ArchError",
    "CheckpointError",
    "Constraint",
    "DetailedMetric",
    "Draft",
    "EvaluationSettings",
    "Evaluator",
    "FunctionMetric",
    "ImpossibleBudgetError",
    "InputFormat",
    "InvalidSettingError",
    "LandingSettings",
    "LatencyMetric",
    "LoopSettings",
    "MetricError",
    "Outcome",
    "Round",
    "RunningMetric",
    "Samples",
    "Search",
    "SearchError",
    "SearchResult",
    "Searcher",
    "Space",
    "SpaceFileError",
    "Step",
    "StepInput",
    "SuperNetwork",
    "SupernetStep",
    "Task",
    "TrainingDivergedError",
    "TrainingSettings",
    "TrialLogError",
    "build_network",
    "calibrate",
    "evaluate_network",
    "extract",
    "make_metric",
    "make_searcher",
    "make_task",
    "open_log",
    "run_search",
    "train_network",
    "train_supernet",
]

_HOMES = {
    "Accuracy": "netadapt.search.task",
    "AccuracyTable": "netadapt.search.accuracy_table",
    "AccuracyTableError": "netadapt.search.errors",
    "Aims": "netadapt.search.searchers.base",
    "Arch": "netadapt.search.space",
    "ArchError": "netadapt.search.errors",
    "CheckpointError": "netadapt.search.errors",
    "Constraint": "netadapt.search.metrics",
    "Draft": "netadapt.search.searchers.drafts",
    "EvaluationSettings": "netadapt.search.evaluation_settings",
    "Evaluator": "netadapt.search.evaluation",
    "FunctionMetric": "netadapt.search.metrics",
    "ImpossibleBudgetError": "netadapt.search.errors",
    "InputFormat": "netadapt.search.task",
    "InvalidSettingError": "netadapt.search.errors",
    "LandingSettings": "netadapt.search.landing",
    "LatencyMetric": "netadapt.search.metrics",
    "LoopSettings": "netadapt.search.landing",
    "MetricError": "netadapt.search.errors",
    "Outcome": "netadapt.search.searchers.base",
    "Round": "netadapt.search.searchers.base",
    "DetailedMetric": "netadapt.search.task",
    "RunningMetric": "netadapt.search.task",
    "Samples": "netadapt.search.task",
    "Search": "netadapt.search.landing",
    "SearchError": "netadapt.search.errors",
    "SearchResult": "netadapt.search.driver",
    "Searcher": "netadapt.search.searchers.base",
    "Space": "netadapt.search.space",
    "SpaceFileError": "netadapt.search.errors",
    "Step": "netadapt.search.training.step",
    "StepInput": "netadapt.search.training.step",
    "SuperNetwork": "netadapt.search.supernet",
    "SupernetStep": "netadapt.search.training.step",
    "Task": "netadapt.search.task",
    "TrainingDivergedError": "netadapt.search.errors",
    "TrainingSettings": "netadapt.search.training.settings",
    "TrialLogError": "netadapt.search.errors",
    "build_network": "netadapt.search.network",
    "calibrate": "netadapt.search.supernet",
    "evaluate_network": "netadapt.search.evaluation",
    "extract": "netadapt.search.supernet",
    "make_metric": "netadapt.search.metrics",
    "make_searcher": "netadapt.search.searchers.base",
    "make_task": "netadapt.search.task",
    "open_log": "netadapt.search.driver",
    "run_search": "netadapt.search.driver",
    "train_network": "netadapt.search.training.train",
    "train_supernet": "netadapt.search.training.train",
}
__getattr__ = exports(__name__, _HOMES)
