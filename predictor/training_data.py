"""Rows of a latency table as a predictor needs them: of one provenance, of believed quality.

Frames of other people's measurements (`read_published`) need no more than kernels and latencies.
"""

from __future__ import annotations

import json
import logging
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from netadapt.predictor.errors import TrainingDataError
from netadapt.profiler.errors import TableError
from netadapt.profiler.provenance import PROVENANCE_COLUMNS, of_published
from netadapt.profiler.table import LatencyTable, Provenance, Row

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KernelSample:
    """A kernel (`copies` 1) or a chain of it as measured alone.

    `repeat_dev` as in the table, None where nobody measured twice.
    """

    key: str
    copies: int
    latency_ms: float
    repeat_dev: float | None = None

    def __post_init__(self) -> None:
        _check_latency(self.key, self.latency_ms)
        if self.copies < 1:
            raise TrainingDataError(
                f"a chain has at least 1 copy of its kernel, got {self.copies} of {self.key}; "
                "correct the row or leave it out"
            )


@dataclass(frozen=True, slots=True)
class NetworkSample:
    """A network measured whole, with the keys of its kernels; `repeat_dev` as of a kernel."""

    name: str
    kernels: tuple[str, ...]
    latency_ms: float
    repeat_dev: float | None = None

    def __post_init__(self) -> None:
        _check_latency(self.name, self.latency_ms)
        if not self.kernels:
            raise TrainingDataError(
                f"a measured network has at least 1 kernel, got none for {self.name}; "
                "record its kernels with it"
            )


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a predictor is fitted to, all taken under `provenance`."""

    kernels: tuple[KernelSample, ...]
    networks: tuple[NetworkSample, ...]
    provenance: Provenance


def read_training_data(
    table: LatencyTable | pd.DataFrame,
    *,
    provenance: Provenance | None = None,
    qualities: Sequence[str] = ("ok",),
) -> TrainingData:
    """The rows of a latency table, or of its frame, that a predictor learns from.

    Parameters
    ----------
    table: a frame has the columns of `LatencyTable.to_frame`, or those of `read_published`.
    provenance: the conditions to take rows of; None takes the only ones there are.
    qualities: the rows to believe; of a type without any, those that did not repeat well.

    Raises `TrainingDataError` where rows of several provenances would mix or none is left, and
    `netadapt.profiler.errors.TableError` for a frame that is none of a latency table.
    """
    if not isinstance(table, LatencyTable):
        if "program_sha256" not in table.columns:  # nobody's but our own runner's rows have one
            return read_published(table)
        with LatencyTable.from_frame(table) as copy:
            return read_training_data(copy, provenance=provenance, qualities=qualities)
    rows = table.rows(provenance, samples=False)
    found = {row.provenance for row in rows}
    if len(found) > 1:
        names = "; ".join(sorted(map(str, found)))
        raise TrainingDataError(
            f"a predictor is fitted to rows of one provenance, got {len(found)} ({names}); "
            "choose one: `netadapt fit TABLE --provenance N`, or fit(table, provenance=...)"
        )
    believed = [row for row in rows if row.quality in qualities]
    if not any(row.kernels is None and row.copies == 1 for row in believed):
        raise TrainingDataError(
            f"a predictor needs measured kernels of quality {tuple(qualities)}, got none in "
            f"{_summary(rows)}; profile some, or accept other qualities"
        )
    believed += _only_unsteady(rows, believed)
    if len(believed) < len(rows):
        logger.info(
            "%d of %d rows left out for their quality: %s",
            len(rows) - len(believed), len(rows), _summary(rows),
        )  # fmt: skip
    unknown = sum(row.kernels == () for row in believed)
    if unknown:
        logger.warning(
            "%d network(s) left out: their kernels are not known, so nothing is learnt from them",
            unknown,
        )
    return TrainingData(
        kernels=tuple(
            KernelSample(row.key, row.copies, row.latency_us / 1e3, row.repeat_dev)
            for row in believed
            if row.kernels is None
        ),
        networks=tuple(
            NetworkSample(row.key, row.kernels, row.latency_us / 1e3, row.repeat_dev)
            for row in believed
            if row.kernels
        ),
        provenance=believed[0].provenance,
    )


def _only_unsteady(rows: Sequence[Row], believed: Sequence[Row]) -> list[Row]:
    """The unsteady rows of types that no believed row is of.

    A type of one or two small kernels may not repeat well enough on a busy machine. That is a
    reason to doubt these latencies, not to have none of any network.
    """
    known = {row.type for row in believed}
    found = [
        row for row in rows if row.quality == "unstable" and row.type not in {*known, "network"}
    ]
    if found:
        logger.warning(
            "no steady row of %s: %d unsteady ones count; profile again on a quiet machine",
            ", ".join(sorted({row.type for row in found})), len(found),
        )  # fmt: skip
    return found


PUBLISHED_COLUMNS = ("key", "latency_us")


def read_published(frame: pd.DataFrame) -> TrainingData:
    """Latencies that somebody else measured, as a frame of kernels' keys and microseconds.

    Parameters
    ----------
    frame: `key` (`Kernel.key`, or a network's name) and `latency_us`; may have `copies`, `kernels`
        (a network's keys as a list or as JSON text), `repeat_dev` and columns of a `Provenance`,
        which are the same in all rows. What is missing stays unknown: nothing is invented.

    A kernel in several rows counts with their median, and their range tells the noise. Raises
    `netadapt.profiler.errors.TableError` where a column is missing, `TrainingDataError` for other
    rows.
    """
    missing = [name for name in PUBLISHED_COLUMNS if name not in frame.columns]
    if missing:
        raise TableError(
            f"a frame of latencies has at least the columns {', '.join(PUBLISHED_COLUMNS)}, "
            f"{', '.join(missing)} missing; rename yours, or export a table"
        )
    latencies: dict[tuple[str, int, tuple[str, ...]], list[float]] = defaultdict(list)
    repeats: dict[tuple[str, int, tuple[str, ...]], float | None] = {}
    records: Sequence[Mapping[Any, Any]] = frame.to_dict("records")
    for record in records:
        try:
            row = (
                str(record["key"]),
                1 if _absent(record.get("copies")) else int(record["copies"]),
                _keys_of(record.get("kernels")),
            )
            latencies[row].append(float(record["latency_us"]) / 1e3)
            repeat = record.get("repeat_dev")
            repeats[row] = None if _absent(repeat) else float(repeat)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError) as error:
            raise TrainingDataError(
                f"a line of the frame is no measurement ({error}, key {record['key']!r}); correct "
                "it or leave it out"
            ) from error
    doubled = sum(len(values) > 1 for values in latencies.values())
    if doubled:
        logger.warning(
            "%d kernels or networks stand in several rows: the median of each counts", doubled
        )
    kernels, networks = [], []
    for (key, copies, keys), values in latencies.items():
        for value in values:
            _check_latency(key, value)
        ms = statistics.median(values)
        repeat = max(values) / min(values) - 1 if len(values) > 1 else repeats[key, copies, keys]
        if keys:
            networks.append(NetworkSample(key, keys, ms, repeat))
        else:
            kernels.append(KernelSample(key, copies, ms, repeat))
    if not any(sample.copies == 1 for sample in kernels):
        raise TrainingDataError(
            f"a predictor needs measured kernels, got none in {len(frame)} rows; add some"
        )
    return TrainingData(tuple(kernels), tuple(networks), _published_provenance(frame))


def _keys_of(value: object) -> tuple[str, ...]:
    if _absent(value):
        return ()
    keys = json.loads(value) if isinstance(value, str) else value
    if not isinstance(keys, Iterable) or not all(isinstance(key, str) for key in keys):
        raise ValueError("kernels are a list of keys")
    return tuple(keys)


def _absent(value: object) -> bool:
    """Whether a frame's cell is empty: None, NaN or pandas' NA."""
    return value is None or str(value) == "<NA>" or (isinstance(value, float) and math.isnan(value))


def _published_provenance(frame: pd.DataFrame) -> Provenance:
    values: dict[str, Any] = {}
    for name, kind in PROVENANCE_COLUMNS.items():
        known: list[Any] = []
        if name in frame.columns:
            known = list(frame[name].dropna().unique())
        if len(known) > 1:
            raise TrainingDataError(
                f"a predictor is fitted to rows of one provenance, got {len(known)} values of "
                f"{name} ({', '.join(map(str, known[:4]))}); choose the rows of one"
            )
        if known:
            values[name] = kind(known[0])
    return of_published(values)


def _summary(rows: Iterable[Row]) -> str:
    counts = Counter(row.quality for row in rows)
    return ", ".join(f"{count} {quality}" for quality, count in sorted(counts.items())) or "0 rows"


def _check_latency(name: str, latency_ms: float) -> None:
    if not 0 < latency_ms < float("inf"):
        raise TrainingDataError(
            f"a measured latency is above 0 ms and finite, got {latency_ms} for {name}; "
            "measure it again"
        )
