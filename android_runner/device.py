"""The seam between "programs to time" and "whatever times them".

A program is an opaque ExecuTorch ``.pte``; a device runs programs and answers, for each of them,
with one `Measurement` or one `Failure`. Nothing here knows what a layer is.

Units are in the names: ``_us`` microseconds, ``_ms`` milliseconds, ``_s`` seconds, ``_khz``
kilohertz, ``_c`` degrees Celsius.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, runtime_checkable

from annotated_types import Ge, Gt, Interval

from netadapt.android_runner.bounds import check_bounds
from netadapt.android_runner.errors import InvalidRunError

FailureKind = Literal["load", "execute", "crash", "timeout", "protocol"]
DeviceKind = Literal["host", "adb", "replay", "plug-in", "unknown"]
"""`unknown` is the device of latencies that somebody else measured."""


def _require(condition: bool, rule: str, value: object, remedy: str) -> None:
    if not condition:
        raise InvalidRunError(f"{rule}, got {value!r}; {remedy}")


@dataclass(frozen=True, slots=True)
class Program:
    """One lowered method to be timed.

    ``name`` may be any text; it must be unique within a batch and never leaves the host.
    """

    name: str
    data: bytes
    method: str = "forward"

    def __post_init__(self) -> None:
        _require(bool(self.name), "a program needs a name", self.name, "name it")
        _require(bool(self.data), f"program {self.name!r} needs .pte bytes", self.data, "lower it")
        _require(
            self.method.isidentifier() and self.method.isascii(),
            f"the method of program {self.name!r} must be an ASCII identifier",
            self.method,
            "use the name it was exported under",
        )

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the bytes; of bytes and method when that is not ``forward``."""
        digest = hashlib.sha256(self.data)
        if self.method != "forward":
            digest.update(b"\0" + self.method.encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class RunSpec:
    """How a batch is timed.

    Parameters
    ----------
    threads: size of the runtime's thread pool.
    cpus: cores the runner pins itself to; None means the device's default (host: the last core).
    rounds: how often every program is visited, in an order shuffled anew each round.
    warmup_ms: untimed execution before the first round, per program.
    visit_ms: time spent sampling one program in one round.
    min_sample_us: calls are grouped so that one sample lasts at least this long.
    seed: of the order and of the inputs' values; the same seed gives the same inputs.
    timeout_s: silence for that long means that the program in flight hangs.
    sentinel: re-timed once a round, so that drift is distinguished from difference.
    outputs: also return the values of the output tensors.
    """

    threads: Annotated[int, Ge(1)] = 1
    cpus: tuple[int, ...] | None = None
    rounds: Annotated[int, Ge(1)] = 12
    warmup_ms: Annotated[float, Ge(0)] = 5.0
    visit_ms: Annotated[float, Ge(0)] = 3.0
    min_sample_us: Annotated[float, Ge(0)] = 50.0
    seed: Annotated[int, Interval(ge=0, lt=2**63)] = 0
    timeout_s: Annotated[float, Gt(0)] = 60.0
    sentinel: Program | None = None
    outputs: bool = False

    def __post_init__(self) -> None:
        check_bounds(self, InvalidRunError)
        _require(
            self.cpus is None
            or (
                len(self.cpus) > 0
                and all(cpu >= 0 for cpu in self.cpus)
                and len(set(self.cpus)) == len(self.cpus)
            ),
            "cpus must be distinct core numbers from 0 on",
            self.cpus,
            "use None for the device's default",
        )


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the device was like while one runner process ran; None where it is not known.

    Attributes
    ----------
    cpus, threads: what the runner was pinned to, and the size of its thread pool.
    freq_khz_before, freq_khz_after: of the first pinned core.
    temperature_c_before, temperature_c_after: of the cores' sensor.
    load_avg_before, load_avg_after: one-minute load average.
    sentinel_us: the sentinel's latency in each round.
    started_at: UTC, ISO 8601.
    performance: how the cores' clock is kept, e.g. ``fixed-performance``; see `DeviceInfo`.
    battery_pct: charge.
    charging: whether a charger is connected.
    screen_on: whether it is awake.
    thermal_status: Android's, 0 (none) to 6 (shutdown).
    limits_khz_before, limits_khz_after: the highest clock allowed to each pinned core.
    round_freqs_khz: at the end of each round, the clock of the slowest pinned core.
    throttled: the clock was seen to fall while the process ran, and could not be kept up.
    """

    cpus: tuple[int, ...]
    threads: int
    freq_khz_before: int | None
    freq_khz_after: int | None
    temperature_c_before: float | None
    temperature_c_after: float | None
    load_avg_before: float | None
    load_avg_after: float | None
    sentinel_us: tuple[float, ...]
    started_at: str
    performance: str | None = None
    battery_pct: int | None = None
    charging: bool | None = None
    screen_on: bool | None = None
    thermal_status: int | None = None
    limits_khz_before: tuple[int | None, ...] = ()
    limits_khz_after: tuple[int | None, ...] = ()
    round_freqs_khz: tuple[int | None, ...] = ()
    throttled: bool = False

    @property
    def sentinel_drift(self) -> float | None:
        """Second half of the run against the first, as a share of the first (0.01 is 1 % slower).

        None without a sentinel or with fewer than two rounds.
        """
        half = len(self.sentinel_us) // 2
        if half == 0:
            return None
        first = statistics.median(self.sentinel_us[:half])
        return statistics.median(self.sentinel_us[-half:]) / first - 1.0


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One output's values in memory order; ``dtype`` is ExecuTorch's name of the scalar type."""

    shape: tuple[int, ...]
    dtype: str
    values: tuple[float, ...]


def lower_quartile(rounds_us: Sequence[float]) -> float:
    """Of the rounds' latencies: the estimator of every latency, see `Measurement.latency_us`."""
    return _quartiles(rounds_us)[0]


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


@dataclass(frozen=True, slots=True)
class Measurement:
    """Raw samples of one program, in microseconds per call, with the conditions they were taken in.

    Attributes
    ----------
    rounds_us: the samples of each round.
    calls_per_sample: calls grouped into one sample.
    """

    program: str
    program_sha256: str
    rounds_us: tuple[tuple[float, ...], ...]
    calls_per_sample: int
    conditions: Conditions
    outputs: tuple[OutputTensor, ...] | None = None

    def __post_init__(self) -> None:
        _require(
            len(self.rounds_us) > 0 and all(len(samples) > 0 for samples in self.rounds_us),
            f"a measurement of {self.program!r} needs samples in every round",
            tuple(len(samples) for samples in self.rounds_us),
            "measure it again",
        )
        bad = [us for samples in self.rounds_us for us in samples if not 0 < us < math.inf]
        _require(not bad, f"samples of {self.program!r} must be above 0", bad, "measure it again")
        _require(
            self.calls_per_sample >= 1,
            "calls_per_sample must be at least 1",
            self.calls_per_sample,
            "measure it again",
        )

    @property
    def round_latencies_us(self) -> tuple[float, ...]:
        """One figure a round: its fastest sample, since others' work only ever adds time."""
        return tuple(map(min, self.rounds_us))

    @property
    def latency_us(self) -> float:
        """The program's latency, microseconds per call: the lower quartile of the rounds.

        Of 19 estimators the most repeatable between processes on a busy machine that still leans
        on more than its luckiest moment (docs/protocol.md, "The estimator").
        """
        return lower_quartile(self.round_latencies_us)

    @property
    def spread(self) -> float:
        """Interquartile range of the rounds as a share of `latency_us`; 0 for one round."""
        low, high = _quartiles(self.round_latencies_us)
        return (high - low) / low


@dataclass(frozen=True, slots=True)
class Failure:
    """A program that gave no measurement, and why, in one line."""

    program: str
    kind: FailureKind
    message: str


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a batch has come: work units (visits of programs) done, of how many."""

    done: int
    total: int
    program: str


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What a device is, as stored with every row that it gives.

    Attributes
    ----------
    id: a phone's own serial number, whichever way it is connected; two phones of one model share a
        fingerprint when they can be compared, and never an id.
    performance: how the cores' clock is kept: ``default`` leaves it to the system.
    machine: distinguishes machines of one ``id``, as all of ``host`` are; empty where the id does.
    """

    id: str
    kind: DeviceKind
    model: str
    soc: str
    os: str
    abi: str
    cores: int
    runtime_version: str
    runner_sha256: str
    build_options: str
    performance: str = "default"
    machine: str = ""

    @property
    def fingerprint(self) -> str:
        """Short stable hash of all that decides comparability, so not of `id` and `machine`.

        The usual performance is left out of it: fingerprints outlive the field.
        """
        text = "\0".join(
            (
                self.kind,
                self.model,
                self.soc,
                self.os,
                self.abi,
                str(self.cores),
                self.runtime_version,
                self.runner_sha256,
                self.build_options,
                *(() if self.performance == "default" else (self.performance,)),
            )
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_names(programs: Sequence[Program]) -> None:
    """Raises `InvalidRunError` if two programs of a batch share a name."""
    seen: set[str] = set()
    for program in programs:
        _require(
            program.name not in seen,
            "program names must be unique in a batch",
            program.name,
            "rename one of them",
        )
        seen.add(program.name)


@runtime_checkable
class Device(Protocol):
    """Anything that times programs. Every implementation passes the same contract test."""

    def info(self) -> DeviceInfo:
        """Describe the device. Raises `RunnerError` when it cannot be used."""
        ...

    def cpus(self, spec: RunSpec) -> tuple[int, ...]:
        """The cores that a run with ``spec`` is pinned to, its default resolved."""
        ...

    def run(
        self,
        programs: Sequence[Program],
        spec: RunSpec,
        on_progress: Callable[[RunProgress], None] | None = None,
    ) -> Iterator[Measurement | Failure]:
        """Time ``programs``: exactly one answer for each, as they come, in any order.

        Raises `InvalidRunError` for duplicate names (on the call, before anything runs).
        """
        ...
