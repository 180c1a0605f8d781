"""Builds the native runner for this machine, once for each version of everything that matters."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netadapt.android_runner.errors import BuildError
from netadapt.android_runner.paths import cache_folder

logger = logging.getLogger(__name__)

NATIVE: Final = Path(__file__).parent / "native"
BINARY_NAME: Final = "netadapt_runner"
_COMPILERS: Final = ("c++", "g++", "clang++")
_TIMEOUT_S: Final = 600.0

# What the CMake project has to say itself ends with an empty line.
_OWN_MESSAGE: Final = re.compile(r"netadapt: (.*?)\n\s*\n", re.DOTALL)
_NO_COMPILER: Final = re.compile(r"The CMAKE_C(?:XX)?_COMPILER:\s+(\S+)\s+is not a full path")
# What a linker says itself, without the folder it lies in; its warnings are no reason.
_LINKER: Final = re.compile(
    r"^(?:\S*/)?((?:\S*-)?ld(?:\.\w+)?: (?!warning)\S.*|.*: undefined reference to .*)$",
    re.MULTILINE,
)
_WRONG_PROCESSOR: Final = re.compile(
    r"file in wrong format|[Rr]elocations in generic ELF|is incompatible with"
)


@dataclass(frozen=True, slots=True)
class RunnerBinary:
    """A runner that exists. sha256: of the file."""

    path: Path
    sha256: str


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


def _build_tool(name: str) -> Path:
    """CMake and Ninja come as Python packages; the system's serve as well."""
    beside_python = Path(sys.executable).parent / name
    if beside_python.is_file():
        return beside_python
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.origin is not None:
        packaged = Path(spec.origin).parent / "data" / "bin" / name
        if packaged.is_file():
            return packaged
    if found := shutil.which(name):
        return Path(found)
    raise BuildError(f"the runner needs {name} to be built, not found; run: pip install {name}")


def _cache_key(compiler: Path) -> str:
    """Hash of the sources and of all that the binary depends on or has written into it."""
    digest = hashlib.sha256()
    for source in sorted(path for path in NATIVE.rglob("*") if path.is_file()):
        if "__pycache__" in source.parts:
            continue
        digest.update(f"\0{source.relative_to(NATIVE)}\0".encode())
        digest.update(source.read_bytes())
    compiler_version = subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
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


def run_cmake(folder: Path, arguments: Sequence[str]) -> Path:
    """Configure and build the native project in `folder`; returns the binary.

    Logs the project's own warnings. Raises `BuildError`, a line long, when a tool is missing or the
    build fails.
    """
    ninja = _build_tool("ninja")
    cmake = _build_tool("cmake")
    _call(
        cmake, "-S", NATIVE, "-B", folder, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}",
        *arguments,
    )  # fmt: skip
    _call(cmake, "--build", folder)
    return folder / BINARY_NAME


def _call(*command: str | Path) -> None:
    try:
        process = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            check=False, timeout=_TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise BuildError(
            f"building the runner must end within {_TIMEOUT_S:g} s, it did not; run it again"
        ) from error
    if process.returncode != 0:
        logger.info("%s", process.stdout)
        raise BuildError(_explain_failure(process.stdout, process.returncode))
    for warning in _OWN_MESSAGE.findall(process.stdout):
        logger.warning("%s", " ".join(warning.split()))


def _explain_failure(output: str, code: int) -> str:
    """One line on why a build failed, from all that it printed."""
    if own := _OWN_MESSAGE.findall(output):
        return " ".join(own[-1].split())
    if compiler := _NO_COMPILER.search(output):
        return (
            f"the toolchain's compiler must be installed, {compiler[1]} was not found; install it "
            "or name another toolchain file"
        )
    if _WRONG_PROCESSOR.search(output):
        return (
            "the ExecuTorch install must be for the processor that is compiled for, its libraries "
            "are for another; use the toolchain it was built with"
        )
    if linker := _LINKER.findall(output):
        words = list(dict.fromkeys(" ".join(line.split()) for line in linker))[:3]
        return _passed_on(" ".join(words), code)
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    first = next((i for i, line in enumerate(lines) if "rror" in line or "undefined" in line), 0)
    return _passed_on(" ".join(lines[first : first + 4]), code)


def _passed_on(words: str, code: int) -> str:
    return (
        f"building the runner failed with exit code {code} ({words}); "
        "`netadapt --verbose runner build` shows all of it"
    )
