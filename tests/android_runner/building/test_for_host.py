"""The native project is built once, by whoever comes first, and says what it lacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from netadapt.android_runner import BuildError
from netadapt.android_runner.building.cmake import NATIVE, find_tool
from netadapt.android_runner.building.for_host import build_runner

_TARGETS = (
    "executorch", "extension_data_loader", "extension_threadpool", "xnnpack_backend",
    "portable_ops_lib",
)  # fmt: skip


@pytest.mark.slow
def test_concurrent_builds_give_one_runner_and_later_ones_build_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import logging; logging.basicConfig(level=logging.INFO)\n"
        "from netadapt.android_runner.building.for_host import build_runner\n"
        "b = build_runner(); print(b.path, b.sha256)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, "NETADAPT_CACHE": str(tmp_path)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=200) for process in processes]
    assert len({out for out, _ in outputs}) == 1
    assert sum("building the native runner" in err for _, err in outputs) == 1
    assert not list((tmp_path / "runner").glob("build-*"))
    monkeypatch.setenv("NETADAPT_CACHE", str(tmp_path))
    modified = Path(outputs[0][0].split()[0]).stat().st_mtime_ns
    assert build_runner().path.stat().st_mtime_ns == modified


def test_a_missing_compiler_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETADAPT_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BuildError, match=r"no-such-compiler; install g\+\+") as error:
        build_runner()
    assert "\n" not in str(error.value)


def test_a_broken_compiler_is_one_clear_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETADAPT_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(BuildError, match="exit code") as error:
        build_runner()
    assert "\n" not in str(error.value)
    assert [path for path in tmp_path.rglob("*") if path.suffix != ".lock"] == [tmp_path / "runner"]


def test_an_unusable_cache_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("NETADAPT_CACHE", str(blocked))
    with pytest.raises(BuildError, match="NETADAPT_CACHE") as error:
        build_runner()
    assert "\n" not in str(error.value)


def test_the_project_asks_an_install_for_nothing_but_the_documented_targets(
    tmp_path: Path,
) -> None:
    (tmp_path / "executorch-config.cmake").write_text(
        "".join(f"add_library({target} INTERFACE IMPORTED)\n" for target in _TARGETS)
    )
    configured = subprocess.run(
        [
            find_tool("cmake"), "-S", NATIVE, "-B", tmp_path / "build", "-G", "Ninja",
            f"-DCMAKE_MAKE_PROGRAM={find_tool('ninja')}", f"-Dexecutorch_DIR={tmp_path}",
        ],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert configured.returncode == 0, configured.stderr
