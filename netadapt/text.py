"""Numbers and messages as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from netadapt.android_runner.text import printable


def duration(seconds: float) -> str:
    """E.g. `42 s`, `3 min 05 s`, `2 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


@dataclass(frozen=True, slots=True)
class LatencyUnit:
    """The one unit that the latencies of a column, an axis or a sentence are written in."""

    name: str
    per_ms: float

    @classmethod
    def of(cls, latencies_ms: Iterable[float]) -> LatencyUnit:
        """Microseconds where some are below 0.1 ms and none is above 10 ms, else milliseconds."""
        known = [ms for ms in latencies_ms if ms > 0]
        small = bool(known) and min(known) < 0.1 and max(known) < 10
        return MICROSECONDS if small else MILLISECONDS

    def number(self, ms: float) -> str:
        """Three significant digits without the unit, e.g. `12.3`, `0.348`, `1230`."""
        return three_digits(ms * self.per_ms)

    def text(self, ms: float) -> str:
        """E.g. `12.3 ms`, `34.8 µs`."""
        return f"{self.number(ms)} {self.name}"


MILLISECONDS = LatencyUnit("ms", 1.0)
MICROSECONDS = LatencyUnit("µs", 1e3)


def three_digits(value: float) -> str:
    """Three significant digits, never as a power of ten: `0.0123`, `1.20`, `45.6`, `1230`."""
    if not value or not math.isfinite(value):
        return f"{value:.0f}"
    digits = 2 - math.floor(math.log10(abs(float(f"{value:.2e}"))))
    return f"{value:.{max(digits, 0)}f}"


def milliseconds(ms: float) -> str:
    """Three significant digits, e.g. `12.3 ms`, `0.348 ms`, and below a tenth `34.8 µs`."""
    return (MILLISECONDS if ms >= 0.1 else MICROSECONDS).text(ms)


def quantity(value: float) -> str:
    """Counts at a size one can read: `812`, `48.2 k`, `3.41 M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f}"


def one_line(text: object) -> str:
    """`text` with every run of white space as one space, and nothing that a terminal obeys."""
    return printable(text)


def threads(count: int) -> str:
    """E.g. `1 thread`, `4 threads`."""
    return f"{count} thread{'' if count == 1 else 's'}"


NO_GAIN = 1.02
"""Two runs of one program lie so far apart."""


def faster(before_ms: float, after_ms: float) -> str:
    """E.g. `1.22 times faster`, where that is more than two runs of one program differ by."""
    gain = before_ms / after_ms
    return f"{gain:.2f} times faster" if gain > NO_GAIN else "no faster here"
