"""The real adb, its server and its client, against a virtual phone."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import pytest

from netadapt.virtual_phone import PIXEL_1, PhoneDescription, VirtualPhone, bundled_names
from tests.virtual_phone.conftest import RealAdb


def test_adb_knows_it_as_a_phone(adb: RealAdb, phone: VirtualPhone) -> None:
    serial = adb.connect(phone)
    listed = adb("devices", "-l").stdout.decode()
    line = next(line for line in listed.splitlines() if line.startswith(serial))
    assert "device product:sailfish model:Pixel device:sailfish" in line
    assert adb("-s", serial, "features").stdout.split() == [
        b"shell_v2",
        b"stat_v2",
        b"ls_v2",
        b"fixed_push_mkdir",
    ]


def test_shells(adb: RealAdb, phone: VirtualPhone) -> None:
    serial = adb.connect(phone)
    second = adb("-s", serial, "shell", "echo out; echo err >&2; exit 7")
    assert (second.stdout, second.stderr, second.returncode) == (b"out\n", b"err\n", 7)
    first = adb("-s", serial, "shell", "-x", "echo out; echo err >&2; exit 7")
    assert (sorted(first.stdout.split()), first.returncode) == ([b"err", b"out"], 0)
    terminal = adb("-s", serial, "shell", "-tt", "tty; exit 4")
    assert b"/dev/pts/" in terminal.stdout
    assert terminal.returncode == 4
    assert adb("-s", serial, "shell", "cat", data=b"a\r\nb\0").stdout == b"a\r\nb\0"
    assert adb("-s", serial, "exec-out", "printf 'a\\r\\nb'").stdout == b"a\r\nb"


@pytest.mark.parametrize("name", ["pixel_1", "galaxy_s20"])  # with SEND alone, and its second
def test_files_survive_the_way_there_and_back(adb: RealAdb, tmp_path: Path, name: str) -> None:
    source = tmp_path / "source"
    (source / "a b" / "größe").mkdir(parents=True)
    (source / "big").write_bytes(os.urandom(3_000_000))
    (source / "a b" / "größe" / "$(x)").write_text("small")
    (source / "empty").touch()
    with VirtualPhone(PhoneDescription.bundled(name), tmp_path / "phone") as phone:
        serial = adb.connect(phone)
        pushed = adb("-s", serial, "push", source, "/data/local/tmp/there")
        assert pushed.returncode == 0, pushed.stderr
        pulled = adb("-s", serial, "pull", "/data/local/tmp/there", tmp_path / "back")
        assert pulled.returncode == 0, pulled.stderr
        failed = adb("-s", serial, "pull", "/data/local/tmp/none", tmp_path / "none")
        assert failed.returncode != 0
    for path in ("big", "empty", "a b/größe/$(x)"):
        assert (tmp_path / "back" / path).read_bytes() == (source / path).read_bytes()


def test_a_new_computer_is_let_in_once_it_was_accepted(adb: RealAdb, tmp_path: Path) -> None:
    locked = dataclasses.replace(PIXEL_1, authorized=False)
    with VirtualPhone(locked, tmp_path) as phone:
        adb("disconnect", phone.address)  # of a phone that had this port before
        assert b"failed to authenticate" in adb("connect", phone.address).stdout
        assert adb.state(phone.address) == "unauthorized"
        phone.accept_keys()
        adb("-s", phone.address, "wait-for-device")
        assert adb("-s", phone.address, "shell", "echo in").stdout == b"in\n"
        # The key is known from now on: no question any more
        adb("disconnect", phone.address)
        asked = [event for event in phone.log if event.kind == "unauthorized"]
        adb.connect(phone)
        assert adb("-s", phone.address, "shell", "echo in").stdout == b"in\n"
        assert [event for event in phone.log if event.kind == "unauthorized"] == asked


def test_adb_reboots_it(adb: RealAdb, phone: VirtualPhone) -> None:
    serial = adb.connect(phone)
    boot = "cat /proc/sys/kernel/random/boot_id"
    before = adb("-s", serial, "shell", boot).stdout
    adb("-s", serial, "reboot")
    deadline = time.monotonic() + 15
    while not any(event.kind == "back" for event in phone.log):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    adb("disconnect", serial)
    adb.connect(phone)
    after = adb("-s", serial, "shell", boot).stdout
    assert len(after) == len(before) == 37
    assert after != before


def test_a_rooted_phone_lets_root_set_its_clocks(adb: RealAdb, tmp_path: Path) -> None:
    with VirtualPhone(PhoneDescription.bundled("redmi_note_8"), tmp_path) as phone:
        serial = adb.connect(phone)
        governor = "/sys/devices/system/cpu/cpu4/cpufreq/scaling_governor"
        assert adb("-s", serial, "shell", "su 0 sh -c 'id -u'").stdout == b"0\n"
        write = f"su -c 'echo performance >{governor}'; cat {governor}"
        assert adb("-s", serial, "shell", write).stdout == b"performance\n"
        clock = "cat /sys/devices/system/cpu/cpu4/cpufreq/scaling_cur_freq"
        assert adb("-s", serial, "shell", clock).stdout == b"2016000\n"
        assert adb("-s", serial, "shell", f"echo powersave >{governor}").returncode != 0


def test_adb_root_where_it_is_allowed(adb: RealAdb, tmp_path: Path) -> None:
    with VirtualPhone(dataclasses.replace(PIXEL_1, root="adb"), tmp_path) as phone:
        serial = adb.connect(phone)
        assert b"restarting adbd as root" in adb("-s", serial, "root").stdout
        adb("disconnect", serial)
        adb.connect(phone)
        assert adb("-s", serial, "shell", "id -u").stdout == b"0\n"
    with VirtualPhone(PIXEL_1, tmp_path / "user") as phone:
        serial = adb.connect(phone)
        assert b"cannot run as root" in adb("-s", serial, "root").stdout


@pytest.mark.parametrize("name", bundled_names())
def test_every_bundled_phone_says_who_it_is(adb: RealAdb, tmp_path: Path, name: str) -> None:
    described = PhoneDescription.bundled(name)
    with VirtualPhone(described, tmp_path) as phone:
        serial = adb.connect(phone)
        script = (
            "getprop ro.product.model; getprop ro.build.version.sdk; "
            "grep -c ^processor /proc/cpuinfo"
        )
        assert adb("-s", serial, "shell", script).stdout.decode().splitlines() == [
            described.model,
            str(described.sdk),
            str(described.core_count),
        ]
