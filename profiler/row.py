"""What a latency table holds: a row, how much work went into it, and what rows must share."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal, Self, get_args

from netadapt.android_runner.device import (
    Conditions,
    DeviceInfo,
    DeviceKind,
    RunSpec,
    lower_quartile,
)
from netadapt.profiler.errors import TableError
from netadapt.profiler.keys import NETWORK
from netadapt.profiler.lowering.recipe import Recipe

Quality = Literal["ok", "unstable", "drifted", "throttled"]
"""`ok`: two runs agreed. `unstable`: no two did. `drifted`: the sentinel kernel ran off course.
`throttled`: the device's clock fell and could not be kept up. From good to bad."""

Rounds = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Provenance:
    """What rows must share to be compared.

    Parameters
    ----------
    device: what they were taken on, its runner and runtime among it.
    recipe: how their programs were made.
    lowering: versions of the software that made them, e.g. `torch 2.13.0, executorch 1.4.1`; empty
        where nobody recorded them.
    threads: of the runtime's pool.
    cpus: cores pinned to, e.g. `2,3`.

    Raises `TableError` for a kind of device that there is none of.
    """

    device: DeviceInfo
    recipe: Recipe
    lowering: str
    threads: int
    cpus: str

    def __post_init__(self) -> None:
        if self.device.kind not in get_args(DeviceKind):
            raise TableError(
                f"a device is of one of the kinds {', '.join(get_args(DeviceKind))}, got "
                f"{self.device.kind!r} for {self.device.id!r}; one of your own is a plug-in"
            )

    def __str__(self) -> str:
        device = self.device
        name = f"{device.id} {device.machine[:8]}".rstrip()
        clock = "" if device.performance == "default" else f", {device.performance}"
        return (
            f"{device.model} ({name}), cpus {self.cpus}, {self.threads} thread(s){clock}, "
            f"{self.recipe} by {self.lowering or 'versions that were not recorded'}, "
            f"runtime {device.runtime_version}, runner {device.runner_sha256[:8]}"
        )


