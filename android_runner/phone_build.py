"""Builds the runner for a phone or another machine, against an ExecuTorch C++ install.

It goes through the same CMake project as this machine's runner (`build.py`); what differs is where
``executorch_DIR`` points and which compiler is used.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import logging
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netadapt.android_runner.build import BINARY_NAME, RunnerBinary, run_cmake
from netadapt.android_runner.compatibility import UNKNOWN_RUNTIME, lowering_version
from netadapt.android_runner.elf import ANDROID_ABIS, library_machine, read_elf, this_machine
from netadapt.android_runner.errors import BuildError
from netadapt.android_runner.files import write_atomically
from netadapt.android_runner.paths import cache_folder

logger = logging.getLogger(__name__)

DEFAULT_ABI: Final = "arm64-v8a"
ANDROID_API: Final = 26
"""Android 8: the lowest version that the NDK's runner is built for."""

EXECUTORCH_FLAGS: Final = (
    "-DCMAKE_BUILD_TYPE=Release -DEXECUTORCH_BUILD_XNNPACK=ON "
    "-DEXECUTORCH_BUILD_EXTENSION_DATA_LOADER=ON"
)
"""How ExecuTorch must be configured so that the runner finds in its install what it needs."""

_CONFIG_NAMES: Final = (
    "executorch-config.cmake", "executorchConfig.cmake", "ExecuTorchConfig.cmake",
)  # fmt: skip
_ANDROID_LOADERS: Final = ("/system/bin/linker64", "/system/bin/linker")
_TRIPLES: Final = {
    "aarch64": "aarch64-linux-gnu",
    "arm": "arm-linux-gnueabihf",
    "x86_64": "x86_64-linux-gnu",
    "x86": "i686-linux-gnu",
    "riscv64": "riscv64-linux-gnu",
}
_FEWEST_HEADERS: Final = 20
_INFO_NAME: Final = "runner.json"


@dataclass(frozen=True, slots=True)
class BuiltRunner:
    """A runner for another machine, as built.

    machine: the processor, as ``uname -m`` names it. abi: Android's name of it. static: needs no
    library of the system's. runtime_version: ExecuTorch's, ``unknown`` where nothing tells it.
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

    toolchain: a CMake toolchain file. ndk: an Android NDK, for `abi` and Android 8 or newer. With
    neither, the compiler is this machine's, or the usual cross compiler where the install is for
    another processor. abi: what the runner must be for (Android's name). android: it must run on a
    phone, and goes to where `find_phone_runner` looks; else it goes to `out`, or into the cache.
    runtime_version: ExecuTorch's, where the install does not tell.

    Raises `BuildError`, a line long, for whatever is missing, and when the build fails.
    """
    package = find_package(executorch)
    if toolchain is not None and ndk is not None:
        raise BuildError(
            f"a runner is built with a toolchain file or an NDK, got both {toolchain} and {ndk}; "
            "leave one of them out"
        )
    if abi is not None and abi not in ANDROID_ABIS.values():
        raise BuildError(f"an ABI is one of {', '.join(ANDROID_ABIS.values())}, got {abi!r}")
    machine = _machine_of(package)
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
            *_compiler_arguments(machine, toolchain, ndk, abi, folder),
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
    path = out or _installed(facts.android_abi, "phone-runner" if android else "linux-runner")
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
            "%s does not tell its version of ExecuTorch; name it with --runtime-version, "
            "so that it can be compared with %s, which lowers programs",
            executorch, lowering_version(),
        )  # fmt: skip
    return runner


def build_phone_runner(
    executorch: Path, toolchain: Path | None, ndk: Path | None, abi: str | None = None
) -> RunnerBinary:
    """`build_for_install` for phones, where `find_phone_runner` finds it afterwards."""
    return build_for_install(executorch, toolchain=toolchain, ndk=ndk, abi=abi, android=True).binary


def find_phone_runner(abi: str) -> RunnerBinary:
    """What `build_phone_runner` made for phones of an ABI (Android's name, e.g. ``arm64-v8a``).

    Raises `BuildError` where there is none.
    """
    path = _installed(abi, "phone-runner")
    if path.is_file():
        data = path.read_bytes()
        try:
            found = read_elf(data).android_abi
        except ValueError:
            found = "no program"
        if found != abi:
            raise BuildError(
                f"{path} must be a runner for {abi}, it is {found}; build it again: netadapt "
                "runner build --android"
            )
        return RunnerBinary(path, hashlib.sha256(data).hexdigest())
    raise BuildError(
        f"a phone of ABI {abi} needs a runner built for it, none is there; build it with: netadapt "
        "runner build --android --executorch PREFIX --toolchain FILE (docs/phone.md)"
    )


def _installed(abi: str, kind: str) -> Path:
    return cache_folder() / kind / abi / BINARY_NAME


