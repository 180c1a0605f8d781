"""What a phone is like while something is measured on it: chosen, watched and put back.

Everything that is changed on a phone is written into a journal on the phone first, so that
whoever connects next puts it back, even after this process was killed.
"""

from __future__ import annotations

import itertools
import logging
import math
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from netadapt.android_runner.device import Conditions
from netadapt.android_runner.errors import DeviceError, InvalidRunError, UnsupportedDeviceError
from netadapt.android_runner.phone.adb import Adb, quote
from netadapt.android_runner.phone.cores import Cluster
from netadapt.android_runner.phone.discovery import (
    MARK,
    READ_CORES,
    READ_ZONES,
    PhoneInfo,
    script,
)
from netadapt.android_runner.phone.parsing import (
    CPU_FOLDER,
    Battery,
    Core,
    cpu_temperature_c,
    parse_battery,
    parse_cores,
    parse_screen_on,
    parse_thermalservice,
    split_sections,
)
from netadapt.android_runner.phone.transport import FOLDER
from netadapt.android_runner.phone.zones import UNKNOWN, parse_zones

logger = logging.getLogger(__name__)

FIXED_PERFORMANCE_SDK: Final = 30  # Android 11
_JOURNAL = f"{FOLDER}/restore"
_FIXED = "fixed-performance"
_SETTING = re.compile(
    rf"({CPU_FOLDER}/cpu\d{{1,4}}/cpufreq/scaling_[a-z_]+) ([A-Za-z0-9_-]{{1,32}})"
)
_LIMIT_SHARE = 0.97  # a lower limit than at the start is the work of the phone's thermal engine
_RISING_ROUNDS, _RISING_SHARE = 4, 0.1
"""A clock that rises at first is low for fewer rounds than the larger of both (assumption)."""

_CLOCK_SHARE = 0.9
_SENTINEL_SHARE = 0.05  # beyond what repeats of it differ by on a quiet phone; assumption
_AT_REST_S = 20.0
_AT_REST_C = 0.5


