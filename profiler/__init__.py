"""Layers to a latency table: kernels, their lowering, and how long each takes on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from android_runner.exports import exports

if TYPE_CHECKING:
    from profiler.errors import (
        LoweringError,
        MeasurementError,
        MissingLatencyError,
        ProfilerError,
        TableError,
        UnknownKernelError,
    )
    from profiler.kernels import Kernel, record_kernels
    from profiler.lowering import ProgramCache, Subject, lower
    from profiler.profile import Profiler, ProfileSettings, ProfileSummary
    from profiler.table import LatencyTable, Provenance, Row

__all__ = [
    "Kernel",
    "LatencyTable",
    "LoweringError",
    "MeasurementError",
    "MissingLatencyError",
    "ProfileSettings",
    "ProfileSummary",
    "Profiler",
    "ProfilerError",
    "ProgramCache",
    "Provenance",
    "Row",
    "Subject",
    "TableError",
    "UnknownKernelError",
    "lower",
    "record_kernels",
]

_HOMES = {
    "Kernel": "profiler.kernels",
    "LatencyTable": "profiler.table",
    "LoweringError": "profiler.errors",
    "MeasurementError": "profiler.errors",
    "MissingLatencyError": "profiler.errors",
    "ProfileSettings": "profiler.profile",
    "ProfileSummary": "profiler.profile",
    "Profiler": "profiler.profile",
    "ProfilerError": "profiler.errors",
    "ProgramCache": "profiler.lowering",
    "Provenance": "profiler.table",
    "Row": "profiler.table",
    "Subject": "profiler.lowering",
    "TableError": "profiler.errors",
    "UnknownKernelError": "profiler.errors",
    "lower": "profiler.lowering",
    "record_kernels": "profiler.kernels",
}
__getattr__ = exports(__name__, _HOMES)
