"""Which runner goes onto a phone."""

from __future__ import annotations

import platform

from netadapt.android_runner.building.binary import RunnerBinary, find_phone_runner
from netadapt.android_runner.building.for_host import build_runner
from netadapt.android_runner.errors import BuildError
from netadapt.android_runner.phone.discovery import PhoneInfo

# Android's names of this machine's processor.
_HOST_ABIS = {"x86_64": "x86_64", "aarch64": "arm64-v8a"}


def runner_for(phone: PhoneInfo) -> RunnerBinary:
    """The runner built for phones of its ABI, else this machine's own where the phone can start it.

    Raises `BuildError` when there is neither.
    """
    try:
        return find_phone_runner(phone.abi)
    except BuildError:
        if not _runs_ours(phone):
            raise
        return build_runner()


def remedy_for(phone: PhoneInfo) -> str:
    """What to do before programs run on a phone; "" when nothing is missing."""
    if _runs_ours(phone):
        return ""
    try:
        find_phone_runner(phone.abi)
    except BuildError as error:
        return str(error)
    return ""


def _runs_ours(phone: PhoneInfo) -> bool:
    return phone.host_loader and phone.abi == _HOST_ABIS.get(platform.machine())
