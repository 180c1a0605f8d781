"""`netadapt runner` from outside: what it prints, and one line with exit code 2 for bad input."""

from __future__ import annotations

import json
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from android_runner.elf import this_machine
from netadapt import cli
from netadapt.console import configure_logging


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
    (line,) = err.splitlines()
    assert line.startswith("netadapt: ")
    assert message in line
