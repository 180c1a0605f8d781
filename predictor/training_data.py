"""Rows of a latency table as a predictor needs them: of one provenance, of believed quality."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from predictor.errors import TrainingDataError
from profiler.table import LatencyTable, Provenance, Row

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KernelSample:
    """A kernel (`copies` 1) or a chain of it as measured alone; `repeat_dev` as in the table."""

    key: str
    copies: int
    latency_ms: float
    repeat_dev: float

    def __post_init__(self) -> None:
        _check_latency(self.key, self.latency_ms)


@dataclass(frozen=True, slots=True)
class NetworkSample:
    """A network measured whole, with the keys of its kernels; `repeat_dev` as in the table."""

    name: str
    kernels: tuple[str, ...]
    latency_ms: float
    repeat_dev: float = 0.0

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
    provenance: the conditions to take rows of; None takes the only ones there are.
    qualities: the rows to believe.

    Raises `TrainingDataError` where rows of several provenances would mix or none is left, and
    `profiler.errors.TableError` for a frame that is none of a latency table.
    """
    if not isinstance(table, LatencyTable):
        with LatencyTable.from_frame(table) as copy:
            return read_training_data(copy, provenance=provenance, qualities=qualities)
    rows = table.rows(provenance)
    found = {row.provenance for row in rows}
    if len(found) > 1:
        names = "; ".join(sorted(map(str, found)))
        raise TrainingDataError(
            f"a predictor is fitted to rows of one provenance, got {len(found)} ({names}); "
            "choose one: fit(table, provenance=...)"
        )
    believed = [row for row in rows if row.quality in qualities]
    if not any(row.kernels is None and row.copies == 1 for row in believed):
        raise TrainingDataError(
            f"a predictor needs measured kernels of quality {tuple(qualities)}, got none in "
            f"{_summary(rows)}; profile some, or accept other qualities"
        )
    if len(believed) < len(rows):
        logger.info(
            "%d of %d rows left out for their quality: %s",
            len(rows) - len(believed), len(rows), _summary(rows),
        )  # fmt: skip
    return TrainingData(
        kernels=tuple(
            KernelSample(row.key, row.copies, row.latency_us / 1e3, row.repeat_dev)
            for row in believed
            if row.kernels is None
        ),
        networks=tuple(
            NetworkSample(row.key, row.kernels, row.latency_us / 1e3, row.repeat_dev)
            for row in believed
            if row.kernels is not None
        ),
        provenance=believed[0].provenance,
    )


def _summary(rows: Iterable[Row]) -> str:
    counts = Counter(row.quality for row in rows)
    return ", ".join(f"{count} {quality}" for quality, count in sorted(counts.items())) or "0 rows"


def _check_latency(name: str, latency_ms: float) -> None:
    if not 0 < latency_ms < float("inf"):
        raise TrainingDataError(
            f"a measured latency is above 0 ms and finite, got {latency_ms} for {name}; "
            "measure it again"
        )
