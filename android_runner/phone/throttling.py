"""Whether a phone slows itself down while programs run on it."""

from __future__ import annotations

import itertools
import logging
import math
import statistics
import time
from collections.abc import Sequence

from netadapt.android_runner.device import Conditions
from netadapt.android_runner.errors import DeviceError
from netadapt.android_runner.phone.adb import Adb
from netadapt.android_runner.phone.parsing import Core
from netadapt.android_runner.phone.readings import AFTER, WATCH, Reading, parse_reading

logger = logging.getLogger(__name__)

_LIMIT_SHARE = 0.97  # a lower limit than at the start is the work of the phone's thermal engine
_RISING_ROUNDS, _RISING_SHARE = 4, 0.1
"""A clock that rises at first is low for fewer rounds than the larger of both (assumption)."""

_CLOCK_SHARE = 0.9
_SENTINEL_SHARE = 0.05  # beyond what repeats of it differ by on a quiet phone; assumption


class ThrottledError(DeviceError):
    """The phone slowed itself down while programs ran; what ran then does not count."""


class Watch:
    """Decides whether the phone throttles while a runner is under way.

    It does when a pinned core's clock stays below what it reached before, or when Android reports
    it. Makers' services rewrite the clocks' limits every few seconds: one below what it was at the
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
        self._found(self.judge(parse_reading(self._adb.ask(WATCH))))
        self._next = time.monotonic() + self._every_s

    def review(self, conditions: Conditions) -> None:
        """Look at what a runner that has ended saw itself, and at the phone right after it.

        Raises `ThrottledError`, and what asking a phone raises.
        """
        why = self.judge_rounds(conditions)
        if why is None:
            self.reading = parse_reading(self._adb.ask(AFTER))
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
        logger.warning("phone %s is throttled (%s); its rows are flagged", self._adb.serial, why)
