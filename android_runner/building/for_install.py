"""Builds the runner for a phone or another machine, against any install of ExecuTorch.

It goes through the same CMake project as this machine's runner (`for_host`); what differs is where
``executorch_DIR`` points and which compiler is used.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netadapt.android_runner.building.binary import RunnerBinary, kept_path
from netadapt.android_runner.building.cmake import run_cmake
from netadapt.android_runner.building.elf import ANDROID_ABIS, read_elf
from netadapt.android_runner.building.installs import find_package, machine_of, version_of
from netadapt.android_runner.building.toolchains import compiler_arguments
from netadapt.android_runner.building.versions import UNKNOWN_RUNTIME, lowering_version
from netadapt.android_runner.errors import BuildError
from netadapt.android_runner.files import write_atomically

logger = logging.getLogger(__name__)

_ANDROID_LOADERS: Final = ("/system/bin/linker64", "/system/bin/linker")
_INFO_NAME: Final = "runner.json"


@dataclass(frozen=True, slots=True)
class BuiltRunner:
    """A runner for another machine, as built.

    Attributes
    ----------
    machine: the processor, as ``uname -m`` names it.
    abi: Android's name of it.
    static: needs no library of the system's.
    runtime_version: ExecuTorch's, ``unknown`` where nothing names it.
    """

    path: Path
    sha256: str
    size_bytes: int
    machine: str
    abi: str
    static: bool
    runtime_version: str
    build_options: str

    @property
    def binary(self) -> RunnerBinary:
        """The file and its hash alone."""
        return RunnerBinary(self.path, self.sha256)


def build_for_install(
    executorch: Path,
    *,
    toolchain: Path | None = None,
    ndk: Path | None = None,
    abi: str | None = None,
    android: bool = False,
    out: Path | None = None,
    runtime_version: str | None = None,
) -> BuiltRunner:
    """Build the runner against the ExecuTorch install at `executorch`, stripped.

    Raises `BuildError`, a line long, for whatever is missing, and when the build fails.

    Parameters
    ----------
    toolchain: a CMake toolchain file.
    ndk: an Android NDK, for `abi` and Android 8 or newer. With neither, the compiler is this
        machine's, or the usual cross compiler where the install is for another processor.
    abi: what the runner must be for (Android's name).
    android: it must run on a phone, and goes to where `find_phone_runner` looks; else it goes to
        `out`, or into the cache.
    runtime_version: ExecuTorch's, where the install does not name it.
    """
    package = find_package(executorch)
    if toolchain is not None and ndk is not None:
        raise BuildError(
            f"a runner is built with a toolchain file or an NDK, got both {toolchain} and {ndk}; "
            "leave one of them out"
        )
    if abi is not None and abi not in ANDROID_ABIS.values():
        raise BuildError(f"an ABI is one of {', '.join(ANDROID_ABIS.values())}, got {abi!r}")
    machine = machine_of(package)
    if abi is not None and machine is not None and ANDROID_ABIS.get(machine) != abi:
        raise BuildError(
            f"the ExecuTorch install must be for {abi}, {executorch} is for {machine}; "
            "use the install of that ABI"
        )
    with tempfile.TemporaryDirectory(prefix="netadapt-runner-") as name:
        folder = Path(name)
        arguments = [
            f"-Dexecutorch_DIR={package}",
            "-DNETADAPT_STRIP=ON",
            *compiler_arguments(machine, toolchain, ndk, abi, folder),
        ]
        if runtime_version is not None:
            arguments.append(f"-DNETADAPT_RUNTIME_VERSION={runtime_version}")
        elif guessed := version_of(package):
            arguments.append(f"-DNETADAPT_VERSION_HINT={guessed}")
        built = run_cmake(folder / "build", arguments)
        data = built.read_bytes()
        settings = _cache_entries(folder / "build" / "CMakeCache.txt")
    try:
        facts = read_elf(data)
    except ValueError as error:
        raise BuildError(
            f"a runner must be an ELF program for Linux or Android, got something else ({error}); "
            "use another toolchain file"
        ) from error
    if abi is not None and facts.android_abi != abi:
        raise BuildError(
            f"the runner must be for {abi}, the toolchain made one for {facts.android_abi}; "
            "use the toolchain and ExecuTorch install of that ABI"
        )
    if android and facts.interpreter not in (None, *_ANDROID_LOADERS):
        raise BuildError(
            f"a runner for Android must be static or made by the NDK, this one needs "
            f"{facts.interpreter}; install the toolchain's static C library or use --ndk"
        )
    path = out or kept_path(facts.android_abi, android=android)
    write_atomically(path, data, executable=True)
    runner = BuiltRunner(
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        machine=facts.machine,
        abi=facts.android_abi,
        static=facts.interpreter is None,
        runtime_version=settings.get("NETADAPT_RUNTIME_VERSION", UNKNOWN_RUNTIME),
        build_options=settings.get("NETADAPT_BUILD_OPTIONS", ""),
    )
    if out is None:
        record = {**dataclasses.asdict(runner), "path": str(path), "executorch": str(executorch)}
        write_atomically(path.with_name(_INFO_NAME), json.dumps(record, indent=2).encode())
    if runner.runtime_version == UNKNOWN_RUNTIME:
        logger.warning(
            "%s does not name its version of ExecuTorch; give it with --runtime-version, "
            "so that it can be compared with %s, which lowers programs",
            executorch, lowering_version(),
        )  # fmt: skip
    return runner


def _cache_entries(cache: Path) -> dict[str, str]:
    lines = re.findall(r"^(\w+):\w+=(.*)$", cache.read_text(), re.MULTILINE)
    return dict(lines)
