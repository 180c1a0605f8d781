"""A phone's cores: which of them a run is pinned to, and those that sleep.

Phones switch cores off, often a whole cluster, while there is little to do or the screen is off
(the kernel's CPU hotplug). What sleeps reports no frequency and takes no process: it is woken by
load, or waited for, and never replaced by a core of another cluster.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from netadapt.android_runner.errors import CoresAsleepError, UnsupportedDeviceError
from netadapt.android_runner.phone.adb import Adb
from netadapt.android_runner.phone.discovery import READ_CORES
from netadapt.android_runner.phone.parsing import Core, parse_cores, parse_cpu_list
from netadapt.android_runner.phone.settings import Cluster

# Each loop ends by itself after some seconds, should the connection be lost meanwhile.
_WAKE: Final = """\
pids= ; i=0
while [ $i -lt {count} ]; do
  (n=0; while [ $n -lt 3000000 ]; do n=$((n+1)); done) >/dev/null 2>&1 &
  pids="$pids $!"; i=$((i+1))
done
sleep 1
{read}
{{ kill $pids; wait; }} 2>/dev/null
true"""

# The words of `native/system.cpp` and `runner.cpp`
_ONLINE_THEN: Final = re.compile(r"cannot be pinned to .*; online are ([\d,-]+),", re.ASCII)
_WENT_OFFLINE: Final = "went offline while it ran"


def choose_cpus(
    cores: Sequence[Core], threads: int, cluster: Cluster, serial: str = ""
) -> tuple[int, ...]:
    """As many cores as threads: of the fastest cluster, or the slowest; beyond it the next ones.

    Those asleep count like the others, so that the choice stays the same. Raises
    `UnsupportedDeviceError` where there are too few, `CoresAsleepError` where one sleeps of which
    nobody knows how fast it is (see `learn`).
    """
    if threads > len(cores):
        raise UnsupportedDeviceError(
            f"threads must be at most the phone's {len(cores)} cores, got {threads}; use fewer"
        )
    by_capacity = _by_capacity(cores)
    unknown = [] if by_capacity else [core.number for core in cores if _sleeps_unknown(core)]
    if unknown and threads < len(cores):
        raise asleep_error(serial, unknown, f"its {cluster} cores are not known without")
    ordered = sorted(cores, key=lambda core: (_speed(core, by_capacity), core.number), reverse=True)
    if cluster == "little":
        ordered.sort(key=lambda core: (_speed(core, by_capacity), -core.number))
    return tuple(sorted(core.number for core in ordered[:threads]))


def _by_capacity(cores: Sequence[Core]) -> bool:
    """Whether frequencies leave a core out that its capacity does not."""
    return any(core.max_khz is None for core in cores) and all(core.capacity for core in cores)


def _speed(core: Core, by_capacity: bool) -> int:
    """To put cores in order; within a frequency the last comes first.

    Android and its interrupts prefer the first core of a cluster.
    """
    return (core.capacity if by_capacity else core.max_khz) or 0


def _sleeps_unknown(core: Core) -> bool:
    return core.max_khz is None and not core.online


def asleep_among(cores: Iterable[Core], wanted: Collection[int]) -> list[int]:
    """Which of the wanted cores sleep."""
    return [core.number for core in cores if core.number in wanted and not core.online]


def asleep_by_runner(refusal: str, wanted: Collection[int]) -> list[int]:
    """Which of the wanted cores slept when the runner refused to run on them, by its words."""
    if found := _ONLINE_THEN.search(refusal):
        return sorted(set(wanted) - set(parse_cpu_list(found[1])))
    return sorted(wanted) if _WENT_OFFLINE in refusal else []


def asleep_error(serial: str, asleep: Sequence[int], why: str) -> CoresAsleepError:
    """The error where load did not wake them."""
    listed = f"core{'s' if len(asleep) > 1 else ''} {', '.join(map(str, asleep))}"
    return CoresAsleepError(
        f"phone {serial} must have its {listed} switched on, it sleeps ({why}); keep the screen on "
        "and let the phone cool, or name other cores with --cpus"
    )


def wake(adb: Adb, cores: Sequence[Core]) -> tuple[Core, ...]:
    """Give all cores work for a second; the cores as they are meanwhile.

    Raises what asking a phone raises.
    """
    return parse_cores(adb.ask(_WAKE.format(count=len(cores), read=READ_CORES)))


def learn(adb: Adb, cores: Sequence[Core]) -> tuple[Core, ...]:
    """The cores; where one sleeps of which nothing is known, as they are once they have work.

    Raises what asking a phone raises. Some may still sleep, and be unknown, afterwards.
    """
    if _by_capacity(cores) or not any(map(_sleeps_unknown, cores)):
        return tuple(cores)
    return remembered(wake(adb, cores) or cores, cores)


def remembered(cores: Sequence[Core], before: Sequence[Core]) -> tuple[Core, ...]:
    """The cores with what those asleep reported before."""
    old = {core.number: core for core in before if core.max_khz is not None}
    return tuple(
        dataclasses.replace(
            core, max_khz=old[core.number].max_khz, cluster=old[core.number].cluster
        )
        if core.max_khz is None and core.number in old
        else core
        for core in cores
    )
