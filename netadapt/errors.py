"""Everything this package raises on purpose; one line each: the rule, the value, the next step."""

from __future__ import annotations


class NetadaptError(Exception):
    """Root of this package's errors."""


class ConfigError(NetadaptError, ValueError):
    """A run file that cannot be read or breaks a rule."""


class SomeDevicesFailedError(NetadaptError):
    """Of several devices some were not measured to the end."""


class RunFolderError(NetadaptError, ValueError):
    """A run folder that is none, is corrupt, or belongs to another configuration."""
