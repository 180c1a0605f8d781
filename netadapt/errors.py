"""Everything this package raises on purpose; one line each: the rule, the value, the next step."""

from __future__ import annotations


class NetadaptError(Exception):
    """Root of this package's errors."""


class ConfigError(NetadaptError, ValueError):
    """A run file that cannot be read or breaks a rule."""


class UnknownDeviceError(NetadaptError, LookupError):
    """A device that is not there."""


class RunFolderError(NetadaptError, ValueError):
    """A run folder that is none, is corrupt, or belongs to another configuration."""
