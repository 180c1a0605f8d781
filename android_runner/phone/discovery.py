"""Which phones there are, what each is, and which of them is meant."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from netadapt.android_runner.building.elf import read_elf
from netadapt.android_runner.errors import (
    DeviceError,
    DeviceLostError,
    DeviceStateError,
    NoSuchDeviceError,
    UnsupportedDeviceError,
)
from netadapt.android_runner.phone.adb import REMEDIES, Adb, AdbServer, quote
from netadapt.android_runner.phone.parsing import (
    CPU_FOLDER,
    Battery,
    Core,
    ListedPhone,
    cpu_temperature_c,
    is_address,
    parse_battery,
    parse_cores,
    parse_getprop,
    parse_thermalservice,
    split_sections,
)
from netadapt.android_runner.phone.zones import parse_zones
from netadapt.android_runner.text import printable

logger = logging.getLogger(__name__)

MARK = "@@netadapt"
READY = "device"
STARTING = "starting"
_HEAD_BYTES = 1 << 16
MIN_SDK = 24
"""Android 7: the first whose adb daemon reports exit codes (shell protocol 2)."""

# Serials that makers left in firmware for thousands of phones.
_PLACEHOLDERS = frozenset({"", "unknown", "0123456789ABCDEF", "0123456789abcdef", "1234567890"})

_READ_FILES = 'for f in {}; do read -r v <"$f" && echo "$f:$v"; done 2>/dev/null'
READ_CORES = _READ_FILES.format(
    " ".join(
        f"{CPU_FOLDER}/{name}"
        for name in (
            "present",
            "online",
            "cpu[0-9]*/cpu_capacity",
            "cpu[0-9]*/cpufreq/cpuinfo_max_freq",
            "cpu[0-9]*/cpufreq/related_cpus",
            "cpu[0-9]*/cpufreq/scaling_governor",
            "cpu[0-9]*/cpufreq/scaling_max_freq",
            "cpu[0-9]*/cpufreq/scaling_cur_freq",
        )
    )
)
READ_ZONES = _READ_FILES.format(
    "/sys/class/thermal/thermal_zone*/type /sys/class/thermal/thermal_zone*/temp"
)


def script(commands: dict[str, str]) -> str:
    """Several commands as one; `parsing.split_sections` takes their outputs apart."""
    return "\n".join(f"echo '{MARK} {name}'; {{ {c}; }}" for name, c in commands.items()) + "\ntrue"


def _loader() -> str:
    """What starts this machine's programs: where it is there too, they can run."""
    try:
        with Path(sys.executable).open("rb") as file:
            return read_elf(file.read(_HEAD_BYTES)).interpreter or ""
    except (OSError, ValueError):
        return ""


_DESCRIBE = script(
    {
        "loader": f"[ -e {quote([_loader() or '/no/loader'])} ] && echo there",
        "properties": "getprop",
        "boot": "cat /proc/sys/kernel/random/boot_id",
        "cores": READ_CORES,
        "battery": "dumpsys battery",
        "thermal": "dumpsys thermalservice 2>/dev/null",
        "zones": READ_ZONES,
    }
)


@dataclass(frozen=True, slots=True)
class PhoneInfo:
    """A phone as `netadapt devices` shows it; what only a ready phone reports is empty or None.

    Attributes
    ----------
    serial: how adb calls it; ``host:port`` for a phone on the network.
    state: adb's word, or ``starting`` while Android is not up yet.
    id: how its rows are called: its own serial number, whichever way it is connected.
    remedy: what to do when ``state`` is not ``device``, or when it cannot be used at all.
    boot_id: a phone's from start to start; two phones never share one.
    host_loader: it has what starts this machine's programs. A virtual phone has; an emulator or a
        Chromebook of the same processor runs Android's programs only.
    """

    serial: str
    state: str
    id: str
    model: str = ""
    soc: str = ""
    os: str = ""
    sdk: int = 0
    abis: tuple[str, ...] = ()
    cores: tuple[Core, ...] = ()
    battery: Battery | None = None
    temperature_c: float | None = None
    boot_id: str = ""
    remedy: str = ""
    host_loader: bool = False

    @property
    def ready(self) -> bool:
        """Whether something can be measured on it."""
        return self.state == READY and not self.remedy

    @property
    def abi(self) -> str:
        """The one that its programs should have."""
        return self.abis[0] if self.abis else ""

    @property
    def clusters(self) -> tuple[tuple[Core, ...], ...]:
        """Its cores by the frequency they share, the slowest first."""
        groups: dict[tuple[int, ...], list[Core]] = {}
        for core in self.cores:
            groups.setdefault(core.cluster, []).append(core)
        ordered = sorted(
            groups.values(), key=lambda cores: (cores[0].max_khz or 0, cores[0].number)
        )
        return tuple(map(tuple, ordered))


