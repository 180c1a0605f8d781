"""Builds the native runner for this machine, once for each version of everything that matters."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import logging
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from netadapt.android_runner.building.binary import BINARY_NAME, RunnerBinary
from netadapt.android_runner.building.cmake import NATIVE, TIMEOUT_S, run_cmake
from netadapt.android_runner.errors import BuildError
from netadapt.android_runner.paths import cache_folder

logger = logging.getLogger(__name__)

_COMPILERS: Final = ("c++", "g++", "clang++")


def build_runner() -> RunnerBinary:
    """The runner for this machine: from the cache, or built now (some seconds).

    Safe to call from several processes at once. Raises `BuildError`, a line long, when a compiler,
    CMake, Ninja or the ExecuTorch wheel is missing or the build fails.
    """
    compiler = _compiler()
    folder = cache_folder() / "runner"
    path = folder / _cache_key(compiler) / BINARY_NAME
    if not path.is_file():
        try:
            with _locked(folder, path.parent.name):
                if not path.is_file():
                    _build(compiler, path)
        except OSError as error:
            if isinstance(error, BuildError):
                raise
            raise BuildError(
                f"the runner's cache must be writable, got {error}; free space there or set "
                "NETADAPT_CACHE to another folder"
            ) from error
    return RunnerBinary(path, hashlib.sha256(path.read_bytes()).hexdigest())


def runner_is_built() -> bool:
    """Whether `build_runner` has only to look, not to compile. Raises what it raises."""
    return (cache_folder() / "runner" / _cache_key(_compiler()) / BINARY_NAME).is_file()


def _compiler() -> Path:
    chosen = os.environ.get("CXX")
    for name in (chosen,) if chosen else _COMPILERS:
        if found := shutil.which(name):
            return Path(found)
    raise BuildError(
        f"the runner needs a C++20 compiler, none found as {chosen or ', '.join(_COMPILERS)}; "
        "install g++ (apt install g++) or set CXX"
    )


def _cache_key(compiler: Path) -> str:
    """Hash of the sources and of all that the binary depends on or has written into it."""
    digest = hashlib.sha256()
    for source in sorted(path for path in NATIVE.rglob("*") if path.is_file()):
        if "__pycache__" in source.parts:
            continue
        digest.update(f"\0{source.relative_to(NATIVE)}\0".encode())
        digest.update(source.read_bytes())
    compiler_version = subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    ).stdout
    facts = (
        str(compiler),
        compiler_version,
        _version("executorch"),
        _version("torch"),
        sys.prefix,
        str(sysconfig.get_config_var("EXT_SUFFIX")),
    )
    digest.update("\0".join(facts).encode())
    return digest.hexdigest()[:24]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise BuildError(
            f"the runner needs the Python package {package}, not found; run: pip install {package}"
        ) from error


@contextmanager
def _locked(folder: Path, key: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(compiler: Path, target: Path) -> None:
    logger.info("building the native runner into %s", target.parent)
    with tempfile.TemporaryDirectory(prefix="build-", dir=target.parent.parent) as folder:
        built = run_cmake(
            Path(folder),
            [
                f"-DCMAKE_CXX_COMPILER={compiler}",
                f"-Dexecutorch_DIR={NATIVE / 'wheel'}",
                f"-DPython3_EXECUTABLE={sys.executable}",
            ],
        )
        target.parent.mkdir(exist_ok=True)
        with built.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(built, target)
