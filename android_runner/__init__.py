"""Times opaque ExecuTorch programs on devices: this machine, a phone, or a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netadapt.android_runner.exports import exports

if TYPE_CHECKING:
    from netadapt.android_runner.building.binary import RunnerBinary
    from netadapt.android_runner.building.for_host import build_runner
    from netadapt.android_runner.building.for_install import BuiltRunner, build_for_install
    from netadapt.android_runner.device import (
        Conditions,
        Device,
        DeviceInfo,
        Failure,
        Measurement,
        OutputTensor,
        Program,
        RunProgress,
        RunSpec,
    )
    from netadapt.android_runner.errors import (
        AdbError,
        BuildError,
        CoresAsleepError,
        DeviceError,
        DeviceLostError,
        DeviceStateError,
        FullStorageError,
        InvalidRunError,
        NoSuchDeviceError,
        PluginError,
        ProtocolError,
        RunnerError,
        StorageError,
        UnsupportedDeviceError,
    )
    from netadapt.android_runner.phone.device import PhoneDevice
    from netadapt.android_runner.phone.discovery import PhoneInfo, find_phones
    from netadapt.android_runner.phone.settings import PhoneSettings
    from netadapt.android_runner.replay import ReplayDevice
    from netadapt.android_runner.runner.check import CheckReport, check_runner
    from netadapt.android_runner.runner.host import HostDevice
    from netadapt.android_runner.runner.transport import RunnerProcess, Transport

__all__ = [
    "AdbError",
    "BuildError",
    "BuiltRunner",
    "CheckReport",
    "Conditions",
    "CoresAsleepError",
    "Device",
    "DeviceError",
    "DeviceInfo",
    "DeviceLostError",
    "DeviceStateError",
    "Failure",
    "FullStorageError",
    "HostDevice",
    "InvalidRunError",
    "Measurement",
    "NoSuchDeviceError",
    "OutputTensor",
    "PhoneDevice",
    "PhoneInfo",
    "PhoneSettings",
    "PluginError",
    "Program",
    "ProtocolError",
    "ReplayDevice",
    "RunProgress",
    "RunSpec",
    "RunnerBinary",
    "RunnerError",
    "RunnerProcess",
    "StorageError",
    "Transport",
    "UnsupportedDeviceError",
    "build_for_install",
    "build_runner",
    "check_runner",
    "find_phones",
]

_HOMES = {
    "AdbError": "netadapt.android_runner.errors",
    "BuildError": "netadapt.android_runner.errors",
    "BuiltRunner": "netadapt.android_runner.building.for_install",
    "CheckReport": "netadapt.android_runner.runner.check",
    "Conditions": "netadapt.android_runner.device",
    "CoresAsleepError": "netadapt.android_runner.errors",
    "Device": "netadapt.android_runner.device",
    "DeviceError": "netadapt.android_runner.errors",
    "DeviceInfo": "netadapt.android_runner.device",
    "DeviceLostError": "netadapt.android_runner.errors",
    "DeviceStateError": "netadapt.android_runner.errors",
    "Failure": "netadapt.android_runner.device",
    "FullStorageError": "netadapt.android_runner.errors",
    "HostDevice": "netadapt.android_runner.runner.host",
    "InvalidRunError": "netadapt.android_runner.errors",
    "Measurement": "netadapt.android_runner.device",
    "NoSuchDeviceError": "netadapt.android_runner.errors",
    "OutputTensor": "netadapt.android_runner.device",
    "PhoneDevice": "netadapt.android_runner.phone.device",
    "PhoneInfo": "netadapt.android_runner.phone.discovery",
    "PhoneSettings": "netadapt.android_runner.phone.settings",
    "PluginError": "netadapt.android_runner.errors",
    "Program": "netadapt.android_runner.device",
    "ProtocolError": "netadapt.android_runner.errors",
    "ReplayDevice": "netadapt.android_runner.replay",
    "RunProgress": "netadapt.android_runner.device",
    "RunSpec": "netadapt.android_runner.device",
    "RunnerBinary": "netadapt.android_runner.building.binary",
    "RunnerError": "netadapt.android_runner.errors",
    "RunnerProcess": "netadapt.android_runner.runner.transport",
    "StorageError": "netadapt.android_runner.errors",
    "Transport": "netadapt.android_runner.runner.transport",
    "UnsupportedDeviceError": "netadapt.android_runner.errors",
    "build_for_install": "netadapt.android_runner.building.for_install",
    "build_runner": "netadapt.android_runner.building.for_host",
    "check_runner": "netadapt.android_runner.runner.check",
    "find_phones": "netadapt.android_runner.phone.discovery",
}
__getattr__ = exports(__name__, _HOMES)
