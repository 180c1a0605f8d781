"""Times opaque ExecuTorch programs on devices: this machine, a phone, or a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

from android_runner.exports import exports

if TYPE_CHECKING:
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

_HOMES = {
    "AdbError": "android_runner.errors",
    "BuildError": "android_runner.errors",
    "Conditions": "android_runner.device",
    "Device": "android_runner.device",
    "DeviceError": "android_runner.errors",
    "DeviceInfo": "android_runner.device",
    "DeviceLostError": "android_runner.errors",
    "DeviceStateError": "android_runner.errors",
    "Failure": "android_runner.device",
    "HostDevice": "android_runner.host",
    "InvalidRunError": "android_runner.errors",
    "Measurement": "android_runner.device",
    "NoSuchDeviceError": "android_runner.errors",
    "OutputTensor": "android_runner.device",
    "Program": "android_runner.device",
    "Progress": "android_runner.device",
    "ProtocolError": "android_runner.errors",
    "ReplayDevice": "android_runner.replay",
    "RunSpec": "android_runner.device",
    "RunnerError": "android_runner.errors",
    "StorageError": "android_runner.errors",
    "UnsupportedDeviceError": "android_runner.errors",
}
__getattr__ = exports(__name__, _HOMES)
