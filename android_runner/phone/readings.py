"""How a phone is at one moment, and the wait until it is cool."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from netadapt.android_runner.phone.adb import Adb
from netadapt.android_runner.phone.discovery import MARK, READ_CORES, READ_ZONES, script
from netadapt.android_runner.phone.parsing import (
    Battery,
    Core,
    cpu_temperature_c,
    parse_battery,
    parse_cores,
    parse_screen_on,
    parse_thermalservice,
    split_sections,
)
from netadapt.android_runner.phone.settings import PhoneSettings
from netadapt.android_runner.phone.zones import UNKNOWN, parse_zones

_AT_REST_S = 20.0
_AT_REST_C = 0.5


@dataclass(frozen=True, slots=True)
class Reading:
    """A phone at one moment. None where the phone does not report it.

    Attributes
    ----------
    low_power: Android's battery saver.
    temperature_of: the sensor, where it is not known to be the cores', the chip's or the skin's.
    """

    battery: Battery
    temperature_c: float | None
    thermal_status: int | None
    screen_on: bool | None
    low_power: bool
    cores: tuple[Core, ...]
    temperature_of: str = ""


_TEMPERATURES = {"thermal": "dumpsys thermalservice 2>/dev/null", "zones": READ_ZONES}
_READ = script(
    {
        "battery": "dumpsys battery",
        **_TEMPERATURES,
        "power": "dumpsys power",
        "saver": "settings get global low_power 2>/dev/null",
        "cores": READ_CORES,
    }
)
WATCH = script({"cores": READ_CORES, "zones": READ_ZONES})
AFTER = script({"battery": "dumpsys battery", **_TEMPERATURES})  # before Android 10 the only source


def read(adb: Adb) -> Reading:
    """Ask a phone how it is."""
    return parse_reading(adb.ask(_READ))


def parse_reading(text: str) -> Reading:
    """A reading from what one of this module's scripts printed."""
    sections = split_sections(text, MARK)
    thermal = parse_thermalservice(sections.get("thermal", ""))
    temperature_c = cpu_temperature_c(thermal)
    battery = parse_battery(sections.get("battery", ""))
    sensor = ""
    if temperature_c is None and (zone := parse_zones(sections.get("zones", ""))):
        temperature_c = zone.temperature_c
        sensor = zone.kind or "one without a name" if zone.closeness == UNKNOWN else ""
    if temperature_c is None and battery.temperature_c is not None:
        temperature_c, sensor = battery.temperature_c, "battery"
    return Reading(
        battery,
        temperature_c,
        thermal.status,
        parse_screen_on(sections.get("power", "")),
        sections.get("saver", "").strip() == "1",
        parse_cores(sections.get("cores", "")),
        sensor,
    )


def cool_down(
    adb: Adb,
    settings: PhoneSettings,
    cores: Sequence[Core],
    notify: Callable[[str], None],
) -> Reading:
    """Wait until the phone is cool and its clocks' limits are back, or nothing gets any better.

    Returns the last reading. Raises what asking a phone raises.
    """
    limits = {core.number: core.limit_khz or 0 for core in cores}
    begun = best_at = notified_at = time.monotonic()
    best_c = float("inf")
    while True:
        reading = read(adb)
        now = time.monotonic()
        held_down = [
            c.number for c in reading.cores if c.limit_khz and c.limit_khz < limits.get(c.number, 0)
        ]
        warm = reading.temperature_c is not None and reading.temperature_c > settings.start_below_c
        if reading.temperature_c is not None and reading.temperature_c < best_c - _AT_REST_C:
            best_c, best_at = reading.temperature_c, now
        at_rest = now - best_at >= _AT_REST_S
        # Limits that stay low on a phone at rest are its maker's doing, not the heat's
        if not reading.thermal_status and ((not held_down and not warm) or at_rest):
            return reading
        if now - begun >= settings.cool_timeout_s:
            notify(
                f"phone {adb.serial} did not cool down in {settings.cool_timeout_s:.0f} s "
                f"({_degrees(reading)}); continuing"
            )
            return reading
        if now == begun or now - notified_at >= 10:
            notified_at = now
            notify(f"phone {adb.serial} is warm ({_degrees(reading)}); waiting until it is cool")
        time.sleep(2.0 if at_rest or now - begun > 4 else 1.0)


def _degrees(reading: Reading) -> str:
    if reading.temperature_c is None:
        return "temperature unknown"
    return f"{reading.temperature_c:.0f} degrees"
