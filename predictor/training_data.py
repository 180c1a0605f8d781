"""Rows of a latency table as a predictor needs them: of one provenance, of believed quality.

Frames of other people's measurements (`read_published`), and the `X` and `y` of scikit-learn's
functions (`read_kernel_latencies`), need no more than kernels and latencies.
"""

from __future__ import annotations

import json
import logging
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from netadapt.predictor.errors import TrainingDataError
from netadapt.predictor.inputs import is_absent, read_kernels
from netadapt.profiler.errors import TableError
from netadapt.profiler.provenance import PROVENANCE_COLUMNS, of_published
from netadapt.profiler.table import LatencyTable, Provenance, Row

if TYPE_CHECKING:
    from netadapt.predictor.inputs import KernelInput

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KernelSample:
    """A kernel, or a chain of it, as measured by itself.

    Parameters
    ----------
    key : str
        The kernel's.
    copies : int
        Length of the chain; 1 for the kernel alone.
    latency_ms : float
        Of the whole program.
    repeat_dev : float, or None
        As in the table, None where nobody measured twice.

    Raises
    ------
    TrainingDataError
        For a latency or length that is none.
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
    """A network measured whole.

    Parameters
    ----------
    name : str
        Its key in the table.
    kernels : tuple of str
        Its kernels' keys.
    latency_ms : float
    repeat_dev : float, or None
        As of a kernel.

    Raises
    ------
    TrainingDataError
        For a latency that is none, and without kernels.
    """

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
    """What a predictor is fitted to.

    Parameters
    ----------
    kernels : tuple of KernelSample
    networks : tuple of NetworkSample
    provenance : Provenance
        That all of them were taken under.
    """

    kernels: tuple[KernelSample, ...]
    networks: tuple[NetworkSample, ...]
    provenance: Provenance


def read_training_data(
    table: LatencyTable | pd.DataFrame,
    *,
    provenance: Provenance | None = None,
    qualities: Sequence[str] = ("ok",),
) -> TrainingData:
    """Choose the rows of a latency table, or of its frame, that a predictor learns from.

    Parameters
    ----------
    table : LatencyTable or DataFrame
        A frame has the columns of `LatencyTable.to_frame`, or those of `read_published`.
    provenance : Provenance, or None
        The conditions to take rows of; None takes the only ones there are.
    qualities : sequence of str
        The rows to believe; of a type without any, all that there are.

    Raises
    ------
    TrainingDataError
        Where rows of several provenances would mix or none is left.
    netadapt.profiler.errors.TableError
        For a frame that is none of a latency table.
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
    if "ok" in qualities:
        believed += _only_flagged(rows, believed)
    if not any(row.kernels or (row.kernels is None and row.copies == 1) for row in believed):
        raise TrainingDataError(
            f"a predictor needs measured kernels of quality {tuple(qualities)}, got none in "
            f"{_summary(rows)}; profile some, or accept other qualities"
        )
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


def _only_flagged(rows: Sequence[Row], believed: Sequence[Row]) -> list[Row]:
    """Return the flagged rows of types, networks among them, of which no row is believed.

    A type of one or two small kernels may not repeat well enough on a busy machine, or drift with
    its clock, and a small table may do so as a whole. That is a reason to doubt these latencies,
    not to have none of any network, or nothing that shows how far sums are off.
    """
    known = {row.type for row in believed if row.copies == 1}
    found = [row for row in rows if row.type not in known]
    if found:
        logger.warning(
            "no steady row of %s: %d flagged ones count; profile again on a quiet machine",
            ", ".join(sorted({row.type for row in found})), len(found),
        )  # fmt: skip
    return found


PUBLISHED_COLUMNS = ("key", "latency_us")


@dataclass(frozen=True, slots=True)
class _Line:
    """A measurement as somebody gave it: of a kernel, a chain, or a network of these kernels."""

    key: str
    copies: int
    kernels: tuple[str, ...]
    latency_ms: float
    repeat_dev: float | None


