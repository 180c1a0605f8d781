"""The phone's physical side: temperatures, clocks, battery; computed on demand, shown in files."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from netadapt.virtual_phone.cores import Cores
from netadapt.virtual_phone.description import Battery, Cluster, PhoneDescription
from netadapt.virtual_phone.filesystem import read, write

_STATUS_CHARGING: Final = 2
_STATUS_DISCHARGING: Final = 3
_FIXED_PERFORMANCE_SHARE: Final = 0.8  # of the highest clock: one that can be kept up; assumption

_REMEMBERED_CHANGES: Final = 8192


class Body:
    """Temperatures that rise with work and fall towards idle, and the clocks that follow.

    `advance` brings it up to now; ``clock`` gives seconds.
    """

    def __init__(
        self,
        description: PhoneDescription,
        root: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._description = description
        self._root = root
        self._clock = clock
        self._at = clock()
        self._heat_c = [0.0] * len(description.zones)  # above idle
        self._forced_c: float | None = None
        self._slowness: deque[tuple[float, float]] = deque([(self._at, 1.0)], _REMEMBERED_CHANGES)
        self.battery: Battery = description.battery
        self.cores = Cores(description, clock)
        self.working_cores = 0.0
        self._written_limit_khz: dict[int, int] = {}  # by a cluster's first core
        self._wanted_limit_khz: dict[int, int] = {}

    @property
    def is_working(self) -> bool:
        """Whether there is work enough for the governor to raise clocks."""
        return self.working_cores > 0.2

    def advance(self, worked_core_s: float = 0.0) -> None:
        """Let the time since the last call pass, in which cores worked for ``worked_core_s``."""
        now = self._clock()
        passed = now - self._at
        for index, zone in enumerate(self._description.zones):
            cooled = self._heat_c[index] * math.exp(-passed / zone.cooling_s)
            self._heat_c[index] = cooled + zone.rise_c_per_s * worked_core_s
        self.working_cores = worked_core_s / passed if passed > 0 else self.working_cores
        self._at = now
        slowness = 1.0 / self.clock_share
        if slowness != self._slowness[-1][1]:
            self._slowness.append((now, slowness))

    def force_temperature(self, temperature_c: float | None) -> None:
        """Hold all CPU zones there from now on; None lets them go."""
        if temperature_c is None and self._forced_c is not None:
            self._heat_c = [
                max(self._forced_c - zone.idle_c, 0.0) if zone.rise_c_per_s >= 0.1 else heat
                for zone, heat in zip(self._description.zones, self._heat_c, strict=True)
            ]
        self._forced_c = temperature_c
        self.advance()

    @property
    def temperatures_c(self) -> list[float]:
        """Of each zone."""
        return [
            self._forced_c
            if self._forced_c is not None and zone.rise_c_per_s >= 0.1
            else zone.idle_c + heat
            for zone, heat in zip(self._description.zones, self._heat_c, strict=True)
        ]

    @property
    def clock_share(self) -> float:
        """The highest clock now allowed, as a share of what the cores can do."""
        hottest = max(self.temperatures_c, default=0.0)
        throttling = self._description.throttling
        lost = max(hottest - throttling.from_c, 0.0) * throttling.share_per_c
        return max(1.0 - lost, throttling.lowest_share)

    def slowness(self, start_s: float, end_s: float) -> float:
        """How many times longer work took between two times of the clock, on average."""
        if end_s <= start_s:
            before = [slowness for at, slowness in self._slowness if at <= start_s]
            return before[-1] if before else self._slowness[0][1]
        total = 0.0
        for index, (at, slowness) in enumerate(self._slowness):
            later = self._slowness[index + 1][0] if index + 1 < len(self._slowness) else end_s
            begin = start_s if index == 0 else at
            total += max(min(later, end_s) - max(begin, start_s), 0.0) * slowness
        return total / (end_s - start_s)

    def current_khz(self, cluster: Cluster) -> int:
        """What a cluster's clock is now: a step, by governor, work, limits and heat."""
        policy = self._root / f"sys/devices/system/cpu/cpufreq/policy{cluster.cores[0]}"
        governor = read(policy / "scaling_governor")
        steps = cluster.frequencies_khz
        highest = min(
            _number(read(policy / "scaling_max_freq"), steps[-1]), self.limit_khz(cluster)
        )
        lowest = _number(read(policy / "scaling_min_freq"), steps[0])
        busy = self.is_working and governor != "powersave"
        wanted = highest if governor == "performance" or busy else 0
        allowed = [step for step in steps if step <= max(wanted, lowest, steps[0])]
        return allowed[-1]

    def write_files(self) -> None:
        """Write everything that has changed into the phone's files."""
        write_sys = self._root / "sys"
        if self._description.zones_readable:
            self._write_zones(write_sys / "class/thermal")
        for cluster in self._description.clusters:
            policy = f"devices/system/cpu/cpufreq/policy{cluster.cores[0]}"
            self._write_limit(write_sys / policy, cluster)
            khz = self.current_khz(cluster)
            write(write_sys, f"{policy}/scaling_cur_freq", f"{khz}\n", 0o444)
        self.cores.write_files(self._root)
        supply = "class/power_supply/battery"
        battery = self.battery
        status = "Charging" if battery.charging else "Discharging"
        write(write_sys, f"{supply}/capacity", f"{battery.level_pct}\n", 0o444)
        write(write_sys, f"{supply}/status", f"{status}\n", 0o444)
        write(write_sys, f"{supply}/temp", f"{round(battery.temperature_c * 10)}\n", 0o444)
        dumpsys = self._root / "state/dumpsys"
        write(dumpsys, "battery", battery_text(battery))
        write(dumpsys, "power", self._power_text())
        if self._description.sdk >= 29:  # where the service came in
            write(dumpsys, "thermalservice", self._thermal_text())

    def _write_zones(self, folder: Path) -> None:
        for index, (zone, celsius) in enumerate(
            zip(self._description.zones, self.temperatures_c, strict=True)
        ):
            value = round(celsius * zone.per_degree)
            write(folder / f"thermal_zone{index}", "temp", f"{value}\n", 0o444)

    def limit_khz(self, cluster: Cluster) -> int:
        """The highest step that heat and fixed performance leave a cluster."""
        steps = cluster.frequencies_khz
        share = self.clock_share
        if (self._root / "state/fixed_performance").exists():
            share = min(share, _FIXED_PERFORMANCE_SHARE)
        return [step for step in steps if step <= max(steps[-1] * share, steps[0])][-1]

    def _write_limit(self, policy: Path, cluster: Cluster) -> None:
        """The lower of what somebody wrote into the limit's file and what heat leaves."""
        path = policy / "scaling_max_freq"
        first = cluster.cores[0]
        found = _number(read(path), cluster.frequencies_khz[-1])
        if found != self._written_limit_khz.get(first):
            self._wanted_limit_khz[first] = found
        limit = min(self._wanted_limit_khz[first], self.limit_khz(cluster))
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o444
        write(policy, path.name, f"{limit}\n", mode)
        self._written_limit_khz[first] = limit

    def _power_text(self) -> str:
        screen = read(self._root / "state/screen") or "off"
        stay = read(self._root / "state/settings/global/stay_on_while_plugged_in")
        awake = screen == "on" or (self.battery.charging and stay not in ("", "0", "null"))
        return (
            "POWER MANAGER (dumpsys power)\n\nPower Manager State:\n"
            f"  mWakefulness={'Awake' if awake else 'Asleep'}\n"
            f"  mIsPowered={str(self.battery.charging).lower()}\n"
            f"  mBatteryLevel={self.battery.level_pct}\n"
            f"Display Power: state={'ON' if awake else 'OFF'}\n"
        )

    def _thermal_text(self) -> str:
        share = self.clock_share
        status = 0 if share >= 1 else 1 if share > 0.9 else 2 if share > 0.7 else 3
        zones = "".join(
            f"\tTemperature{{mValue={celsius:.1f}, mType={_zone_type(zone.kind)}, "
            f"mName={zone.kind}, mStatus={status}}}\n"
            for zone, celsius in zip(self._description.zones, self.temperatures_c, strict=True)
        )
        return (
            "IsStatusOverride: false\n"
            "ThermalEventListeners:\n\tcallbacks: 1\n\tkilled: false\n\tbroadcasts count: -1\n"
            f"Thermal Status: {status}\n"
            f"Cached temperatures:\n{zones}"
            "HAL Ready: true\nHAL connection:\n\tThermalHAL 2.0 connected: yes\n"
            f"Current temperatures from HAL:\n{zones}"
            "Current cooling devices from HAL:\n"
            f"\tCoolingDevice{{mValue={status}, mType=2, mName=thermal-cpufreq-0}}\n"
        )


def battery_text(battery: Battery) -> str:
    """What ``dumpsys battery`` prints."""

    def plugged(plug: str) -> str:
        return str(battery.charging and battery.plug == plug).lower()

    status = _STATUS_CHARGING if battery.charging else _STATUS_DISCHARGING
    return (
        "Current Battery Service state:\n"
        f"  AC powered: {plugged('AC')}\n"
        f"  USB powered: {plugged('USB')}\n"
        f"  Wireless powered: {plugged('Wireless')}\n"
        "  Max charging current: 500000\n"
        "  Max charging voltage: 5000000\n"
        f"  Charge counter: {battery.level_pct * 27000}\n"
        f"  status: {status}\n"
        "  health: 2\n"
        "  present: true\n"
        f"  level: {battery.level_pct}\n"
        "  scale: 100\n"
        f"  voltage: {3500 + battery.level_pct * 8}\n"
        f"  temperature: {round(battery.temperature_c * 10)}\n"
        "  technology: Li-ion\n"
    )


def _zone_type(kind: str) -> int:
    """Android's number for what a sensor measures: 0 CPU, 2 battery."""
    return 2 if "batt" in kind.lower() else 0


def _number(text: str, default: int) -> int:
    return int(text) if text.isdigit() else default