def find_package(prefix: Path) -> Path:
    """The folder of ExecuTorch's CMake package in an install.

    `prefix` is what ``cmake --install`` was given, or that folder, or the package's file itself.
    Raises `BuildError` where there is none.
    """
    prefix = prefix.expanduser().absolute()
    if not prefix.exists():
        raise BuildError(
            f"an ExecuTorch install must be there, {prefix} is not; give --executorch the prefix "
            "that ExecuTorch was installed to"
        )
    if prefix.is_file() and prefix.name in _CONFIG_NAMES:
        return prefix.parent
    places = [prefix, *sorted(prefix.glob("lib*/cmake/*")), *sorted(prefix.glob("lib/*/cmake/*"))]
    for folder in (*places, prefix / "share" / "cmake"):
        if any((folder / name).is_file() for name in _CONFIG_NAMES):
            if _is_wheel(folder):
                break
            return folder
    if _is_wheel(prefix) or _is_wheel(prefix / "share" / "cmake"):
        raise BuildError(
            f"a runner for another machine needs an ExecuTorch C++ install, {prefix} is the Python "
            "package; leave --executorch out to build this machine's runner from it"
        )
    if (prefix / "CMakeCache.txt").is_file():
        raise BuildError(
            f"an ExecuTorch install must hold lib/cmake/ExecuTorch/{_CONFIG_NAMES[0]}, {prefix} is "
            f"a build tree without; install it first: cmake --install {prefix} --prefix PREFIX"
        )
    raise BuildError(
        f"an ExecuTorch install must hold lib/cmake/ExecuTorch/{_CONFIG_NAMES[0]}, {prefix} does "
        f"not; build and install ExecuTorch with {EXECUTORCH_FLAGS}"
    )


def _is_wheel(folder: Path) -> bool:
    roots = (folder, folder.parent.parent)
    return any(any(root.glob("extension/pybindings/_portable_lib*.so")) for root in roots)


def _prefix_of(package: Path) -> Path:
    """The install's prefix, from its package's folder."""
    for parent in package.parents:
        if (parent / "include").is_dir():
            return parent
    return package


def version_of(package: Path) -> str | None:
    """ExecuTorch's version where CMake is not told it; None where nothing tells.

    From its pkg-config file; else, where the install's headers are those of the Python package here
    to the byte, that package's version.
    """
    prefix = _prefix_of(package)
    for description in sorted(prefix.glob("lib*/pkgconfig/executorch*.pc")):
        if found := re.search(r"^Version:\s*(\d+\.\d+\S*)", description.read_text(), re.MULTILINE):
            return found[1]
    spec = importlib.util.find_spec("executorch")
    if spec is None or not spec.submodule_search_locations:
        return None
    headers = Path(next(iter(spec.submodule_search_locations))) / "include" / "executorch"
    common = [
        (ours, theirs)
        for ours in headers.rglob("*.h")
        if (theirs := prefix / "include" / "executorch" / ours.relative_to(headers)).is_file()
    ]
    if len(common) < _FEWEST_HEADERS or any(a.read_bytes() != b.read_bytes() for a, b in common):
        return None
    return lowering_version()


def _compiler_arguments(
    machine: str | None, toolchain: Path | None, ndk: Path | None, abi: str | None, folder: Path
) -> list[str]:
    if toolchain is not None:
        toolchain = toolchain.expanduser().absolute()
        if not toolchain.is_file():
            raise BuildError(
                f"a toolchain file must be there, {toolchain} is not; name a CMake toolchain file"
            )
        return [f"-DCMAKE_TOOLCHAIN_FILE={toolchain}"]
    if ndk is not None:
        return [
            f"-DCMAKE_TOOLCHAIN_FILE={_ndk_toolchain(ndk)}",
            f"-DANDROID_ABI={abi or DEFAULT_ABI}",
            f"-DANDROID_PLATFORM=android-{ANDROID_API}",
            "-DANDROID_STL=c++_static",
        ]
    if machine is None or machine == this_machine():
        return []
    triple = _TRIPLES.get(machine, f"{machine}-linux-gnu")
    compilers = [shutil.which(f"{triple}-{tool}") for tool in ("gcc", "g++")]
    if None in compilers:
        raise BuildError(
            f"a runner for {machine} needs a compiler for it, {triple}-g++ is not there; install "
            f"it (apt install g++-{triple.replace('_', '-')}) or name one with --toolchain or --ndk"
        )
    written = folder / "toolchain.cmake"
    written.write_text(
        f"set(CMAKE_SYSTEM_NAME Linux)\nset(CMAKE_SYSTEM_PROCESSOR {machine})\n"
        f'set(CMAKE_C_COMPILER "{compilers[0]}")\nset(CMAKE_CXX_COMPILER "{compilers[1]}")\n'
    )
    return [f"-DCMAKE_TOOLCHAIN_FILE={written}"]


def _ndk_toolchain(ndk: Path) -> Path:
    ndk = ndk.expanduser().absolute()
    toolchain = ndk / "build" / "cmake" / "android.toolchain.cmake"
    if toolchain.is_file():
        return toolchain
    inside = sorted(ndk.glob("*/build/cmake/android.toolchain.cmake")) + sorted(
        ndk.glob("ndk/*/build/cmake/android.toolchain.cmake")
    )
    remedy = (
        f"did you mean {inside[-1].parents[2]}?"
        if inside
        else "name the folder of an installed NDK, such as ~/Android/Sdk/ndk/27.2.12479018"
    )
    raise BuildError(
        f"an NDK must hold build/cmake/android.toolchain.cmake, {ndk} does not; {remedy}"
    )


def _machine_of(package: Path) -> str | None:
    """The processor that an install's libraries are made for."""
    prefix = _prefix_of(package)
    for pattern in ("libexecutorch*.a", "libexecutorch*.so"):
        for library in sorted((*prefix.glob(f"lib*/{pattern}"), *prefix.glob(f"lib/*/{pattern}"))):
            if machine := library_machine(library):
                return machine
    return None


def _cache_entries(cache: Path) -> dict[str, str]:
    lines = re.findall(r"^(\w+):\w+=(.*)$", cache.read_text(), re.MULTILINE)
    return dict(lines)
