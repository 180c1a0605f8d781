"""What Android's tools print, as facts. Pure: text in, frozen dataclasses out.

Whatever a phone prints is data of unknown origin: a line that does not fit is skipped, a value that
is no number is None, nothing here raises for a phone's text.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from netadapt.android_runner.text import printable

CPU_FOLDER = "/sys/devices/system/cpu"

_STATES = (
    "device|offline|unauthorized|authorizing|connecting|recovery|rescue|sideload|bootloader|host|"
    r"detached|unknown|no device|no permissions\b.*?"
)
_LISTED = re.compile(
    rf"(?P<serial>\S.*?)\s+(?P<state>{_STATES})(?P<tags>(?:\s+[a-z_]+:\S*)*)\s*", re.ASCII
)
_PROPERTY = re.compile(r"^\[(?P<key>[^\]\n]+)\]: \[(?P<value>.*?)\]$(?=\n\[|\s*\Z)", re.M | re.S)
_FIELD = re.compile(r"^\s*(?P<key>[A-Za-z][^:\n]*?)\s*: (?P<value>[^\n]*?)\s*$", re.M)
_TEMPERATURE = re.compile(
    r"Temperature\{mValue=(?P<value>[^,}]+), mType=(?P<type>-?\d+), mName=(?P<name>.*?), "
    r"mStatus=(?P<status>-?\d+)\}"
)
_CPU_FILE = re.compile(
    rf"{CPU_FOLDER}/cpu(?P<core>\d{{1,4}})/(?:cpufreq/)?(?P<name>[a-z_]+):(?P<value>.*)", re.ASCII
)
_CPU_LIST = re.compile(rf"{CPU_FOLDER}/(?P<name>present|online):(?P<value>.*)")
_SUM = re.compile(r"(?P<digest>[0-9a-f]{32,128})\s[ *]?(?P<name>\S+)")


@dataclass(frozen=True, slots=True)
class ListedPhone:
    """A line of `adb devices -l`.

    Attributes
    ----------
    model: adb's own, with underscores for spaces; may be empty.
    """

    serial: str
    state: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class Battery:
    """`dumpsys battery`; None where it is not reported.

    Attributes
    ----------
    powered: some charger is connected.
    """

    level_pct: int | None
    powered: bool | None
    temperature_c: float | None


@dataclass(frozen=True, slots=True)
class Sensor:
    """One temperature of `dumpsys thermalservice`; ``type`` as in `android.os.Temperature`."""

    name: str
    type: int
    value_c: float
    status: int


@dataclass(frozen=True, slots=True)
class Thermal:
    """`dumpsys thermalservice`.

    Attributes
    ----------
    status: 0 none to 6 shutdown; None where it is not reported.
    """

    status: int | None
    sensors: tuple[Sensor, ...]


@dataclass(frozen=True, slots=True)
class Core:
    """A core with its frequency scaling; None where the phone does not report it.

    Attributes
    ----------
    cluster: the cores that share its frequency, itself among them; of one that is asleep, itself
        alone where no other reports it.
    capacity: how much it gets done at its highest frequency, as a share of the phone's best core's
        1024.
    online: phones switch cores off while they have little to do; such a core has no frequencies
        until it is back.
    """

    number: int
    max_khz: int | None
    cluster: tuple[int, ...]
    governor: str | None = None
    limit_khz: int | None = None
    current_khz: int | None = None
    capacity: int | None = None
    online: bool = True


def is_address(serial: str) -> bool:
    """Whether a serial is the ``host:port`` of a phone on the network."""
    host, colon, port = serial.rpartition(":")
    return bool(colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 65536)


def parse_adb_version(text: str) -> tuple[int, ...]:
    """`adb version` to the version of the platform tools, e.g. (36, 0, 0); () if it has none."""
    found = re.search(r"^Version (\d{1,9}(?:\.\d{1,9})*)", text, re.M | re.ASCII)
    return tuple(map(int, found[1].split("."))) if found else ()


def parse_devices(text: str) -> tuple[ListedPhone, ...]:
    """`adb devices -l`, also the server's own answer, which lacks the heading."""
    phones = []
    for line in text.splitlines():
        if line.startswith(("List of devices", "* ")):
            continue
        found = _LISTED.fullmatch(line)
        if found is None:
            continue
        tags = dict(tag.split(":", 1) for tag in found["tags"].split())
        state = "no permissions" if found["state"].startswith("no perm") else found["state"]
        phones.append(ListedPhone(found["serial"], state, printable(tags.get("model", ""))))
    return tuple(phones)


def parse_getprop(text: str) -> dict[str, str]:
    """`getprop`: ``[key]: [value]``, a line each; values may go over several lines."""
    text = text.replace("\r\n", "\n")
    return {found["key"]: found["value"] for found in _PROPERTY.finditer(text)}