@dataclass(frozen=True, slots=True)
class PhoneSettings:
    """How a phone is measured on.

    cluster: whose cores are taken when the run names none, the fastest or the slowest.
    fixed_performance: keep the clock where it can stay (Android 11 and later), where that works.
    governor, freq_khz: of the clusters used; rooted phones only, None leaves them alone.
    start_below_c: a session starts when the phone is no warmer, or does not get any cooler.
    cool_timeout_s: how long that is waited for, at the start and after throttling.
    min_battery_pct: below it and without a charger the run waits.
    wait_s: how long a lost, locked, full or empty phone is waited for before the run is given up.
    watch_s: seconds between two looks at the clock and the temperature while programs run.
    """

    cluster: Cluster = "big"
    fixed_performance: bool = True
    governor: str | None = None
    freq_khz: int | None = None
    start_below_c: float = 45.0
    cool_timeout_s: float = 300.0
    min_battery_pct: int = 15
    wait_s: float = 900.0
    watch_s: float = 5.0

    @property
    def sets_clock(self) -> bool:
        """Whether governor or frequency are set, which takes root."""
        return self.governor is not None or self.freq_khz is not None

    def __post_init__(self) -> None:
        if self.governor is not None and not re.fullmatch(r"[a-z_0-9]{1,16}", self.governor):
            raise InvalidRunError(
                f"a governor is a name such as performance, got {self.governor!r}; see "
                f"{CPU_FOLDER}/cpu0/cpufreq/scaling_available_governors on the phone"
            )
        for name in ("cool_timeout_s", "wait_s", "watch_s", "freq_khz", "min_battery_pct"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1e9:
                raise InvalidRunError(f"{name} must be 0 or more, got {value}; raise it")


@dataclass(frozen=True, slots=True)
class Reading:
    """A phone at one moment. None: it does not tell. low_power: Android's battery saver.

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
_WATCH = script({"cores": READ_CORES, "zones": READ_ZONES})
_AFTER = script({"battery": "dumpsys battery", **_TEMPERATURES})  # before Android 10 all that tells


def read(adb: Adb) -> Reading:
    """Ask a phone how it is."""
    return _reading(adb.ask(_READ))


def _reading(text: str) -> Reading:
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


class ThrottledError(DeviceError):
    """The phone slowed itself down while programs ran; what ran then does not count."""


class Watch:
    """Tells whether the phone throttles while a runner is under way.

    It does when a pinned core's clock stays below what it reached before, or when Android says so.
    Makers' services rewrite the clocks' limits every few seconds: one below what it was at the
    session's start counts together with a lower clock, or a slower sentinel, alone.
    """

    def __init__(self, adb: Adb, cores: Sequence[Core], every_s: float) -> None:
        self._adb = adb
        self._every_s = every_s
        self._limits = {core.number: core.limit_khz for core in cores}
        self._reached: dict[tuple[int, ...], int] = {}  # by the pinned cores, the slowest's clock
        self._sentinel_us: dict[tuple[tuple[int, ...], int], float] = {}  # by cores and threads
        self._cpus: tuple[int, ...] = ()
        self._slow = 0
        self._next = math.inf  # nothing to look at before `begin`
        self._tolerant = False
        self.throttled = False
        self.reading: Reading | None = None

    def begin(self, cpus: tuple[int, ...], *, tolerant: bool) -> None:
        """Before a run on ``cpus``; a ``tolerant`` watch only notes that the phone throttles."""
        self._cpus = cpus
        self._tolerant = tolerant
        self._slow = 0
        self._next = time.monotonic() + self._every_s
        self.throttled = False

    def look(self) -> None:
        """To be called often. Raises `ThrottledError`, and what asking a phone raises."""
        if time.monotonic() < self._next:
            return
        self._found(self.judge(_reading(self._adb.ask(_WATCH))))
        self._next = time.monotonic() + self._every_s

    def review(self, conditions: Conditions) -> None:
        """Look at what a runner that has ended saw itself, and at the phone right after it.

        Raises `ThrottledError`, and what asking a phone raises.
        """
        why = self.judge_rounds(conditions)
        if why is None:
            self.reading = _reading(self._adb.ask(_AFTER))
            if self.reading.thermal_status:
                why = f"Android's thermal status is {self.reading.thermal_status}"
        self._found(why)

    def judge(self, reading: Reading) -> str | None:
        """Why this reading means that the phone throttles; None when it does not."""
        self.reading = reading
        clocks, limited = [], ""
        for core in reading.cores:
            if core.number not in self._cpus:
                continue
            start = self._limits.get(core.number)
            if start and core.limit_khz and core.limit_khz < _LIMIT_SHARE * start:
                limited = f"the limit of core {core.number} fell to {core.limit_khz} kHz, "
            if core.current_khz:
                clocks.append(core.current_khz)
        slow = bool(clocks) and self._is_slow(min(clocks))
        # Once may be a moment of rest, e.g. while the runner loads programs
        self._slow = self._slow + 1 if slow else 0
        if self._slow >= (1 if limited else 2):
            return f"{limited}{self._slowed(min(clocks))}"
        return f"thermal status {reading.thermal_status}" if reading.thermal_status else None

    def judge_rounds(self, conditions: Conditions) -> str | None:
        """As `judge`, of the limits, clocks and sentinels that the runner saw."""
        slower = self._slower_sentinel(conditions)
        clocks = [khz for khz in conditions.round_freqs_khz if khz]
        highest = 0
        for first, second in itertools.pairwise(clocks):
            highest = max(highest, first)
            if max(first, second) < _CLOCK_SHARE * highest:
                return f"the clock fell from {highest} to {second} kHz"
        low = [khz for khz in clocks if khz < _CLOCK_SHARE * max(clocks)]
        if len(low) >= max(_RISING_ROUNDS, _RISING_SHARE * len(clocks)):
            # From the run's begin on, so that no fall was seen, and far longer than a clock rises
            return f"the clock was down at {min(low)} kHz for {len(low)} of {len(clocks)} rounds"
        for before, after in zip(
            conditions.limits_khz_before, conditions.limits_khz_after, strict=False
        ):
            if not before or not after or after >= _LIMIT_SHARE * before:
                continue
            limited = f"a core's limit fell from {before} to {after} kHz"
            if clocks and clocks[-1] < _CLOCK_SHARE * max(clocks):
                return f"{limited}, its clock from {max(clocks)} to {clocks[-1]} kHz"
            if slower:
                return f"{limited}, {slower}"
        # The clock may still be rising in the first rounds, but not in the last
        if len(clocks) >= 2 and self._is_slow(max(clocks[-2:])):
            return self._slowed(clocks[-1])
        return None

    def settle(self) -> None:
        """Take the clock that the phone has from now on for the one that it can keep."""
        self._reached.pop(self._cpus, None)
        self._sentinel_us.clear()
        self._limits.clear()

    def _slower_sentinel(self, conditions: Conditions) -> str:
        """Whether the sentinel took longer than at its best in this session, or than at first."""
        if not conditions.sentinel_us:
            return ""
        key = (conditions.cpus, conditions.threads)
        taken_us = statistics.median(conditions.sentinel_us)
        best_us = self._sentinel_us[key] = min(self._sentinel_us.get(key, taken_us), taken_us)
        drift = max(taken_us / best_us - 1, conditions.sentinel_drift or 0.0)
        return f"the sentinel took {drift:.0%} longer" if drift > _SENTINEL_SHARE else ""

    def _is_slow(self, khz: int) -> bool:
        reached = self._reached[self._cpus] = max(self._reached.get(self._cpus, 0), khz)
        return khz < _CLOCK_SHARE * reached

    def _slowed(self, khz: int) -> str:
        return f"its clock is {khz} kHz after {self._reached[self._cpus]}"

    def _found(self, why: str | None) -> None:
        if why is None or self.throttled:
            return
        if not self._tolerant:
            raise ThrottledError(
                f"phone {self._adb.serial} must keep its clock, it does not ({why}); cool it"
            )
        self.throttled = True
        logger.warning("phone %s is throttled (%s); its rows say so", self._adb.serial, why)


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
    begun = best_at = told_at = time.monotonic()
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
                f"({_degrees(reading)}); going on"
            )
            return reading
        if now == begun or now - told_at >= 10:
            told_at = now
            notify(f"phone {adb.serial} is warm ({_degrees(reading)}); waiting until it is cool")
        time.sleep(2.0 if at_rest or now - begun > 4 else 1.0)


def _degrees(reading: Reading) -> str:
    if reading.temperature_c is None:
        return "temperature unknown"
    return f"{reading.temperature_c:.0f} degrees"


class Keeper:
    """Changes a phone's settings for a session and puts them back.

    performance: what was reached, as in `DeviceInfo.performance`.
    """

    def __init__(self, adb: Adb, info: PhoneInfo, settings: PhoneSettings) -> None:
        self._adb = adb
        self._info = info
        self._settings = settings
        self._root = ""
        self.performance = "default"

    def apply(self, cpus: Sequence[int]) -> None:
        """Put back what an earlier session left, then set what this one wants.

        Raises `UnsupportedDeviceError` where root is needed and not there.
        """
        self.restore()
        reached = []
        if self._settings.sets_clock:
            reached.append(self._set_clock(cpus))
        elif self._settings.fixed_performance and self._info.sdk >= FIXED_PERFORMANCE_SDK:
            self._note([_FIXED])
            answer = self._adb.shell("cmd power set-fixed-performance-mode-enabled true")
            if answer.exit_code == 0:
                reached.append(_FIXED)
            else:
                logger.info("no fixed-performance mode: %s", " ".join(answer.err.split())[:200])
                self._adb.ask(f"rm -f {_JOURNAL}")
        self.performance = ", ".join(reached) or "default"

    def restore(self) -> None:
        """Put back what the phone's journal says, whoever wrote it; harmless without one."""
        found = self._adb.shell(f"cat {_JOURNAL}")
        if found.exit_code != 0:
            return
        for line in found.out.splitlines():
            if line == _FIXED:
                self._adb.shell("cmd power set-fixed-performance-mode-enabled false")
            elif setting := _SETTING.fullmatch(line):
                self._write(setting[1], setting[2])
            elif line:
                logger.warning("not put back on phone %s: %r", self._adb.serial, line[:80])
        self._adb.ask(f"rm -f {_JOURNAL}")

    def _note(self, lines: Sequence[str]) -> None:
        """Write the journal, and see that it is on the storage before anything is changed."""
        self._adb.ask(
            f"mkdir -p {FOLDER} && printf '%s\\n' {quote(list(lines))} >{_JOURNAL}.new && "
            f"mv {_JOURNAL}.new {_JOURNAL} && sync"
        )

    def _set_clock(self, cpus: Sequence[int]) -> str:
        self._root = self._find_root()
        governor, freq_khz = self._settings.governor, self._settings.freq_khz
        first_of = {core.number: core.cluster[0] for core in self._info.cores}
        wanted = []
        for policy in sorted({first_of.get(cpu, cpu) for cpu in cpus}):
            folder = f"{CPU_FOLDER}/cpu{policy}/cpufreq"
            if governor is not None:
                wanted.append((f"{folder}/scaling_governor", governor))
            if freq_khz is not None:
                # The upper limit last when it falls and first when it rises; twice does for both
                limits = [f"{folder}/scaling_{end}_freq" for end in ("max", "min", "max")]
                wanted += [(path, str(freq_khz)) for path in limits]
        paths = list(dict.fromkeys(path for path, _ in wanted))
        values = self._adb.ask(f"cat {quote(paths)}").split()
        if len(values) != len(paths):
            raise DeviceError(
                f"phone {self._adb.serial} must tell its clocks, got {values!r}; "
                "leave governor and frequency alone"
            )
        before = [f"{path} {value}" for path, value in zip(paths, values, strict=True)]
        self._note([*before, *[line for line in before if line.split()[0].endswith("max_freq")]])
        for path, value in wanted:
            self._write(path, value)
        now = dict(zip(paths, self._adb.ask(f"cat {quote(paths)}").split(), strict=False))
        for path, value in dict(wanted).items():
            if now.get(path) != value:
                raise DeviceError(
                    f"phone {self._adb.serial} must take {value} for {path}, it has "
                    f"{now.get(path)}; choose one that it offers"
                )
        parts = [] if governor is None else [f"governor={governor}"]
        return " ".join([*parts, *([] if freq_khz is None else [f"freq={freq_khz}kHz"])])

    def _write(self, path: str, value: str) -> None:
        command = f"echo {quote([value])} >{quote([path])}"
        if self._root or self._adb.shell("[ $(id -u) = 0 ]").exit_code != 0:
            self._root = self._root or self._find_root()
            command = f"{self._root} {quote([command])}"
        answer = self._adb.shell(command)
        if answer.exit_code != 0:
            logger.warning("phone %s did not take %s for %s", self._adb.serial, value, path)

    def _find_root(self) -> str:
        """The words that make the next one a script run as root."""
        for words in ("sh -c", "su 0 sh -c", "su -c"):
            answer = self._adb.shell(f"{words} 'id -u' 2>/dev/null")
            if answer.exit_code == 0 and answer.out.strip() == "0":
                return words
        raise UnsupportedDeviceError(
            f"only a rooted phone lets its clock be set, {self._adb.serial} is none (or did not "
            "allow it); leave governor and frequency alone"
        )
