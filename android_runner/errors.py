"""Everything this package raises on purpose; one line each: the rule, the value, the next step."""


class RunnerError(Exception):
    """Root of this package's errors."""


class InvalidRunError(RunnerError, ValueError):
    """A program, spec or batch that breaks a rule."""


class BuildError(RunnerError, OSError):
    """The native runner cannot be built."""


class ProtocolError(RunnerError, ValueError):
    """The runner speaks another protocol version or breaks the protocol."""


class DeviceError(RunnerError, OSError):
    """The device cannot be used, or not with these settings."""