def parse_battery(text: str) -> Battery:
    """`dumpsys battery`. The temperature is in tenths of a degree there."""
    fields: dict[str, str] = {}
    for found in _FIELD.finditer(text):
        fields.setdefault(found["key"], found["value"])  # makers add sections of their own below
    level, scale = _int(fields.get("level")), _int(fields.get("scale")) or 100
    tenths = _int(fields.get("temperature"))
    powered = [value for key, value in fields.items() if key.endswith(" powered")]
    return Battery(
        None if level is None else round(100 * level / scale),
        any(value == "true" for value in powered) if powered else None,
        None if tenths is None else tenths / 10,
    )


def parse_thermalservice(text: str) -> Thermal:
    """`dumpsys thermalservice` (Android 10 and later).

    The hardware's present values count before those that the service remembers.
    """
    status = re.search(r"^\s*Thermal Status: (\d{1,2})\s*$", text, re.M)
    sections = re.split(r"^\s*(?=(?:Cached|Current) )", text, flags=re.M)
    chosen: tuple[Sensor, ...] = ()
    for section in sections:
        sensors = tuple(_sensors(section))
        if sensors and (section.startswith("Current temperatures") or not chosen):
            chosen = sensors
    return Thermal(int(status[1]) if status else None, chosen)


def _sensors(text: str) -> list[Sensor]:
    sensors = []
    for found in _TEMPERATURE.finditer(text):
        value = _float(found["value"])
        if value is not None:
            sensors.append(Sensor(found["name"], int(found["type"]), value, int(found["status"])))
    return sensors


def cpu_temperature_c(thermal: Thermal) -> float | None:
    """The hottest CPU sensor (type 0), else the hottest skin sensor (3); None without either."""
    for kind in (0, 3):
        values = [s.value_c for s in thermal.sensors if s.type == kind and 0 < s.value_c < 150]
        if values:
            return max(values)
    return None


def parse_cores(text: str) -> tuple[Core, ...]:
    """Lines ``<file>:<content>`` of the cores' folders and lists, by core number.

    A phone has the cores of the kernel's list ``present``; those missing from its list ``online``
    are asleep. What the awake ones of a cluster report of it holds for all of its cores.
    """
    files: dict[int, dict[str, str]] = {}
    lists: dict[str, tuple[int, ...]] = {}
    for line in text.splitlines():
        if found := _CPU_FILE.fullmatch(line.strip()):
            files.setdefault(int(found["core"]), {})[found["name"]] = found["value"].strip()
        elif found := _CPU_LIST.fullmatch(line.strip()):
            lists[found["name"]] = parse_cpu_list(found["value"])
    present = lists.get("present") or lists.get("online") or tuple(files)
    online = set(lists.get("online") or present)
    cores = [_core(number, files.get(number, {}), number in online) for number in sorted(present)]
    return tuple(_known_from_its_cluster(core, cores) for core in cores)


def _core(number: int, files: Mapping[str, str], online: bool) -> Core:
    related = tuple(
        sorted({int(word) for word in files.get("related_cpus", "").split() if word.isdecimal()})
    )
    return Core(
        number,
        _int(files.get("cpuinfo_max_freq")),
        related if number in related else (number,),
        files.get("scaling_governor") or None,
        _int(files.get("scaling_max_freq")),
        _int(files.get("scaling_cur_freq")),
        _int(files.get("cpu_capacity")),
        online,
    )


def _known_from_its_cluster(core: Core, cores: Sequence[Core]) -> Core:
    if core.max_khz is not None:
        return core
    for other in cores:
        if core.number in other.cluster and other.max_khz is not None:
            return dataclasses.replace(core, max_khz=other.max_khz, cluster=other.cluster)
    return core


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """The kernel's way to write sets of cores: ``0-3,6`` is (0, 1, 2, 3, 6)."""
    cores: set[int] = set()
    for part in text.strip().split(","):
        if found := re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part.strip(), re.ASCII):
            cores.update(range(int(found[1]), int(found[2] or found[1]) + 1))
    return tuple(sorted(cores))


def parse_screen_on(text: str) -> bool | None:
    """`dumpsys power`: whether the phone is awake."""
    found = re.search(r"^\s*mWakefulness=(\w+)", text, re.M)
    return None if found is None else found[1] == "Awake"


def parse_free_bytes(text: str) -> int | None:
    """`df -k FOLDER`: what is available there."""
    for line in reversed(text.splitlines()):
        if found := re.search(r"\s(\d+)\s+(\d+)\s+(\d+)\s+\d+%", line, re.ASCII):
            return int(found[3]) * 1024
    return None


def parse_sums(text: str) -> dict[str, str]:
    """`sha256sum FILE...` and its relatives: digest by file name; names without spaces only."""
    sums = {}
    for line in text.splitlines():
        if found := _SUM.fullmatch(line.strip()):
            sums[found["name"]] = found["digest"]
    return sums


def split_sections(text: str, marker: str) -> dict[str, str]:
    """The output of several commands in one, each announced by a line ``<marker> <name>``."""
    sections: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith(f"{marker} "):
            name = line[len(marker) + 1 :].strip()
            sections.setdefault(name, [])
        elif name:
            sections[name].append(line)
    return {key: "\n".join(lines) for key, lines in sections.items()}


def _int(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"-?\d{1,18}", text, re.ASCII) else None


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < 1e9 else None  # also not for infinities and NaN
