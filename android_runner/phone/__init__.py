"""Phones over adb: finding them, running programs on them, keeping their conditions steady."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netadapt.android_runner.exports import exports

if TYPE_CHECKING:
    from netadapt.android_runner.phone.adb import Adb, AdbServer, find_adb
    from netadapt.android_runner.phone.device import PhoneDevice
    from netadapt.android_runner.phone.discovery import PhoneInfo, find_phones
    from netadapt.android_runner.phone.settings import PhoneSettings

__all__ = [
    "Adb",
    "AdbServer",
    "PhoneDevice",
    "PhoneInfo",
    "PhoneSettings",
    "find_adb",
    "find_phones",
]

_HOMES = {
    "Adb": "netadapt.android_runner.phone.adb",
    "AdbServer": "netadapt.android_runner.phone.adb",
    "PhoneDevice": "netadapt.android_runner.phone.device",
    "PhoneInfo": "netadapt.android_runner.phone.discovery",
    "PhoneSettings": "netadapt.android_runner.phone.settings",
    "find_adb": "netadapt.android_runner.phone.adb",
    "find_phones": "netadapt.android_runner.phone.discovery",
}
__getattr__ = exports(__name__, _HOMES)
