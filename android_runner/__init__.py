"""Times opaque ExecuTorch programs on devices: this machine, a phone, or a recording."""

from android_runner.device import (
    Conditions,
    Device,
    DeviceInfo,
    Failure,
    Measurement,
    OutputTensor,
    Program,
    Progress,
    RunSpec,
)
from android_runner.errors import (
    AdbError,
    BuildError,
    DeviceError,
    DeviceLostError,
    DeviceStateError,
    InvalidRunError,
    NoSuchDeviceError,
    ProtocolError,
    RunnerError,
    StorageError,
    UnsupportedDeviceError,
)
from android_runner.host import HostDevice
from android_runner.replay import ReplayDevice

__all__ = [
    "AdbError",
    "BuildError",
    "Conditions",
    "Device",
    "DeviceError",
    "DeviceInfo",
    "DeviceLostError",
    "DeviceStateError",
    "Failure",
    "HostDevice",
    "InvalidRunError",
    "Measurement",
    "NoSuchDeviceError",
    "OutputTensor",
    "Program",
    "Progress",
    "ProtocolError",
    "ReplayDevice",
    "RunSpec",
    "RunnerError",
    "StorageError",
    "UnsupportedDeviceError",
]
