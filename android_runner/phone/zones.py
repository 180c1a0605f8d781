"""Which of a phone's thermal zones shows how warm its cores are, and in which unit.

A phone has dozens: cores, modem, charger, camera, battery. Their names are the makers'.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

CORES, CHIP, SKIN, UNKNOWN = 3, 2, 1, 0

_ZONE_FILE: Final = re.compile(
    r"(?P<zone>\S*thermal_zone\d{1,4})/(?P<name>type|temp):(?P<value>.*)"
)
# As `closeness` in `native/system.cpp`: Tensor and Exynos name the clusters, Qualcomm "apc"
_CORES: Final = re.compile(
    r"cpu|x86_pkg|coretemp|apc|big-core|little-core|^(?:big|mid|little)$", re.IGNORECASE
)
# A zone "soc" of its own is the battery's state of charge
_OTHERS: Final = re.compile(
    r"batt|bms|charg|usb|modem|mdm|wlan|wifi|pa[_-]therm|camera|flash|disp|emmc|ufs|[vi]bat|^soc$"
    r"|pmic|^pm[0-9i]|gps|nfc|bcl",
    re.IGNORECASE,
)
_SKIN: Final = re.compile(r"skin|quiet|case|^lr[a-z]$|mtktsap", re.IGNORECASE)
_CHIP: Final = re.compile(r"tsens|soc|msm_therm", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Zone:
    """One sensor's value.

    Attributes
    ----------
    closeness: `CORES`, `CHIP`, `SKIN` or `UNKNOWN`.
    """

    kind: str
    temperature_c: float
    closeness: int


def parse_zones(text: str) -> Zone | None:
    """The hottest of the zones that are closest to the cores; None without one that may be.

    Batteries, chargers, radios and the like never count.

    Parameters
    ----------
    text: lines ``<folder>/type:<name>`` and ``<folder>/temp:<value>``.
    """
    files: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if found := _ZONE_FILE.fullmatch(line.strip()):
            files.setdefault(found["zone"], {})[found["name"]] = found["value"].strip()
    zones = []
    for zone in files.values():
        kind, value_c = zone.get("type", ""), celsius(zone.get("temp", ""))
        close = closeness(kind)
        if value_c is not None and close is not None:
            zones.append(Zone(kind, value_c, close))
    return max(zones, key=lambda zone: (zone.closeness, zone.temperature_c), default=None)


def closeness(kind: str) -> int | None:
    """How surely a zone of this type is the cores'; None for those that are something else's."""
    if _CORES.search(kind):
        return CORES
    if _OTHERS.search(kind):
        return None
    if _SKIN.search(kind):
        return SKIN
    return CHIP if _CHIP.search(kind) else UNKNOWN


def celsius(text: str) -> float | None:
    """Degrees, from whole ones, tenths (the Pixel 1's cores) or thousandths.

    None for what no chip has while it works: zones that are switched off report nonsense.
    """
    try:
        value = float(text)
    except ValueError:
        return None
    if value >= 2000:
        value /= 1000
    elif value >= 150:
        value /= 10
    return value if 0 < value < 150 else None
