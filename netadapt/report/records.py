"""What a report says, as plain records; pictures and page are made of these and nothing else.

A part that a run does not have yet is None or empty, and the page says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from predictor.report import ErrorFigures


@dataclass(frozen=True, slots=True)
class NetworkFigures:
    """A trained network in numbers; `score` is the task's metric on the test split."""

    label: str
    score: float
    predicted_ms: float
    measured_ms: float
    macs: float
    params: float
    depth: float


@dataclass(frozen=True, slots=True)
class Budget:
    """A constraint and what the found network needs of it, both in `unit`."""

    name: str
    unit: str
    limit: float
    reached: float | None

    @property
    def used(self) -> float | None:
        """Share of the limit; at most 1 where it is met."""
        return None if self.reached is None else self.reached / self.limit


@dataclass(frozen=True, slots=True)
class Candidate:
    """A scored network of the search; `predicted`: its `RunReport.search_metric`."""

    iteration: int
    score: float
    predicted: float


@dataclass(frozen=True, slots=True)
class PathStep:
    """The network that an iteration kept, its `RunReport.search_metric` predicted and measured."""

    iteration: int
    score: float
    predicted: float
    measured: float | None


@dataclass(frozen=True, slots=True)
class Probe:
    """A candidate that was measured before its iteration settled on one network.

    kept: whether that was this one. guard: share by which the interval's upper end lay above the
    prediction in that iteration.
    """

    iteration: int
    predicted_ms: float
    measured_ms: float
    kept: bool
    guard: float

    @property
    def error(self) -> float:
        """Predicted against measured, as a share of the measured."""
        return self.predicted_ms / self.measured_ms - 1


@dataclass(frozen=True, slots=True)
class PredictedMeasured:
    """A network's latency as predicted, with its 90 % interval, and as measured."""

    group: str
    predicted_ms: float
    measured_ms: float
    low_ms: float | None = None
    high_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """A block, or another searched layer, as drawn.

    size_px: height and width of its output. expansion, max_expansion: 0 where it has none.
    width 0: removed. kernel_size: None where there is nothing to choose or nothing left.
    """

    name: str
    size_px: int
    width: int
    max_width: int
    expansion: int = 0
    max_expansion: int = 0
    kernel_size: int | None = None
    stride: int = 1
    se: bool = False

    @property
    def removed(self) -> bool:
        return self.width == 0


@dataclass(frozen=True, slots=True)
class Drawing:
    """A network, layer by layer."""

    label: str
    depth: float
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class KernelShare:
    """Milliseconds that the kernels of one type take, as predicted, in each network by label."""

    kernel_type: str
    ms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class PredictionErrors:
    """How far held-out predictions are off, for a kind of kernel or for whole networks."""

    subject: str
    figures: ErrorFigures


@dataclass(frozen=True, slots=True)
class Fact:
    """A condition of measurement or a setting, ready to be printed."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Duration:
    """Wall time of a step of the run."""

    step: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RunReport:
    """Everything on the page.

    score_name: what the task calls its metric; score_is_share: 0 to 1, so shown in percent.
    search_metric: what candidates are drawn against, latency where that is constrained.
    networks: reference, found and scaled, as far as they are there.
    probes: the candidates that the search measured, in their order.
    found_alone_ms: the found network timed by itself, and again.
    """

    name: str
    finished: bool
    score_name: str
    score_is_share: bool
    search_metric: str
    search_unit: str
    budgets: tuple[Budget, ...]
    networks: tuple[NetworkFigures, ...]
    scaled_variants: tuple[NetworkFigures, ...]
    candidates: tuple[Candidate, ...]
    path: tuple[PathStep, ...]
    probes: tuple[Probe, ...]
    found_alone_ms: tuple[float, ...]
    predicted_measured: tuple[PredictedMeasured, ...]
    drawings: tuple[Drawing, ...]
    kernel_shares: tuple[KernelShare, ...]
    predictor: tuple[PredictionErrors, ...]
    conditions: tuple[Fact, ...]
    settings: tuple[Fact, ...]
    durations: tuple[Duration, ...]

    @property
    def search_budget(self) -> Budget | None:
        """The budget of the metric that candidates are drawn against, once it is known."""
        return next((b for b in self.budgets if b.name == self.search_metric), None)

    def network(self, label: str) -> NetworkFigures | None:
        return next((n for n in self.networks if n.label == label), None)
