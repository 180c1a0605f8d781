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


class AdbError(DeviceError):
    """adb itself cannot be found, started or understood."""


class DeviceLostError(DeviceError, ConnectionError):
    """The connection to a device broke, or nobody answers there; it may come back."""


class NoSuchDeviceError(DeviceError, LookupError):
    """No device of that name is connected, or several are and none was named."""


class DeviceStateError(DeviceError, PermissionError):
    """The device is connected but does not let us in: unauthorized, offline, no permissions."""


class CoresAsleepError(DeviceStateError):
    """A device has switched cores off that a run needs; load or its owner may wake them."""


class UnsupportedDeviceError(DeviceError):
    """The device cannot run this toolkit's programs, whatever its owner does."""


class StorageError(DeviceError):
    """A device's storage is full, not writable, or does not keep what was written."""


class FullStorageError(StorageError):
    """A device's storage is full; somebody may make room."""


class PluginError(RunnerError, ValueError):
    """A part named by its place (`package.module:Class`) that is not there or is no such part."""
