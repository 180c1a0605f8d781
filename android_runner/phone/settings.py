"""What a phone can be set to while something is measured on it: the knobs, bounds, defaults."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval

from netadapt.android_runner.bounds import check_bounds
from netadapt.android_runner.errors import InvalidRunError
from netadapt.android_runner.phone.parsing import CPU_FOLDER

Cluster = Literal["big", "little"]
"""Whose cores are taken where a run names none: the fastest or the slowest."""


@dataclass(frozen=True, slots=True)
class PhoneSettings:
    """How a phone is measured on.

    Parameters
    ----------
    fixed_performance: keep the clock where it can stay (Android 11 and later), where that works.
    governor, freq_khz: of the clusters used; rooted phones only, None leaves them alone.
    start_below_c: a session starts when the phone is no warmer, or does not get any cooler.
    cool_timeout_s: how long that is waited for, at the start and after throttling.
    min_battery_pct: below it and without a charger the run waits.
    wait_s: how long a lost, locked, full or empty phone is waited for before the run is given up.
    watch_s: seconds between two looks at the clock and the temperature while programs run.

    Raises `InvalidRunError` for values out of bounds.
    """

    fixed_performance: bool = True
    governor: str | None = None
    freq_khz: Annotated[int, Interval(ge=1, le=1_000_000_000)] | None = None
    start_below_c: Annotated[float, Gt(0)] = 45.0
    cool_timeout_s: Annotated[float, Ge(0)] = 300.0
    min_battery_pct: Annotated[int, Interval(ge=0, le=100)] = 15
    wait_s: Annotated[float, Ge(0)] = 900.0
    watch_s: Annotated[float, Ge(0)] = 5.0

    @property
    def sets_clock(self) -> bool:
        """Whether governor or frequency are set, which takes root."""
        return self.governor is not None or self.freq_khz is not None

    def __post_init__(self) -> None:
        check_bounds(self, InvalidRunError)
        if self.governor is not None and not re.fullmatch(r"[a-z_0-9]{1,16}", self.governor):
            raise InvalidRunError(
                f"a governor is a name such as performance, got {self.governor!r}; see "
                f"{CPU_FOLDER}/cpu0/cpufreq/scaling_available_governors on the phone"
            )
