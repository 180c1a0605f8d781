"""Phones over adb: finding them, running programs on them, keeping their conditions steady."""

from netadapt.android_runner.phone.adb import Adb, AdbServer, find_adb
from netadapt.android_runner.phone.conditions import PhoneSettings
from netadapt.android_runner.phone.device import PhoneDevice
from netadapt.android_runner.phone.discovery import PhoneInfo, find_phones

__all__ = [
    "Adb",
    "AdbServer",
    "PhoneDevice",
    "PhoneInfo",
    "PhoneSettings",
    "find_adb",
    "find_phones",
]
