"""The runner's CMake project: configured, built, and one line on why where that fails."""

from __future__ import annotations

import importlib.util
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from netadapt.android_runner.building.binary import BINARY_NAME
from netadapt.android_runner.errors import BuildError

logger = logging.getLogger(__name__)

NATIVE: Final = Path(__file__).parents[1] / "native"
TIMEOUT_S: Final = 600.0

# A message of the CMake project's own ends with an empty line.
_OWN_MESSAGE: Final = re.compile(r"netadapt: (.*?)\n\s*\n", re.DOTALL)
_NO_COMPILER: Final = re.compile(r"The CMAKE_C(?:XX)?_COMPILER:\s+(\S+)\s+is not a full path")
# A linker's own message, without the folder it lies in; its warnings are no reason.
_LINKER: Final = re.compile(
    r"^(?:\S*/)?((?:\S*-)?ld(?:\.\w+)?: (?!warning)\S.*|.*: undefined reference to .*)$",
    re.MULTILINE,
)
_WRONG_PROCESSOR: Final = re.compile(
    r"file in wrong format|[Rr]elocations in generic ELF|is incompatible with"
)


def run_cmake(folder: Path, arguments: Sequence[str]) -> Path:
    """Configure and build the native project in `folder`; returns the binary.

    Logs the project's own warnings. Raises `BuildError`, a line long, when a tool is missing or the
    build fails.
    """
    ninja = find_tool("ninja")
    cmake = find_tool("cmake")
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
            check=False, timeout=TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise BuildError(
            f"building the runner must end within {TIMEOUT_S:g} s, it did not; run it again"
        ) from error
    if process.returncode != 0:
        logger.info("%s", process.stdout)
        raise BuildError(explain_failure(process.stdout, process.returncode))
    for warning in _OWN_MESSAGE.findall(process.stdout):
        logger.warning("%s", " ".join(warning.split()))


def explain_failure(output: str, code: int) -> str:
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


def find_tool(name: str) -> Path:
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
