"""`netadapt runner` from outside: what it prints, and one line with exit code 2 for bad input."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import time
from hashlib import sha256
from pathlib import Path

import pytest

from netadapt.android_runner.building.elf import this_machine
from netadapt.android_runner.phone import AdbServer
from netadapt.commands import cli
from netadapt.console import configure_logging
from netadapt.virtual_phone import PIXEL_1, VirtualPhone


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_code:
        cli.main(["runner", *arguments])
    out, err = capsys.readouterr()
    configure_logging(verbose=False)
    assert isinstance(exit_code.value.code, int)
    return exit_code.value.code, out, err


@pytest.mark.parametrize("command", ["build", "check"])
def test_help_shows_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, _ = _run(capsys, command, "--help")
    assert code == 0
    assert f"netadapt runner {command}" in out.split("Options:")[0].split("Example")[1]


def test_examples_can_be_copied(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for command in ("build", "check"):
        examples = _run(capsys, command, "--help")[1].split("Options:")[0].split("Examples:")[1]
        lines = [line.strip() for line in examples.splitlines() if line.strip()]
        assert len(lines) > 1
        for line in lines:
            words = line.split()
            assert words[:3] == ["netadapt", "runner", command], "one line each"
            # Every option has its value on the same line
            assert all("-" not in word[:1] or len(word) > 2 for word in words)
    assert "Example: netadapt runner check" in _run(capsys, "--help")[1]


def test_a_lost_phone_is_waited_for_as_long_as_asked(
    capsys: pytest.CaptureFixture[str], adb_server: AdbServer, tmp_path: Path
) -> None:
    full = dataclasses.replace(PIXEL_1, serial="FULL", free_bytes=2**20)
    with VirtualPhone(full, tmp_path / "full") as phone:
        begin = time.monotonic()
        code, _, err = _run(capsys, "check", "--device", phone.address, "--wait", "0")
        adb_server.disconnect(phone.address)
    assert code == 2
    assert "free" in err.splitlines()[-1]
    assert time.monotonic() - begin < 600, "900 s is what it waits by itself"


def test_builds_this_machines_runner(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = _run(capsys, "build", "--json", "--out", str(tmp_path / "runner"))
    assert code == 0
    found = json.loads(out)
    assert found["path"] == str(tmp_path / "runner")
    hello = subprocess.run([found["path"]], capture_output=True, check=True, timeout=30).stdout
    assert b'"type":"hello"' in hello
    assert this_machine().encode() in hello


def test_checks_a_runner_by_its_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "runner"
    assert _run(capsys, "build", "--out", str(file))[0] == 0
    code, out, _ = _run(capsys, "check", "--runner", str(file), "--json")
    assert code == 0
    assert json.loads(out)["device"]["runner_sha256"] == sha256(file.read_bytes()).hexdigest()


def test_checks_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(capsys, "check", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["device"]["id"] == "host"
    assert found["max_deviation"] == 0
    assert found["values"] > 100
    code, out, _ = _run(capsys, "check")
    assert code == 0
    assert "values as on this machine" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "--android"], "--android needs an ExecuTorch C++ install"),
        (["build", "--toolchain", "x.cmake"], "--toolchain needs an ExecuTorch C++ install"),
        (["build", "--ndk", "/x"], "--ndk needs an ExecuTorch C++ install"),
        (["build", "--executorch", "/no/such"], "an ExecuTorch install must be there"),
        (["build", "--executorch", "{empty}"], "EXECUTORCH_BUILD_XNNPACK=ON"),
        (["build", "--executorch", "{package}", "--toolchain", "/no.cmake"], "a toolchain file"),
        (["build", "--executorch", "{package}", "--ndk", "/no/ndk"], "an NDK must hold"),
        (["build", "--executorch", "{package}", "--abi", "arm"], "an ABI is one of"),
        (["build", "--executorch", "{package}"], "lacks executorch"),
        (["build", "--executorch", "{package}", "--android", "--out", "x"], "leave --out"),
        (["build", "--colour"], "No such option"),
        (["check", "--device", "host", "--runner", "x"], "leave one of them out"),
        (["check", "--runner", "{empty}/none"], "a runner must be a program"),
        # What is a program, and no runner
        (["check", "--runner", "/bin/true"], "must say hello, got nothing (exit code 0"),
        (["check", "--device", ""], "device.id"),
        (["check", "--device", "a\nb"], "device.id"),
        (["check", "--device", "nobody", "--wait", "-1"], "--wait"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    package = tmp_path / "prefix" / "lib" / "cmake" / "ExecuTorch"
    package.mkdir(parents=True)
    (package / "executorch-config.cmake").write_text("# nothing\n")
    (tmp_path / "empty").mkdir()
    folders = {"empty": tmp_path / "empty", "package": tmp_path / "prefix"}
    code, out, err = _run(capsys, *(argument.format(**folders) for argument in arguments))
    assert (code, out) == (2, "")
    # On a slow machine, a step says that it begins
    (line,) = [line for line in err.splitlines() if not line.startswith(("Building", "Checking"))]
    assert line.startswith("netadapt: ")
    assert message in line
