"""What can go wrong in the profiler; every message names the rule, the value and the next step."""

from __future__ import annotations


class ProfilerError(Exception):
    """Base of everything `profiler` raises on purpose."""


class UnknownKernelError(ProfilerError, ValueError):
    """A kernel key that no registered kernel type can read."""


class UnknownLayerError(ProfilerError, ValueError):
    """A network with layers that are no registered kernel types."""


class RecipeError(ProfilerError, ValueError):
    """A recipe that is none, or that is made by nobody."""


class SettingsError(ProfilerError, ValueError):
    """A setting of the profiler outside its bounds."""


class LoweringError(ProfilerError, RuntimeError):
    """ExecuTorch could not lower a module."""


class MeasurementError(ProfilerError, RuntimeError):
    """A program that had to be timed failed on the device."""


class TableError(ProfilerError, ValueError):
    """A latency table file that is not one, is corrupt, or was asked for what it does not hold."""


class MissingLatencyError(ProfilerError, KeyError):
    """A kernel without a row where a row was required."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""
