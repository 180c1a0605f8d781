"""The virtual phone as a command."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from netadapt.android_runner.errors import InvalidRunError
from netadapt.virtual_phone import VirtualPhone
from netadapt.virtual_phone.serving import describe, play_line
from tests.virtual_phone.conftest import RealAdb


def test_the_command_serves_adb_and_plays_faults(adb: RealAdb, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "netadapt.virtual_phone", "--root", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--serial", "MINE"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            assert b"connected to" in adb("connect", address).stdout
            adb("-s", address, "wait-for-device")  # on a busy machine it may still be greeting
            answer = adb("-s", address, "shell", "getprop ro.serialno").stdout
            assert answer == b"MINE\n"
            process.stdin.write("cable_out 30\n")
            process.stdin.flush()
            host, _, port = address.partition(":")
            deadline = time.monotonic() + 10
            with pytest.raises(ConnectionRefusedError):  # noqa: PT012 (refused from some time on)
                while time.monotonic() < deadline:
                    with suppress(ConnectionResetError):  # just as it stops listening
                        socket.create_connection((host, int(port)), timeout=1).close()
                    time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_a_killed_phone_leaves_no_process(adb: RealAdb, tmp_path: Path) -> None:
    """In namespaces its programs end with it, whatever ends it."""
    command = [sys.executable, "-m", "netadapt.virtual_phone", "--root", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--isolation", "namespaces"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().decode().strip()
        if not address:
            pytest.skip("no namespaces here")
        adb("connect", address)
        adb("-s", address, "wait-for-device")
        adb("-s", address, "shell", "sleep 87.125 >/dev/null 2>&1 </dev/null & true")
        assert _running("87.125")
        process.kill()
    deadline = time.monotonic() + 10
    while _running("87.125"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _running(word: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes().split(b"\0"):
                return True
        except OSError:
            continue
    return False


@pytest.mark.parametrize("line", ["nope", "cable_out long", "cable_out 1 2", "cable_out -1"])
def test_a_line_that_is_no_fault_is_reported(phone: VirtualPhone, line: str) -> None:
    with pytest.raises(InvalidRunError):
        play_line(phone, line)


def test_an_empty_line_is_nothing(phone: VirtualPhone) -> None:
    before = phone.log
    play_line(phone, "\n")
    assert phone.log == before


def test_phones_are_named_or_files(tmp_path: Path) -> None:
    assert describe("redmi_note_8").serial == "7a1c2f40"
    assert describe("redmi_note_8", "OTHER").serial == "OTHER"
    with pytest.raises(InvalidRunError, match="bundled phone is one of"):
        describe("nokia")
    with pytest.raises(InvalidRunError, match="TOML"):
        describe(str(tmp_path / "missing.toml"))
