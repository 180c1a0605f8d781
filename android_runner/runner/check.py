"""Does a device's runner give the same values as this machine's? One known program decides."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netadapt.android_runner.building.binary import RunnerBinary
from netadapt.android_runner.building.elf import read_elf, this_machine
from netadapt.android_runner.device import (
    Device,
    DeviceInfo,
    Failure,
    Measurement,
    Program,
    RunSpec,
)
from netadapt.android_runner.errors import DeviceError
from netadapt.android_runner.runner.host import HostDevice

TOLERANCE: Final = 1e-4
"""Largest deviation allowed, as a share of 1 + |value|. Two processors' XNNPACK kernels add the
same numbers up in another order: some 1e-6 for sums as short as the known program's."""

_PROGRAM: Final = Path(__file__).parent / "known" / "program.pte"
_SPEC: Final = RunSpec(rounds=3, warmup_ms=1, visit_ms=1, seed=1, outputs=True)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """A device that computes what this machine computes.

    Attributes
    ----------
    values: numbers compared.
    max_deviation: the largest |device - host| / (1 + |host|).
    latency_us: of the known program on the device, for one thread.
    """

    device: DeviceInfo
    values: int
    max_deviation: float
    latency_us: float


def known_program() -> Program:
    """The program of the check: a small network that uses XNNPACK and portable operators."""
    return Program("the known program", _PROGRAM.read_bytes())


def check_runner(device: Device, reference: Device | None = None) -> CheckReport:
    """Run the known program on `device` and on `reference` (this machine) and compare all outputs.

    Raises `DeviceError` where the program fails on either or a value deviates by more than
    `TOLERANCE`.
    """
    device.info()  # greets the runner, which nothing else answers
    reference = HostDevice() if reference is None else reference
    theirs, ours = _outputs(device), _outputs(reference)
    shapes = [
        [(output.shape, output.dtype) for output in measurement.outputs or ()]
        for measurement in (theirs, ours)
    ]
    if shapes[0] != shapes[1] or not shapes[0]:
        raise DeviceError(
            f"the known program must have the same outputs everywhere, got {shapes[0]} on "
            f"{device.info().id} and {shapes[1]} on this machine; build the runner again"
        )
    deviations = [
        # Written so that a value that is no number deviates too.
        abs(their - our) / (1 + abs(our)) if abs(their - our) < float("inf") else float("inf")
        for theirs_one, ours_one in zip(theirs.outputs or (), ours.outputs or (), strict=True)
        for their, our in zip(theirs_one.values, ours_one.values, strict=True)
    ]
    worst = max(deviations)
    if not worst <= TOLERANCE:
        raise DeviceError(
            f"the known program's values must be this machine's to {TOLERANCE:g}, on "
            f"{device.info().id} they deviate by up to {worst:.3g}; build the runner again from "
            "the ExecuTorch version that lowers programs"
        )
    return CheckReport(device.info(), len(deviations), worst, theirs.latency_us)


def device_of(runner: Path) -> HostDevice:
    """This machine with that runner: a static one for another processor runs in QEMU's emulator.

    Its values mean something then, its latencies do not. Raises `DeviceError` where the file is no
    program or there is no emulator for it.
    """
    try:
        data = runner.read_bytes()
        machine = read_elf(data).machine
    except (OSError, ValueError) as error:
        raise DeviceError(
            f"a runner must be a program for Linux, {runner} is none ({error}); build one: "
            "netadapt runner build"
        ) from error
    binary = RunnerBinary(runner.absolute(), hashlib.sha256(data).hexdigest())
    if machine == this_machine():
        return HostDevice(binary)
    emulator = shutil.which(f"qemu-{machine}") or shutil.which(f"qemu-{machine}-static")
    if emulator is None:
        raise DeviceError(
            f"a runner for {machine} needs an emulator here, qemu-{machine} is not there; install "
            "it (apt install qemu-user) or check the runner on a phone: --device"
        )
    return HostDevice(binary, (emulator,))


def _outputs(device: Device) -> Measurement:
    (answer,) = device.run([known_program()], _SPEC)
    if isinstance(answer, Failure):
        raise DeviceError(
            f"the known program must run, on {device.info().id} it did not ({answer.kind}: "
            f"{answer.message}); build its runner again: netadapt runner build"
        )
    return answer
