"""What a phone prints when it is asked what it is, and whether that is enough to measure on it."""

from __future__ import annotations

import dataclasses
import platform
from pathlib import Path

import pytest

from netadapt.android_runner import BuildError, DeviceLostError, UnsupportedDeviceError
from netadapt.android_runner.phone import AdbServer, find_phones
from netadapt.android_runner.phone.discovery import MARK, PhoneInfo, check_usable, described
from netadapt.android_runner.phone.runners import remedy_for, runner_for
from netadapt.virtual_phone import PIXEL_1
from tests.android_runner.phone.conftest import SwitchOn

ABI = {"x86_64": "x86_64", "aarch64": "arm64-v8a"}.get(platform.machine(), "none")


def printed(
    *, started: str = "1", cores: str = "0-1", sdk: int = 33, loader: str = ""
) -> PhoneInfo:
    """As `discovery.describe` gets it."""
    boot = f"[sys.boot_completed]: [{started}]\n" if started else ""
    present = f"/sys/devices/system/cpu/present:{cores}\n" if cores else ""
    return described(
        "SERIAL",
        f"{MARK} loader\n{loader}\n{MARK} properties\n[ro.build.version.sdk]: [{sdk}]\n{boot}"
        f"[ro.product.cpu.abilist]: [{ABI},armeabi]\n{MARK} cores\n{present}",
    )


def test_one_that_has_started_and_tells_its_cores_is_ready() -> None:
    info = printed()
    assert info.ready
    assert (info.state, info.remedy, len(info.cores)) == ("device", "", 2)
    check_usable(info)


@pytest.mark.parametrize("started", ["", "0"])
def test_one_that_still_starts_is_not_ready_and_is_waited_for(started: str) -> None:
    info = printed(started=started)
    assert not info.ready
    assert (info.state, info.remedy) == ("starting", "wait until Android has started")
    with pytest.raises(DeviceLostError, match="must have started"):
        check_usable(info)


def test_one_that_tells_no_core_is_not_ready() -> None:
    info = printed(cores="")
    assert not info.ready
    assert "reports no cores" in info.remedy
    with pytest.raises(UnsupportedDeviceError, match="reports no cores"):
        check_usable(info)


def test_an_old_one_is_told_so_first() -> None:
    assert "Android 7" in printed(sdk=23, started="", cores="").remedy


def test_a_starting_phone_is_listed_as_such(switched_on: SwitchOn, adb_server: AdbServer) -> None:
    properties = {**PIXEL_1.properties, "sys.boot_completed": "0"}
    switched_on(dataclasses.replace(PIXEL_1, properties=properties))
    (info,) = find_phones(adb_server, remedy_for)
    assert (info.state, info.ready) == ("starting", False)
    assert info.host_loader, "a virtual phone runs this machine's programs"


def test_this_machines_runner_is_for_phones_that_can_start_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An emulator or a Chromebook has this machine's processor, and Android's loader only."""
    assert remedy_for(printed(loader="there")) == ""
    monkeypatch.setenv("NETADAPT_CACHE", str(tmp_path))
    emulator = printed()
    assert "netadapt runner build --android" in remedy_for(emulator)
    with pytest.raises(BuildError, match="netadapt runner build --android"):
        runner_for(emulator)