def describe(adb: Adb) -> PhoneInfo:
    """Ask a phone what it is. Raises `DeviceLostError` or `DeviceStateError`."""
    return described(adb.serial, adb.ask(_DESCRIBE))


def described(serial: str, answer: str) -> PhoneInfo:
    """What a phone is, by what it printed."""
    sections = split_sections(answer, MARK)
    properties = parse_getprop(sections.get("properties", ""))

    def first(*keys: str) -> str:
        values = (printable(properties.get(key, "")) for key in keys)
        return next((value for value in values if value and value != "unknown"), "")

    own = first("ro.serialno", "ro.boot.serialno")
    sdk_text = first("ro.build.version.sdk")
    sdk = int(sdk_text) if sdk_text.isascii() and sdk_text.isdigit() else 0
    maker, name = first("ro.product.manufacturer"), first("ro.product.model")
    model = name if name.lower().startswith(maker.lower()) else f"{maker} {name}"
    soc = f"{first('ro.soc.manufacturer')} {first('ro.soc.model')}".strip()
    thermal = parse_thermalservice(sections.get("thermal", ""))
    temperature_c = cpu_temperature_c(thermal)
    if temperature_c is None and (zone := parse_zones(sections.get("zones", ""))):
        temperature_c = zone.temperature_c
    cores = parse_cores(sections.get("cores", ""))
    started = properties.get("sys.boot_completed") == "1"
    remedy = ""
    if sdk < MIN_SDK:
        remedy = f"use a phone with Android 7 or newer (it has API {sdk})"
    elif not started:
        remedy = "wait until Android has started"
    elif not cores:
        remedy = f"it reports no cores ({CPU_FOLDER} cannot be read); use another phone"
    return PhoneInfo(
        serial=serial,
        state=READY if started or sdk < MIN_SDK else STARTING,
        id=serial if own in _PLACEHOLDERS else own,
        model=model.strip() or "unknown",
        soc=soc or first("ro.board.platform", "ro.hardware") or "unknown",
        os=f"Android {first('ro.build.version.release') or '?'} {first('ro.build.id')}".strip(),
        sdk=sdk,
        abis=tuple(first("ro.product.cpu.abilist", "ro.product.cpu.abi").split(",")),
        cores=cores,
        battery=parse_battery(sections.get("battery", "")),
        temperature_c=temperature_c,
        boot_id=sections.get("boot", "").strip(),
        remedy=remedy,
        host_loader=sections.get("loader", "").strip() == "there",
    )


def find_phones(
    server: AdbServer | None = None, runnable: Callable[[PhoneInfo], str] | None = None
) -> list[PhoneInfo]:
    """Every phone that adb knows, also those that cannot be used yet, each with the remedy.

    Raises `AdbError` when there is no adb.

    Parameters
    ----------
    runnable: given a phone, the remedy when no runner is there for it, else "".
    """
    server = server or AdbServer.from_environment()
    listed = server.devices()
    if not listed:
        return []
    with ThreadPoolExecutor(max_workers=min(len(listed), 16)) as pool:
        return list(pool.map(lambda phone: _look_at(server, phone, runnable), listed))


