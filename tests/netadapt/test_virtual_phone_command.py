"""``netadapt virtual-phone``; the phone itself: tests/virtual_phone."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "netadapt", "virtual-phone"]


def test_it_lists_the_bundled_phones() -> None:
    done = subprocess.run([*COMMAND, "--list"], capture_output=True, text=True, check=True)
    assert "pixel_1: Google Pixel, Android 10, MSM8996, 2 + 2 cores\n" in done.stdout
    assert len(done.stdout.splitlines()) == 3


def test_it_lists_them_for_scripts() -> None:
    done = subprocess.run([*COMMAND, "--list", "--json"], capture_output=True, check=True)
    listed = json.loads(done.stdout)
    assert [phone["name"] for phone in listed] == ["galaxy_s20", "pixel_1", "redmi_note_8"]
    assert listed[1]["clusters"] == [[0, 1], [2, 3]]


def test_its_address_for_scripts_comes_while_it_runs(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "--json", "--serial", "MINE", "--folder", str(tmp_path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            told = json.loads(process.stdout.readline())
            host, _, port = told["address"].partition(":")
            socket.create_connection((host, int(port)), timeout=5).close()
        finally:
            process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 0
    assert told["serial"] == "MINE"


def test_it_says_that_it_takes_no_lines_in_the_background(tmp_path: Path) -> None:
    """A terminal is not read from there; once in the foreground, its lines count again."""
    module = f"{sys.executable} -m netadapt.virtual_phone --root {tmp_path / 'phone'}"
    script = f"set -m; {module} >{tmp_path / 'out'} & read -r _; fg >/dev/null"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv("/bin/sh", ["/bin/sh", "-c", script])
    said = b""
    while b"try: fg" not in said:
        said += os.read(terminal, 1000)
    host, _, port = (tmp_path / "out").read_text().strip().partition(":")
    socket.create_connection((host, int(port)), timeout=5).close()
    os.write(terminal, b"\ncable_out 60\n")
    deadline = time.monotonic() + 60
    with pytest.raises(ConnectionRefusedError):  # noqa: PT012 (refused from some time on)
        while time.monotonic() < deadline:
            socket.create_connection((host, int(port)), timeout=5).close()
            time.sleep(0.05)
    os.write(terminal, b"\x03")
    with contextlib.suppress(OSError):  # until its end
        while os.read(terminal, 1000):
            pass
    os.waitpid(pid, 0)


def test_an_unknown_phone_is_bad_input() -> None:
    done = subprocess.run(
        [*COMMAND, "--phone", "nokia"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pixel_1" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_it_runs_until_it_is_interrupted(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "--folder", str(tmp_path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            host, _, port = process.stdout.readline().strip().partition(":")
            socket.create_connection((host, int(port)), timeout=5).close()
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert f"--device {host}:{port}" in process.stderr.read()
