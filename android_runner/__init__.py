"""Times opaque ExecuTorch programs on devices: this machine, a phone, or a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netadapt.android_runner.exports import exports

if TYPE_CHECKING:
    from netadapt.android_runner.device import (
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
    from netadapt.android_runner.errors import (
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
    from netadapt.android_runner.host import HostDevice
    from netadapt.android_runner.replay import ReplayDevice

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
    "AdbError": "netadapt.android_runner.errors",
    "BuildError": "netadapt.android_runner.errors",
    "Conditions": "netadapt.android_runner.device",
    "Device": "netadapt.android_runner.device",
    "DeviceError": "netadapt.android_runner.errors",
    "DeviceInfo": "netadapt.android_runner.device",
    "DeviceLostError": "netadapt.android_runner.errors",
    "DeviceStateError": "netadapt.android_runner.errors",
    "Failure": "netadapt.android_runner.device",
    "HostDevice": "netadapt.android_runner.host",
    "InvalidRunError": "netadapt.android_runner.errors",
    "Measurement": "netadapt.android_runner.device",
    "NoSuchDeviceError": "netadapt.android_runner.errors",
    "OutputTensor": "netadapt.android_runner.device",
    "Program": "netadapt.android_runner.device",
    "Progress": "netadapt.android_runner.device",
    "ProtocolError": "netadapt.android_runner.errors",
    "ReplayDevice": "netadapt.android_runner.replay",
    "RunSpec": "netadapt.android_runner.device",
    "RunnerError": "netadapt.android_runner.errors",
    "StorageError": "netadapt.android_runner.errors",
    "UnsupportedDeviceError": "netadapt.android_runner.errors",
}
__getattr__ = exports(__name__, _HOMES)