def _look_at(
    server: AdbServer, phone: ListedPhone, runnable: Callable[[PhoneInfo], str] | None
) -> PhoneInfo:
    model = phone.model.replace("_", " ")
    if phone.state != READY:
        remedy = REMEDIES.get(phone.state, "plug the phone in again")
        return PhoneInfo(phone.serial, phone.state, phone.serial, model, remedy=remedy)
    try:
        info = describe(Adb(server, phone.serial))
    except DeviceError as error:
        return PhoneInfo(phone.serial, "offline", phone.serial, model, remedy=str(error))
    if runnable is not None and not info.remedy and (remedy := runnable(info)):
        return dataclasses.replace(info, remedy=remedy)
    return info


def find_phone(server: AdbServer, serial: str) -> PhoneInfo:
    """The phone that adb calls ``serial``; nobody else is asked anything.

    One on the network is connected to where it is not. Raises `NoSuchDeviceError`.
    """
    listed = {phone.serial: phone for phone in server.devices()}
    if is_address(serial) and (serial not in listed or listed[serial].state == "offline"):
        # One that went away stays listed, offline, until it is connected to anew
        if serial in listed:
            server.disconnect(serial)
        answer = server.connect(serial)
        logger.info("adb connect %s: %s", serial, answer.strip())
        listed = {phone.serial: phone for phone in server.devices()}
    if serial not in listed:
        raise NoSuchDeviceError(
            f"a phone called {serial!r} must be connected, adb has "
            f"{', '.join(listed) or 'none'}; see `netadapt devices`"
        )
    return _look_at(server, listed[serial], None)


def choose_phone(server: AdbServer, name: str | None) -> PhoneInfo:
    """The phone called ``name``: its adb serial or its own; a ``host:port`` is connected to.

    None means the only one. Raises `NoSuchDeviceError` when it is not there, or when several are
    and none was named; `DeviceError` when two cannot be distinguished.
    """
    if name is not None and is_address(name):
        find_phone(server, name)
    phones = find_phones(server)
    if name is None:
        return _only(phones)
    meant = [phone for phone in phones if name in (phone.serial, phone.id)]
    if not meant:
        raise NoSuchDeviceError(
            f"a phone called {name!r} must be connected, adb has {_names(phones) or 'none'}; "
            "see `netadapt devices`"
        )
    chosen = next((p for p in meant if p.serial == name), meant[0])
    for other in phones:
        # The same phone by cable and by network has one boot id; clones of a serial do not
        if other.ready and other.id == chosen.id and other.boot_id != chosen.boot_id:
            raise DeviceError(
                f"phones are distinguished by their serial number, {chosen.serial} and "
                f"{other.serial} both have {chosen.id!r}; connect one of them at a time"
            )
    return chosen


def _only(phones: list[PhoneInfo]) -> PhoneInfo:
    by_id = {phone.id: phone for phone in reversed(phones)}
    if len(by_id) == 1:
        return next(iter(by_id.values()))
    if not by_id:
        raise NoSuchDeviceError(
            "a phone must be connected, adb has none; plug one in with USB debugging on "
            "(docs/phone.md), see `netadapt devices`"
        )
    raise NoSuchDeviceError(
        f"one of several phones must be named, adb has {_names(phones)}; name one with --device"
    )


def _names(phones: list[PhoneInfo]) -> str:
    return ", ".join(
        f"{p.serial} ({p.model or 'unknown'}{'' if p.state == READY else f', {p.state}'})"
        for p in phones
    )


def check_usable(info: PhoneInfo) -> None:
    """Raises `DeviceStateError` or `UnsupportedDeviceError` for a phone that cannot measure."""
    if info.state == "offline":
        raise DeviceLostError(f"phone {info.serial} must be online, it is not; {info.remedy}")
    if info.state == STARTING:
        raise DeviceLostError(f"phone {info.serial} must have started, it has not; {info.remedy}")
    if info.state != READY:
        raise DeviceStateError(
            f"phone {info.serial} must let this computer in, it is {info.state}; {info.remedy}"
        )
    if info.remedy:
        raise UnsupportedDeviceError(
            f"phone {info.serial} must be able to run programs, it is not; {info.remedy}"
        )
