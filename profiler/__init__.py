"""Layers to a latency table: kernels, their lowering, and how long each takes on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netadapt.android_runner.exports import exports

if TYPE_CHECKING:
    from netadapt.profiler.errors import (
        LoweringError,
        MeasurementError,
        MissingLatencyError,
        ProfilerError,
        RecipeError,
        SettingsError,
        TableError,
        UnknownKernelError,
    )
    from netadapt.profiler.kernels import Kernel, record_kernels
    from netadapt.profiler.lowering import Lowering, ProgramCache, Recipe, Subject, lower
    from netadapt.profiler.profile import Profiler, ProfileSummary
    from netadapt.profiler.replay import TableReplay, open_replay
    from netadapt.profiler.settings import ProfileSettings, SampleSettings
    from netadapt.profiler.table import Effort, LatencyTable, Provenance, Row

__all__ = [
    "Effort",
    "Kernel",
    "LatencyTable",
    "Lowering",
    "LoweringError",
    "MeasurementError",
    "MissingLatencyError",
    "ProfileSettings",
    "ProfileSummary",
    "Profiler",
    "ProfilerError",
    "ProgramCache",
    "Provenance",
    "Recipe",
    "RecipeError",
    "Row",
    "SampleSettings",
    "SettingsError",
    "Subject",
    "TableError",
    "TableReplay",
    "UnknownKernelError",
    "lower",
    "open_replay",
    "record_kernels",
]

_HOMES = {
    "Effort": "netadapt.profiler.table",
    "Kernel": "netadapt.profiler.kernels",
    "LatencyTable": "netadapt.profiler.table",
    "Lowering": "netadapt.profiler.lowering",
    "LoweringError": "netadapt.profiler.errors",
    "MeasurementError": "netadapt.profiler.errors",
    "MissingLatencyError": "netadapt.profiler.errors",
    "ProfileSettings": "netadapt.profiler.settings",
    "ProfileSummary": "netadapt.profiler.profile",
    "Profiler": "netadapt.profiler.profile",
    "ProfilerError": "netadapt.profiler.errors",
    "ProgramCache": "netadapt.profiler.lowering",
    "Provenance": "netadapt.profiler.table",
    "Recipe": "netadapt.profiler.lowering",
    "RecipeError": "netadapt.profiler.errors",
    "Row": "netadapt.profiler.table",
    "SampleSettings": "netadapt.profiler.settings",
    "SettingsError": "netadapt.profiler.errors",
    "Subject": "netadapt.profiler.lowering",
    "TableError": "netadapt.profiler.errors",
    "TableReplay": "netadapt.profiler.replay",
    "UnknownKernelError": "netadapt.profiler.errors",
    "lower": "netadapt.profiler.lowering",
    "open_replay": "netadapt.profiler.replay",
    "record_kernels": "netadapt.profiler.kernels",
}
__getattr__ = exports(__name__, _HOMES)
