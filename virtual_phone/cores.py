"""Cores that are switched off and on again while the phone runs, as Linux's CPU hotplug does."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from netadapt.virtual_phone.description import PhoneDescription
from netadapt.virtual_phone.filesystem import write

SLEEPS_FILE: Final = "state/core_sleeps"
"""How often each core was switched off or on since boot, with commas: an odd number is off."""

_WAKING_PROCESSES: Final = 2  # that want to run at once; assumption


class Cores:
    """Which cores sleep: those of idle clusters that do (`Cluster.sleeps_after_s`), and by a fault.

    A core that sleeps has no ``cpufreq`` folder, as on kernels before 4.2.
    """

    def __init__(
        self, description: PhoneDescription, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clusters = description.clusters
        self._clock = clock
        self._worked_at = clock()
        self._changes = [0] * description.core_count
        self._held: frozenset[int] = frozenset()
        self._idle: set[int] = {
            core
            for cluster in self._clusters
            if cluster.sleeps_after_s is not None
            for core in cluster.cores
        }
        self._count()

    @property
    def asleep(self) -> frozenset[int]:
        """Those switched off now."""
        return self._held | self._idle

    def see_work(self, running: int) -> None:
        """So many processes want to run now."""
        now = self._clock()
        if running:
            self._worked_at = now
        if running >= _WAKING_PROCESSES:
            self._idle.clear()
        for cluster in self._clusters:
            if cluster.sleeps_after_s is None or now - self._worked_at < cluster.sleeps_after_s:
                continue
            self._idle |= set(cluster.cores)
        self._count()

    def hold_asleep(self, cores: Collection[int]) -> None:
        """Switch these off until they are let go, whatever work there is."""
        self._held = frozenset(cores)
        self._count()

    def let_go(self) -> None:
        """End `hold_asleep`."""
        self._held = frozenset()
        self._count()

    def write_files(self, root: Path) -> None:
        """Write it into the phone's files."""
        write(root, SLEEPS_FILE, ",".join(map(str, self._changes)) + "\n")
        online = [core for core in range(len(self._changes)) if core not in self.asleep]
        folder = root / "sys/devices/system/cpu"
        write(folder, "online", _listed(online), 0o444)
        for cluster in self._clusters:
            policy = f"policy{cluster.cores[0]}"
            awake = [core for core in cluster.cores if core in online]
            affected = " ".join(map(str, awake)) + "\n"
            write(folder / "cpufreq" / policy, "affected_cpus", affected, 0o444)
            for core in cluster.cores:
                write(folder / f"cpu{core}", "online", f"{int(core in online)}\n", 0o444)
                link = folder / f"cpu{core}" / "cpufreq"
                if core not in online:
                    link.unlink(missing_ok=True)
                elif not link.is_symlink():
                    link.symlink_to(f"../cpufreq/{policy}")

    def _count(self) -> None:
        for core in range(len(self._changes)):
            if (core in self.asleep) != bool(self._changes[core] % 2):
                self._changes[core] += 1


def _listed(cores: list[int]) -> str:
    """As the kernel writes lists: ``0-2,5``."""
    parts: list[list[int]] = []
    for core in cores:
        if parts and parts[-1][-1] == core - 1:
            parts[-1].append(core)
        else:
            parts.append([core])
    return ",".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts) + "\n"
