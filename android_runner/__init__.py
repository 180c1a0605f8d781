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
    BuildError,
    DeviceError,
    InvalidRunError,
    ProtocolError,
    RunnerError,
)
from android_runner.host import HostDevice
from android_runner.replay import ReplayDevice

__all__ = [
    "BuildError",
    "Conditions",
    "Device",
    "DeviceError",
    "DeviceInfo",
    "Failure",
    "HostDevice",
    "InvalidRunError",
    "Measurement",
    "OutputTensor",
    "Program",
    "Progress",
    "ProtocolError",
    "ReplayDevice",
    "RunSpec",
    "RunnerError",
]
