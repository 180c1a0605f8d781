"""An install of ExecuTorch's C++ libraries: its CMake package, its processor, its version."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Final

from netadapt.android_runner.building.elf import library_machine
from netadapt.android_runner.building.versions import lowering_version
from netadapt.android_runner.errors import BuildError

EXECUTORCH_FLAGS: Final = (
    "-DCMAKE_BUILD_TYPE=Release -DEXECUTORCH_BUILD_XNNPACK=ON "
    "-DEXECUTORCH_BUILD_EXTENSION_DATA_LOADER=ON"
)
"""How ExecuTorch must be configured so that the runner finds in its install what it needs."""

_CONFIG_NAMES: Final = (
    "executorch-config.cmake", "executorchConfig.cmake", "ExecuTorchConfig.cmake",
)  # fmt: skip
_FEWEST_HEADERS: Final = 20


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
    """ExecuTorch's version where CMake does not know it; None where nothing names it.

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


def machine_of(package: Path) -> str | None:
    """The processor that an install's libraries are made for."""
    prefix = _prefix_of(package)
    for pattern in ("libexecutorch*.a", "libexecutorch*.so"):
        for library in sorted((*prefix.glob(f"lib*/{pattern}"), *prefix.glob(f"lib/*/{pattern}"))):
            if machine := library_machine(library):
                return machine
    return None
