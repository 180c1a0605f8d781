"""What a phone is measured with: the knobs, their bounds and their defaults."""

from __future__ import annotations

import re
from dataclasses import dataclass

from netadapt.android_runner.errors import InvalidRunError
from netadapt.android_runner.phone.cores import Cluster
from netadapt.android_runner.phone.parsing import CPU_FOLDER


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
