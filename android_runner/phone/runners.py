"""Which runner goes onto a phone."""

from __future__ import annotations

import platform

from android_runner.build import RunnerBinary, build_runner
from android_runner.errors import BuildError
from android_runner.phone_build import find_phone_runner

# Android's names of this machine's processor; its runner serves where no Android is in between,
# which is the case for a virtual phone.
_HOST_ABIS = {"x86_64": "x86_64", "aarch64": "arm64-v8a"}


def runner_for(abi: str) -> RunnerBinary:
    """The runner built for phones of this ABI, else this machine's own where the ABI is its.

    Raises `BuildError` when there is neither.
    """
    try:
        return find_phone_runner(abi)
    except BuildError:
        if abi != _HOST_ABIS.get(platform.machine()):
            raise
        return build_runner()


def remedy_for(abi: str) -> str:
    """What to do before programs run on a phone of this ABI; "" when nothing is missing."""
    if abi == _HOST_ABIS.get(platform.machine()):
        return ""
    try:
        find_phone_runner(abi)
    except BuildError as error:
        return str(error)
    return ""
