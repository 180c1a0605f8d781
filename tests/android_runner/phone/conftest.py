"""Phones to switch on, and devices that measure on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from netadapt.android_runner import (
    Measurement,
    Program,
    RunSpec,
)
from netadapt.android_runner.phone import AdbServer, PhoneDevice, PhoneSettings
from netadapt.virtual_phone import (
    PIXEL_1,
    PhoneDescription,
    VirtualPhone,
)

QUICK = RunSpec(rounds=3, warmup_ms=0.2, visit_ms=0.2, timeout_s=10.0)
LONGER = dataclasses.replace(QUICK, rounds=150, visit_ms=3.0, timeout_s=3.0)
GALAXY = PhoneDescription.bundled("galaxy_s20")  # Android 12: has the fixed-performance mode
ROOTED = dataclasses.replace(PIXEL_1, root="su")


@pytest.fixture
def switched_on(adb_server: AdbServer, tmp_path: Path) -> Iterator[SwitchOn]:
    with ExitStack() as stack:
        yield SwitchOn(adb_server, tmp_path, stack)


class SwitchOn:
    """Switches phones on that adb knows, and off again after the test."""

    def __init__(self, server: AdbServer, folder: Path, stack: ExitStack) -> None:
        self.server, self._folder, self._stack = server, folder, stack
        self._count = 0

    def __call__(self, description: PhoneDescription) -> VirtualPhone:
        self._count += 1
        phone = VirtualPhone(description, self._folder / f"phone {self._count}")
        self._stack.enter_context(phone)
        self._stack.callback(self.server.disconnect, phone.address)
        self.server.connect(phone.address)
        return phone


def phone_at(server: AdbServer, phone: VirtualPhone, **settings: object) -> PhoneDevice:
    chosen = PhoneSettings(**{"wait_s": 60.0, **settings})  # type: ignore[arg-type]
    return PhoneDevice(phone.address, chosen, server=server)


def all_measured(device: PhoneDevice, programs: Sequence[Program], spec: RunSpec) -> None:
    answers = list(device.run(programs, spec))
    assert sorted(a.program for a in answers) == sorted(p.name for p in programs)
    assert all(isinstance(a, Measurement) for a in answers), answers