@dataclass(frozen=True, slots=True, order=True)
class Effort:
    """How much work a measurement was; a larger one counts as more careful.

    Compared by rounds first, since a latency is a quantile of them, then by the time in each, then
    by the warm-up (assumption).

    Parameters
    ----------
    rounds: how often the program was visited, in both runs together.
    visit_ms: time spent on it in one visit.
    warmup_ms: untimed execution before the first.
    """

    rounds: int
    visit_ms: float
    warmup_ms: float

    def __post_init__(self) -> None:
        times = (self.visit_ms, self.warmup_ms)
        if not 1 <= self.rounds < 2**63 or not all(0 <= ms < math.inf for ms in times):
            raise TableError(
                "an effort has at least 1 round and times from 0 ms, got "
                f"{self.rounds} rounds, {self.visit_ms} ms, {self.warmup_ms} ms; measure again"
            )

    @classmethod
    def of(cls, spec: RunSpec) -> Self:
        """What `spec` asks for."""
        return cls(spec.rounds, spec.visit_ms, spec.warmup_ms)


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides whether a row stays when it might be measured again.

    Parameters
    ----------
    quality, repeat_dev, effort: as in `Row`.
    """

    quality: Quality
    repeat_dev: float
    effort: Effort | None

    def settles(self, effort: Effort) -> bool:
        """Whether measuring with this effort has nothing to add."""
        return self.quality == "ok" and self.effort is not None and self.effort >= effort

    def beats(self, other: Standing) -> bool:
        """Whether a row like this replaces one like `other`: by quality, effort, repeatability."""
        return self._rank > other._rank

    @property
    def _rank(self) -> tuple[int, bool, Effort, float]:
        badness = get_args(Quality).index(self.quality)
        return (
            -badness,
            self.effort is not None,
            self.effort or _NO_EFFORT,
            -abs(self.repeat_dev),
        )


_NO_EFFORT = Effort(1, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Row:
    """One measured kernel, chain or network.

    Parameters
    ----------
    key: the kernel's key, or a network's (`netadapt.profiler.keys.network_key`).
    copies: length of the chain; 1 for a kernel by itself and for networks.
    kernels: the keys of a network's kernels in execution order, () where they are not known; None
        for a kernel.
    latency_us: `android_runner.Measurement.latency_us` of the samples.
    repeat_dev: the second of the two runs against the first, as a share (0.01: 1 % slower).
    spread: interquartile range of the rounds, as a share of the latency.
    attempts: runs it took.
    rounds_us: raw samples of the agreeing runs, a tuple a round, microseconds a call; () where
        they were not kept or not asked for.
    conditions: what the device was like in those runs.
    label: what a network is called, e.g. its arch as JSON; the first name it was measured under.
    input_shape: a network's, batch of 1 included; None for a kernel, and where it is not known.
    effort: how much work it was; None where nobody recorded it.

    Raises `TableError` for values that no measurement gives.
    """

    key: str
    copies: int
    kernels: tuple[str, ...] | None
    latency_us: float
    repeat_dev: float
    spread: float
    quality: Quality
    attempts: int
    rounds_us: Rounds
    calls_per_sample: int
    program_sha256: str
    conditions: Conditions
    provenance: Provenance
    label: str | None = None
    input_shape: tuple[int, ...] | None = None
    effort: Effort | None = None

    def __post_init__(self) -> None:
        self._check(bool(self.key), "has a key", self.key)
        self._check(0 < self.latency_us < math.inf, "has a latency above 0 us", self.latency_us)
        self._check(
            self.quality in get_args(Quality), f"is one of {get_args(Quality)}", self.quality
        )
        self._check(self.copies >= 1, "has at least 1 copy", self.copies)
        self._check(
            self.kernels is None or self.copies == 1, "of a network has 1 copy", self.copies
        )
        for name in ("repeat_dev", "spread"):
            value = getattr(self, name)
            self._check(math.isfinite(value), f"has a finite {name}", value)
        for name in ("attempts", "calls_per_sample"):
            value = getattr(self, name)
            self._check(value >= 1, f"has {name} of at least 1", value)
        samples = (*self.conditions.sentinel_us, *(us for r in self.rounds_us for us in r))
        wrong = [us for us in samples if not 0 < us < math.inf]
        self._check(not wrong, "has samples above 0 us", wrong[:1])
        values = (getattr(self.conditions, f.name) for f in dataclasses.fields(self.conditions))
        wrong = [value for value in values if isinstance(value, int) and abs(value) >= 2**63]
        self._check(not wrong, "has conditions of up to 64 bits", wrong[:1])
        self._check(
            self.input_shape is None or all(size >= 1 for size in self.input_shape),
            "has an input of at least 1 a dimension",
            self.input_shape,
        )

    def _check(self, fine: bool, rule: str, value: object) -> None:
        if not fine:
            raise TableError(
                f"a row of a latency table {rule}, got {value!r} for {self.key!r}; measure it again"
            )

    @property
    def type(self) -> str:
        """The kernel's type, or "network"."""
        return self.key.partition("(")[0] if self.kernels is None else NETWORK

    @property
    def name(self) -> str:
        """The key, with the number of copies of a chain."""
        return self.key if self.copies == 1 else f"{self.key} x{self.copies}"

    @property
    def standing(self) -> Standing:
        """What decides whether it stays."""
        return Standing(self.quality, self.repeat_dev, self.effort)

    @property
    def sentinel_us(self) -> float | None:
        """The sentinel kernel's latency in the same runs; None where there was none.

        By the estimator of all latencies: a round that other work disturbed is its neighbours' too.
        """
        rounds = self.conditions.sentinel_us
        return lower_quartile(rounds) if rounds else None

    @property
    def freq_khz_lowest(self) -> int | None:
        """Clock of the slowest pinned core, the lowest at any round's end; None: not known."""
        return min(filter(None, self.conditions.round_freqs_khz), default=None)

    @property
    def measured_at(self) -> str:
        """UTC, ISO 8601."""
        return self.conditions.started_at
