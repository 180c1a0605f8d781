"""What a run's latency table says: the rows of one set of conditions, and these conditions."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from netadapt.profiler.table import LatencyTable, Provenance, Row
from netadapt.report.records import Fact
from netadapt.text import MICROSECONDS


@dataclass(frozen=True, slots=True)
class Measured:
    """Rows of one provenance; rows taken under others are only counted, by provenance."""

    provenance: Provenance | None
    rows: tuple[Row, ...]
    left_out: tuple[tuple[Provenance, int], ...]

    @property
    def networks(self) -> tuple[Row, ...]:
        """Those whose kernels are known."""
        return tuple(row for row in self.rows if row.kernels)

    @property
    def period(self) -> str:
        """From the first to the last measurement."""
        first, last = (
            pick(row.measured_at for row in self.rows)[:16].replace("T", " ") for pick in (min, max)
        )
        return f"{first} to {last} UTC"

    @property
    def conditions(self) -> tuple[Fact, ...]:
        """What the rows say about how they were taken; ranges go over all of them."""
        if self.provenance is None:
            return ()
        flagged = sum(row.quality != "ok" for row in self.rows)
        repeats = statistics.median(abs(row.repeat_dev) for row in self.rows)
        return (
            *_provenance_facts(self.provenance),
            Fact("Measured", self.period),
            Fact("Rows", f"{len(self.rows)}, {flagged} of them flagged as unsteady"),
            Fact("Repeated measurement", f"median deviation {100 * repeats:.1f} %"),
            Fact("Frequency", self._range("freq_khz", 1e6, "GHz")),
            Fact("Temperature", self._range("temperature_c", 1, "°C")),
            Fact("Load average", self._range("load_avg", 1, "")),
            Fact("Sentinel kernel", self._sentinel()),
            *(
                Fact("Not on this page", f"{count} rows of other conditions: {provenance}")
                for provenance, count in self.left_out
            ),
        )

    def _range(self, field: str, per_unit: float, unit: str) -> str:
        """Smallest to largest of a value before and after; the system may not report it."""
        values = [
            getattr(row.conditions, f"{field}_{when}")
            for row in self.rows
            for when in ("before", "after")
        ]
        known = [value / per_unit for value in values if value is not None]
        if not known:
            return "not reported by the system"
        return f"{min(known):.3g} to {max(known):.3g} {unit}".rstrip()

    def _sentinel(self) -> str:
        known = [row.sentinel_us for row in self.rows if row.sentinel_us is not None]
        if not known:
            return "none was timed along"
        middle = statistics.median(known)
        return (
            f"{MICROSECONDS.text(middle / 1e3)} in the middle, "
            f"{100 * (min(known) / middle - 1):+.1f} % to {100 * (max(known) / middle - 1):+.1f} %"
        )


def read_table(path: Path, provenance: Provenance | None) -> Measured:
    """The rows at `path` of a provenance; of the one with most rows where none is given."""
    if not path.exists():
        return Measured(None, (), ())
    with LatencyTable(path, must_exist=True) as table:
        rows = table.rows(samples=False)
    counts = Counter(row.provenance for row in rows)
    if provenance is None and counts:
        provenance = counts.most_common(1)[0][0]
    if provenance is None or not counts[provenance]:
        return Measured(None, (), tuple(counts.items()))
    return Measured(
        provenance,
        tuple(row for row in rows if row.provenance == provenance),
        tuple((other, count) for other, count in counts.items() if other != provenance),
    )


def _provenance_facts(provenance: Provenance) -> tuple[Fact, ...]:
    device = provenance.device
    return (
        Fact("Device", f"{device.id}: {device.model}"),
        Fact("Chip", device.soc),
        Fact("System", f"{device.os}, {device.abi}"),
        Fact("Cores used", f"{provenance.cpus}; {provenance.threads} thread(s)"),
        Fact("Precision", provenance.recipe.precision),
        Fact("Lowered", f"{provenance.recipe}: {provenance.lowering or 'versions not recorded'}"),
        Fact("Runtime", f"ExecuTorch {device.runtime_version}"),
        Fact("Runtime's build", device.build_options),
        Fact("Runner's hash", device.runner_sha256),
        Fact("Conditions' hash", device.fingerprint),
    )
