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
        TableError,
        UnknownKernelError,
    )
    from netadapt.profiler.kernels import Kernel, record_kernels
    from netadapt.profiler.lowering import ProgramCache, Subject, lower
    from netadapt.profiler.profile import Profiler, ProfileSettings, ProfileSummary
    from netadapt.profiler.table import LatencyTable, Provenance, Row

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
    "Kernel": "netadapt.profiler.kernels",
    "LatencyTable": "netadapt.profiler.table",
    "LoweringError": "netadapt.profiler.errors",
    "MeasurementError": "netadapt.profiler.errors",
    "MissingLatencyError": "netadapt.profiler.errors",
    "ProfileSettings": "netadapt.profiler.profile",
    "ProfileSummary": "netadapt.profiler.profile",
    "Profiler": "netadapt.profiler.profile",
    "ProfilerError": "netadapt.profiler.errors",
    "ProgramCache": "netadapt.profiler.lowering",
    "Provenance": "netadapt.profiler.table",
    "Row": "netadapt.profiler.table",
    "Subject": "netadapt.profiler.lowering",
    "TableError": "netadapt.profiler.errors",
    "UnknownKernelError": "netadapt.profiler.errors",
    "lower": "netadapt.profiler.lowering",
    "record_kernels": "netadapt.profiler.kernels",
}
__getattr__ = exports(__name__, _HOMES)
