"""A built runner: which file it is, and where those for phones are kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netadapt.android_runner.building.elf import read_elf
from netadapt.android_runner.errors import BuildError
from netadapt.android_runner.paths import cache_folder

BINARY_NAME: Final = "netadapt_runner"


@dataclass(frozen=True, slots=True)
class RunnerBinary:
    """A runner that exists.

    Attributes
    ----------
    sha256: of the file.
    """

    path: Path
    sha256: str


def kept_path(abi: str, *, android: bool) -> Path:
    """Where the runner for an ABI (Android's name) is kept; it may not be there yet."""
    return cache_folder() / ("phone-runner" if android else "linux-runner") / abi / BINARY_NAME


def find_phone_runner(abi: str) -> RunnerBinary:
    """Find the runner that was built for phones of an ABI (Android's name, e.g. ``arm64-v8a``).

    Raises `BuildError` where there is none.
    """
    path = kept_path(abi, android=True)
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
