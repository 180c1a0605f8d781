"""Which compiler makes a runner for another processor: a toolchain file, an NDK, the usual one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from netadapt.android_runner.building.elf import this_machine
from netadapt.android_runner.errors import BuildError

DEFAULT_ABI: Final = "arm64-v8a"
ANDROID_API: Final = 26
"""Android 8: the lowest version that the NDK's runner is built for."""

_TRIPLES: Final = {
    "aarch64": "aarch64-linux-gnu",
    "arm": "arm-linux-gnueabihf",
    "x86_64": "x86_64-linux-gnu",
    "x86": "i686-linux-gnu",
    "riscv64": "riscv64-linux-gnu",
}


def compiler_arguments(
    machine: str | None, toolchain: Path | None, ndk: Path | None, abi: str | None, folder: Path
) -> list[str]:
    """CMake's arguments that choose the compiler of a build in `folder`.

    Raises `BuildError` for a toolchain file, an NDK or a cross compiler that is not there.
    """
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
