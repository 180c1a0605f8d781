"""One published latency, and the row of a table that it becomes."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from netadapt.android_runner.device import Conditions
from netadapt.profiler.errors import TableError
from netadapt.profiler.kernels import Kernel
from netadapt.profiler.keys import network_key
from netadapt.profiler.row import Provenance, Row

UNKNOWN_DEV = 0.03
"""What repeated measurement leaves open where nobody said (assumption)."""

LIKELY_MACS_PER_S = (1e6, 1e14)
"""Of a phone's cores and of a large accelerator; a median beyond these is in another unit."""


@dataclass(frozen=True, slots=True)
class PublishedLatency:
    """What somebody measured.

    Parameters
    ----------
    kernels : tuple of Kernel
        One, or several that were measured together, in the order they run.
    latency_us : float
    spread : float, or None
        Standard deviation as a share of the latency.
    where : str
        File and line or name, for messages.
    label : str
        What its source calls it.

    Raises
    ------
    TableError
        For a latency or spread that is none.
    """

    kernels: tuple[Kernel, ...]
    latency_us: float
    spread: float | None
    where: str
    label: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.latency_us < math.inf:
            raise TableError(
                f"a published latency is above 0 and finite, got {self.latency_us:g} us in "
                f"{self.where}; correct the line or leave it out"
            )
        if self.spread is not None and not 0 <= self.spread < math.inf:
            raise TableError(
                f"a spread is 0 or more and finite, got {self.spread:g} of the latency in "
                f"{self.where}; correct the line or leave it out"
            )


def check_unit(latencies: Iterable[PublishedLatency], unit: str) -> None:
    """Raise `TableError` where all that was computed took too long or too short for any device."""
    rates = [
        macs / latency.latency_us * 1e6
        for latency in latencies
        if (macs := sum(kernel.macs for kernel in latency.kernels))
    ]
    if not rates:
        return
    rate = statistics.median(rates)
    least, most = LIKELY_MACS_PER_S
    if not least <= rate <= most:
        raise TableError(
            f"a device does from {least:.0e} to {most:.0e} multiply-accumulates a second, these "
            f"latencies read as {unit} mean {rate:.1e}; correct the unit"
        )


def rows_of(latencies: Sequence[PublishedLatency], provenance: Provenance) -> list[Row]:
    """A row for each kernel, and for each run of kernels; of several of the same, their median.

    What is not published is not invented: rows have no samples, no conditions and no effort. That
    two runs of it lie apart by its spread, or `UNKNOWN_DEV`, is an assumption.
    """
    found: dict[tuple[str, ...], list[PublishedLatency]] = defaultdict(list)
    for latency in latencies:
        found[tuple(kernel.key for kernel in latency.kernels)].append(latency)
    return [_row(keys, same, provenance) for keys, same in found.items()]


def _row(keys: tuple[str, ...], same: Sequence[PublishedLatency], provenance: Provenance) -> Row:
    values = [latency.latency_us for latency in same]
    spreads = [latency.spread for latency in same if latency.spread is not None]
    spread = statistics.median(spreads) if spreads else 0.0
    apart = max(values) / min(values) - 1
    shape = same[0].kernels[0].input_shapes[0]
    return Row(
        key=keys[0] if len(keys) == 1 else network_key(keys, shape),
        copies=1,
        kernels=None if len(keys) == 1 else keys,
        latency_us=statistics.median(values),
        repeat_dev=max(apart, spread if spreads else UNKNOWN_DEV),
        spread=spread,
        quality="ok",
        attempts=len(same),
        rounds_us=(),
        calls_per_sample=1,
        program_sha256="",
        conditions=Conditions(
            cpus=(), threads=provenance.threads, freq_khz_before=None, freq_khz_after=None,
            temperature_c_before=None, temperature_c_after=None, load_avg_before=None,
            load_avg_after=None, sentinel_us=(), started_at="",
        ),
        provenance=provenance,
        label=same[0].label or None,
        input_shape=None if len(keys) == 1 else shape,
    )  # fmt: skip