def read_published(frame: pd.DataFrame) -> TrainingData:
    """Read latencies that somebody else measured.

    What is missing stays unknown: nothing is invented. A kernel in several rows counts with their
    median, and their range gives the noise.

    Parameters
    ----------
    frame : DataFrame
        With `key` (`Kernel.key`, or a network's name) and `latency_us`; may have `copies`,
        `kernels` (a network's keys as a list or as JSON text), `repeat_dev` and columns of a
        `Provenance`, which are the same in all rows.

    Raises
    ------
    netadapt.profiler.errors.TableError
        Where a column is missing.
    TrainingDataError
        For rows that are no measurements, or of several provenances.
    """
    missing = [name for name in PUBLISHED_COLUMNS if name not in frame.columns]
    if missing:
        raise TableError(
            f"a frame of latencies has at least the columns {', '.join(PUBLISHED_COLUMNS)}, "
            f"{', '.join(missing)} missing; rename yours, or export a table"
        )
    lines = []
    records: Sequence[Mapping[Any, Any]] = frame.to_dict("records")
    for record in records:
        try:
            lines.append(
                _Line(
                    str(record["key"]),
                    1 if is_absent(record.get("copies")) else int(record["copies"]),
                    _keys_of(record.get("kernels")),
                    float(record["latency_us"]) / 1e3,
                    _repeat_dev(record.get("repeat_dev")),
                )
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise TrainingDataError(
                f"a line of the frame is no measurement ({error}, key {record['key']!r}); correct "
                "it or leave it out"
            ) from error
    return _collect(lines, _published_provenance(frame))


def read_kernel_latencies(X: KernelInput, y: ArrayLike) -> TrainingData:
    """Read kernels and their latencies as scikit-learn's functions pass them.

    Parameters
    ----------
    X : frame, or sequence of str or Kernel
        See `netadapt.predictor.inputs`. A frame may have `repeat_dev` and columns of a
        `Provenance`, which are the same in all rows. Every row counts, whatever its quality.
    y : array of shape (kernels,)
        Milliseconds of each, by position.

    Raises
    ------
    KernelInputError
        For an `X` that names no kernels.
    TrainingDataError
        For latencies that are none, or not as many as kernels; for rows of several provenances.
    """
    programs = read_kernels(X)
    times_ms = np.asarray(y, dtype=object)
    if times_ms.shape == (len(programs.kernels), 1):
        times_ms = times_ms[:, 0]
    if times_ms.shape != (len(programs.kernels),):
        raise TrainingDataError(
            f"y has one latency in ms for each of the {len(programs.kernels)} kernels of X, got "
            f"shape {times_ms.shape}; pass them in pairs"
        )
    copies = programs.copies or (1,) * len(programs.kernels)
    repeats: Sequence[object] = [None] * len(programs.kernels)
    provenance = UNKNOWN
    if isinstance(X, pd.DataFrame):
        provenance = _published_provenance(X)
        if "repeat_dev" in X.columns:
            repeats = list(X["repeat_dev"])
    lines = []
    for kernel, count, value, repeat in zip(
        programs.kernels, copies, times_ms, repeats, strict=True
    ):
        try:
            lines.append(_Line(kernel.key, count, (), float(value), _repeat_dev(repeat)))
        except (TypeError, ValueError, OverflowError) as error:
            raise TrainingDataError(
                f"a latency is a number of ms, got {value!r} for {kernel.key} ({error}); correct "
                "it or leave it out"
            ) from error
    return _collect(lines, provenance)


def _collect(lines: Sequence[_Line], provenance: Provenance) -> TrainingData:
    """One sample for each kernel, chain and network, of however many lines."""
    found: dict[tuple[str, int, tuple[str, ...]], list[_Line]] = defaultdict(list)
    for line in lines:
        found[line.key, line.copies, line.kernels].append(line)
    doubled = sum(len(same) > 1 for same in found.values())
    if doubled:
        logger.warning(
            "%d kernels or networks stand in several rows: the median of each counts", doubled
        )
    kernels, networks = [], []
    for (key, copies, keys), same in found.items():
        times_ms = [line.latency_ms for line in same]
        for value in times_ms:
            _check_latency(key, value)
        ms = statistics.median(times_ms)
        repeat = max(times_ms) / min(times_ms) - 1 if len(same) > 1 else same[0].repeat_dev
        if keys:
            networks.append(NetworkSample(key, keys, ms, repeat))
        else:
            kernels.append(KernelSample(key, copies, ms, repeat))
    if not networks and not any(sample.copies == 1 for sample in kernels):
        raise TrainingDataError(
            f"a predictor needs measured kernels, got none in {len(lines)} rows; add some"
        )
    return TrainingData(tuple(kernels), tuple(networks), provenance)


def _keys_of(value: object) -> tuple[str, ...]:
    if is_absent(value):
        return ()
    keys = json.loads(value) if isinstance(value, str) else value
    if not isinstance(keys, Iterable) or not all(isinstance(key, str) for key in keys):
        raise ValueError("kernels are a list of keys")
    return tuple(keys)


def _repeat_dev(value: Any) -> float | None:
    return None if is_absent(value) else float(value)


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


UNKNOWN = _published_provenance(pd.DataFrame())
"""Of latencies that come without their conditions."""


def _summary(rows: Iterable[Row]) -> str:
    counts = Counter(row.quality for row in rows)
    return ", ".join(f"{count} {quality}" for quality, count in sorted(counts.items())) or "0 rows"


def _check_latency(name: str, latency_ms: float) -> None:
    if not 0 < latency_ms < float("inf"):
        raise TrainingDataError(
            f"a measured latency is above 0 ms and finite, got {latency_ms} for {name}; "
            "measure it again"
        )
