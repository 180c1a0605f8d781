"""`netadapt devices` and the ways to a phone on the network."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest

from netadapt.android_runner.phone import AdbServer, find_adb
from netadapt.commands import cli
from netadapt.console import configure_logging
from netadapt.virtual_phone import PIXEL_1, VirtualPhone


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_code:
        cli.main(["devices", *arguments])
    out, err = capsys.readouterr()
    configure_logging(verbose=False)
    assert isinstance(exit_code.value.code, int)
    return exit_code.value.code, out, err


def test_connects_to_a_phone_on_the_network_and_lists_it(
    capsys: pytest.CaptureFixture[str], adb_server: AdbServer, tmp_path: Path
) -> None:
    little, big = PIXEL_1.clusters
    sleepy = (little, dataclasses.replace(big, sleeps_after_s=1.0))
    described = dataclasses.replace(PIXEL_1, serial="FAR", clusters=sleepy)
    with VirtualPhone(described, tmp_path / "phone") as phone:
        try:
            assert "FAR" not in _run(capsys, "--json")[1]
            code, out, err = _run(capsys, "--connect", phone.address)
            assert (code, "connected to" in err) == (0, True)
            (line,) = [line for line in out.splitlines() if line.startswith("FAR")]
            assert "4 core(s) (2 at 1.59 GHz, 2 asleep)" in line
        finally:
            adb_server.disconnect(phone.address)


@pytest.mark.parametrize(
    ("address", "message"),
    [("FA69V0300001", "HOST:PORT"), ("127.0.0.1:1", "must connect to 127.0.0.1:1, it did not")],
)
def test_what_cannot_be_connected_to_is_one_line(
    capsys: pytest.CaptureFixture[str], adb_server: AdbServer, address: str, message: str
) -> None:
    code, out, err = _run(capsys, "--connect", address)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


def test_tells_where_its_adb_is(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(capsys, "--adb")
    assert (code, out) == (0, f"{find_adb().path}\n")
    said = subprocess.run([out.strip(), "version"], capture_output=True, check=True, timeout=30)
    assert b"Android Debug Bridge" in said.stdout
    assert json.loads(_run(capsys, "--adb", "--json")[1]) == {"adb": str(find_adb().path)}


def test_no_phone_is_said_with_what_to_do(
    capsys: pytest.CaptureFixture[str], adb_server: AdbServer
) -> None:
    if adb_server.devices():
        pytest.skip("somebody's phone is connected")
    err = _run(capsys)[2]
    assert "--connect HOST:PORT" in err
    assert str(find_adb().path) in err


def test_the_runners_compiling_is_said(
    capsys: pytest.CaptureFixture[str],
    adb_server: AdbServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NETADAPT_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", "false")  # where compiling would be, ends at once
    code, _, err = _run(capsys)
    assert code == 2
    assert err.splitlines()[0].strip().startswith("this machine's runner is built first, once")
