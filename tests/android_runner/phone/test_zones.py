"""Which sensor is taken for the cores', in which unit."""

from __future__ import annotations

import pytest

from netadapt.android_runner.phone.discovery import MARK
from netadapt.android_runner.phone.readings import parse_reading
from netadapt.android_runner.phone.zones import (
    CHIP,
    CORES,
    SKIN,
    UNKNOWN,
    Zone,
    celsius,
    parse_zones,
)


def told(**zones: str) -> str:
    """As a phone's shell prints them: all types first, as its globs do."""
    folders = {f"/sys/class/thermal/thermal_zone{i}": zone for i, zone in enumerate(zones.items())}
    return "\n".join(
        [f"{folder}/type:{kind}" for folder, (kind, _) in folders.items()]
        + [f"{folder}/temp:{value}" for folder, (_, value) in folders.items()]
    )


# What the zones of phones of several makers are called: Xperia XZ1 as in
# https://github.com/sonyxperiadev/device-sony-lilac/pull/3, others from their kernels' sources
@pytest.mark.parametrize(
    ("zones", "chosen"),
    [
        ({"cpu-0-0": "41200", "modem-0": "90000", "battery": "30000"}, ("cpu-0-0", 41.2, CORES)),
        ({"LITTLE": "38000", "BIG": "44000", "G3D": "61000"}, ("BIG", 44.0, CORES)),
        ({"mtktscpu": "45100", "mtktspmic": "52000"}, ("mtktscpu", 45.1, CORES)),
        ({"battery": "350", "tsens_tz_sensor4": "412"}, ("tsens_tz_sensor4", 41.2, CHIP)),
        ({"msm_therm": "39", "quiet_therm": "45", "pa_therm1": "55"}, ("msm_therm", 39.0, CHIP)),
        ({"soc": "99", "skin-therm": "33000", "charger_skin": "48000"}, ("skin-therm", 33.0, SKIN)),
        ({"acpitz": "40000", "usb_port": "60000"}, ("acpitz", 40.0, UNKNOWN)),
        ({"pm8998_tz": "42000", "battery": "30000", "modem1": "70000", "soc": "80"}, None),
    ],
)
def test_the_hottest_of_those_closest_to_the_cores(
    zones: dict[str, str], chosen: tuple[str, float, int] | None
) -> None:
    assert parse_zones(told(**zones)) == (None if chosen is None else Zone(*chosen))


@pytest.mark.parametrize(
    ("text", "degrees"),
    [("41", 41.0), ("412", 41.2), ("350", 35.0), ("1050", 105.0), ("41200", 41.2), ("0", None),
     ("-40000", None), ("1800", None), ("2147483647", None), ("x", None), ("nan", None)],
)  # fmt: skip
def test_whole_degrees_tenths_and_thousandths(text: str, degrees: float | None) -> None:
    assert celsius(text) == degrees


@pytest.mark.parametrize(
    ("zones", "degrees", "named"),
    [
        ({"cpu-0-0-usr": "41200", "modem": "90000"}, 41.2, ""),
        ({"acpitz": "40000"}, 40.0, "acpitz"),
        ({"modem": "90000"}, 27.6, "battery"),
    ],
)
def test_what_stands_for_the_cores_temperature_is_named(
    zones: dict[str, str], degrees: float, named: str
) -> None:
    battery = "Current Battery Service state:\n  level: 50\n  scale: 100\n  temperature: 276\n"
    text = f"{MARK} zones\n{told(**zones)}\n{MARK} battery\n{battery}"
    reading = parse_reading(text)
    assert (reading.temperature_c, reading.temperature_of) == (degrees, named)
