"""Trials and the file they are kept in.

The log is JSON lines, appended and flushed to the disk one by one: a header, then in the order they
happened the steps of a search. A kill can only tear the last line, which opening the log cuts off.

    {"kind": "header", "version": 1, "fingerprint": ...}
    {"kind": "proposal", "iteration": 1, "candidates": 100, "targets": {...}, "seconds": ...}
    {"kind": "trial", "iteration": 1, "arch": ..., "score": ..., "predicted": {...}, "seconds": ...}
    {"kind": "measured", "iteration": 1, "arch": ..., "measured_ms": ..., "seconds": ...}
    {"kind": "accepted", "iteration": 1, "arch": ..., "measured_ms": ...}
    {"kind": "confirmed", "iteration": 9, "arch": ..., "first_ms": ..., "second_ms": ..., ...}
    {"kind": "result", "arch": ..., "seconds": ...}
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import pydantic

from netadapt.search.errors import TrialLogError

if TYPE_CHECKING:
    from netadapt.search.space import Arch

VERSION = 2

Milliseconds = Annotated[float, pydantic.Field(gt=0)]

# A log is read years later, by other versions, after crashes: every value is checked then.
_STRICT = pydantic.ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")


@dataclass(frozen=True, slots=True)
class Trial:
    """One evaluated arch; a higher score is better.

    `predicted` holds the constrained metrics by name as they were predicted when it was proposed.
    """

    arch: Arch
    score: float
    predicted: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Proposal:
    """An iteration's candidates were made in `seconds`; `targets` is what they aimed at.

    Parameters
    ----------
    guard: share by which the upper end of the latency's interval lies above the prediction.
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = _STRICT

    kind: ClassVar[str] = "proposal"
    iteration: int
    candidates: int
    targets: Mapping[str, float]
    guard: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Scored:
    """A trial of an iteration; `seconds` is 0 where an earlier iteration had scored the arch."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = _STRICT

    kind: ClassVar[str] = "trial"
    iteration: int
    arch: str
    score: float
    predicted: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One of an iteration's trials was timed as a whole network."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = _STRICT

    kind: ClassVar[str] = "measured"
    iteration: int
    arch: str
    measured_ms: Milliseconds
    seconds: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """What an iteration settled on, and its measured latency where somebody measures."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = _STRICT

    kind: ClassVar[str] = "accepted"
    iteration: int
    arch: str
    measured_ms: Milliseconds | None


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A network that may be the search's answer was timed twice more, each time by itself."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = _STRICT

    kind: ClassVar[str] = "confirmed"
    iteration: int
    arch: str
    first_ms: Milliseconds
    second_ms: Milliseconds
    seconds: float

    @property
    def both_ms(self) -> tuple[float, float]:
        """The two timings, in ms."""
        return self.first_ms, self.second_ms


