"""Numbers and messages as people read them."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """E.g. `42 s`, `3 min 05 s`, `2 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def milliseconds(ms: float) -> str:
    """Three significant digits, e.g. `12.3 ms`, `0.348 ms`, and below a tenth `34.8 us`."""
    value, unit = (ms, "ms") if ms >= 0.1 else (1e3 * ms, "us")
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 2
    return f"{value:.{digits}f} {unit}"


def quantity(value: float) -> str:
    """Counts at a size one can read: `812`, `48.2 k`, `3.41 M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f}"


def one_line(text: object) -> str:
    """`text` with every run of white space as one space."""
    return " ".join(str(text).split())
