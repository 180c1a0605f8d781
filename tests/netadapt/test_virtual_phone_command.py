"""``netadapt virtual-phone``; the phone itself: tests/android_runner/virtual_phone."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-m", "netadapt", "virtual-phone"]


def test_it_lists_the_bundled_phones() -> None:
    done = subprocess.run([*COMMAND, "--list"], capture_output=True, text=True, check=True)
    assert "pixel_1: Google Pixel, Android 10, MSM8996, 2 + 2 cores\n" in done.stdout
    assert len(done.stdout.splitlines()) == 3


def test_an_unknown_phone_is_bad_input() -> None:
    done = subprocess.run(
        [*COMMAND, "--phone", "nokia"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pixel_1" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_it_runs_until_it_is_broken_off(tmp_path: Path) -> None:
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
