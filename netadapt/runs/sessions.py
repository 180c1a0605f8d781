"""`sessions.jsonl`: every session of the device in which a run timed whole networks.

A line is a session: `{"purpose": "search", "started_at": ..., "sentinel_us": 5.1, "reference_ms":
0.14, "networks": {name: {"us": 71.2, "ratio": 0.49, "spread": 0.004, "quality": "ok"}}}`. The
reference network is in each of them, and what counts of the others is their `ratio` to it: the
device's clock level, which is another one minutes later, is in both. A torn last line, which a
killed run may leave, is ignored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from netadapt.android_runner.files import cut_torn_line


@dataclass(frozen=True, slots=True)
class NetworkTiming:
    """One network of a session.

    Parameters
    ----------
    us: microseconds, clock level and all.
    ratio: over the reference's latency in this session.
    spread: half-width of the 90 % interval around `ratio`, as a share of it.
    quality: as in the latency table.
    """

    us: float
    ratio: float
    spread: float
    quality: str


@dataclass(frozen=True, slots=True)
class DeviceSession:
    """One session.

    Parameters
    ----------
    purpose: "reference" (how long the reference takes), "networks" (candidates, scaled networks),
        "confirm" (a search's result) or "final" (the trained networks).
    reference_ms: what the run counts as the reference's latency, and multiplies ratios by.
    networks: by name: an arch's JSON, or "trained ..." with the label of a trained network.
    """

    purpose: str
    started_at: str
    sentinel_us: float | None
    reference_ms: float
    networks: Mapping[str, NetworkTiming]


class SessionLog:
    """The sessions of a run, in a file or, without one, in memory."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._sessions = [] if path is None else list(read_sessions(path))
        if path is not None:
            cut_torn_line(path)

    def __iter__(self) -> Iterator[DeviceSession]:
        return iter(self._sessions)

    def append(self, session: DeviceSession) -> None:
        """Add a session; it is on the disk when this returns."""
        if self._path is not None:
            with self._path.open("ab") as file:
                file.write((json.dumps(asdict(session)) + "\n").encode())
                file.flush()
                os.fsync(file.fileno())
        self._sessions.append(session)


def read_sessions(path: Path) -> tuple[DeviceSession, ...]:
    """The sessions that a file holds; none where there is none, and what is torn is skipped."""
    if not path.exists():
        return ()
    sessions = []
    for line in path.read_bytes().splitlines():
        try:
            record = json.loads(line)
            networks = {n: NetworkTiming(**timing) for n, timing in record["networks"].items()}
            session = DeviceSession(**{**record, "networks": networks})
            numbers = [session.reference_ms, *(n.ratio for n in networks.values())]
            if all(isinstance(number, float) and 0 < number < float("inf") for number in numbers):
                sessions.append(session)
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            continue  # torn by a kill; what it held is timed again
    return tuple(sessions)