@dataclass(frozen=True, slots=True)
class Finished:
    """The search's answer; `seconds` is the wall time of all its steps together."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = _STRICT

    kind: ClassVar[str] = "result"
    arch: str
    seconds: float


Record = Proposal | Scored | Measured | Accepted | Confirmed | Finished

_KINDS: dict[str, type[Record]] = {
    Proposal.kind: Proposal,
    Scored.kind: Scored,
    Measured.kind: Measured,
    Accepted.kind: Accepted,
    Confirmed.kind: Confirmed,
    Finished.kind: Finished,
}


@dataclass(frozen=True, slots=True)
class Iteration:
    """One iteration read back: its trials, which of them were measured, the accepted one.

    Parameters
    ----------
    guard: as in `Proposal`.
    confirmed: of the networks that were timed again, the last one's.
    """

    number: int
    targets: Mapping[str, float]
    guard: float
    propose_seconds: float
    trials: tuple[Scored, ...] = ()
    measured: tuple[Measured, ...] = ()
    accepted: Accepted | None = None
    confirmed: Confirmed | None = None


class TrialLog:
    """The append-only file of one search. Use as a context manager, or `close` it.

    Opening creates the file, or reads what an earlier run left and cuts off a torn last line.
    Raises `TrialLogError` for a file that is no trial log or whose `fingerprint` (any text that
    distinguishes one configuration from another) is another one.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path = path
        header = {"kind": "header", "version": VERSION, "fingerprint": fingerprint}
        lines, size = _whole_lines(path) if path.exists() else ([], 0)
        if lines and lines[0] != header:
            _check_header(path, lines[0])
            raise TrialLogError(
                f"a search resumes from its own log only, but {path} was written under another "
                "configuration, space or seed; give this search another folder or remove the file"
            )
        self.records: list[Record] = [_record(path, line) for line in lines[1:]]
        self._file = path.open("ab")
        self._file.truncate(size)
        if not lines:
            self._write(header)

    def append(self, record: Record) -> None:
        """Add a record; it is on the disk when this returns."""
        self._write({"kind": record.kind, **asdict(record)})
        self.records.append(record)

    def _write(self, line: Mapping[str, object]) -> None:
        self._file.write((json.dumps(line) + "\n").encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file; what was logged is on the disk."""
        self._file.close()

    def __enter__(self) -> TrialLog:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_iterations(path: Path) -> tuple[Iteration, ...]:
    """The iterations a log holds, finished or not; opens nothing for writing.

    Raises `TrialLogError` for a file that is no trial log.
    """
    lines, _ = _whole_lines(path)
    if lines:
        _check_header(path, lines[0])
    return tuple(_iterations(_record(path, line) for line in lines[1:]))


def _iterations(records: Iterator[Record]) -> Iterator[Iteration]:
    current: Iteration | None = None
    for record in records:
        if isinstance(record, Proposal):
            if current is not None:
                yield current
            current = Iteration(record.iteration, record.targets, record.guard, record.seconds)
        elif isinstance(record, Scored) and current is not None:
            current = replace(current, trials=(*current.trials, record))
        elif isinstance(record, Measured) and current is not None:
            current = replace(current, measured=(*current.measured, record))
        elif isinstance(record, Accepted) and current is not None:
            current = replace(current, accepted=record)
        elif isinstance(record, Confirmed) and current is not None:
            current = replace(current, confirmed=record)
    if current is not None:
        yield current


def _whole_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The lines that ended, and how many bytes they take; a torn last one is left out."""
    content = path.read_bytes()
    size = content.rfind(b"\n") + 1
    lines: list[dict[str, Any]] = []
    for number, text in enumerate(content[:size].splitlines(), start=1):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _corrupt(path, f"line {number} is not JSON") from error
        if not isinstance(line, dict):
            raise _corrupt(path, f"line {number} is not an object")
        lines.append(line)
    return lines, size


def _check_header(path: Path, header: Mapping[str, object]) -> None:
    if header.get("kind") != "header":
        raise _corrupt(path, "it has no header line")
    if header.get("version") != VERSION:
        raise TrialLogError(
            f"this version reads trial logs of version {VERSION}, got {header.get('version')!r} "
            f"in {path}; finish that search with the version that began it"
        )


def _record(path: Path, line: Mapping[str, Any]) -> Record:
    fields = {name: value for name, value in line.items() if name != "kind"}
    kind = line.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise _corrupt(path, f"it holds an unknown record {str(kind)[:40]!r}")
    try:
        return _reader(kind).validate_json(
            json.dumps(fields)
        )  # strict, and numbers stay as written
    except pydantic.ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise _corrupt(path, f"a {kind!r} record's {where} is wrong ({problem['msg']})") from error


@functools.cache
def _reader(kind: str) -> pydantic.TypeAdapter[Record]:
    return pydantic.TypeAdapter(_KINDS[kind])


def _corrupt(path: Path, what: str) -> TrialLogError:
    return TrialLogError(
        f"a trial log is JSON lines under a header, but in {path} {what}; "
        "restore the file or remove it to search anew"
    )


def runner_up(iterations: Sequence[Iteration], arch: str) -> Scored | None:
    """Of the iteration that settled on `arch` last, the best of those that scored no better.

    None where nobody else was scored in it.
    """
    for iteration in reversed(iterations):
        if iteration.accepted is not None and iteration.accepted.arch == arch:
            own = next(t.score for t in iteration.trials if t.arch == arch)
            others = [t for t in iteration.trials if t.arch != arch and t.score <= own]
            return max(others, key=lambda trial: trial.score, default=None)
    return None


def accepted_path(iterations: Sequence[Iteration]) -> tuple[Scored, ...]:
    """The accepted trial of each iteration, in order."""
    return tuple(
        trial
        for iteration in iterations
        if iteration.accepted is not None
        for trial in iteration.trials
        if trial.arch == iteration.accepted.arch
    )
