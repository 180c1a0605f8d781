"""What a report says, as plain records; pictures and page are made of these and nothing else.

A part that a run does not have yet is None or empty, and the page says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from netadapt.predictor.report import ErrorFigures, LearningRound
from netadapt.report import intervals
from netadapt.report.intervals import Estimate
from netadapt.search.space import Layer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from netadapt.search.dmasking.points import MaskingPoint

    Floats = NDArray[np.float32]

Kind = Literal["reference", "found", "scaled"]

SUPERNET = "supernet"
"""The phase of a training log that is the super-network's."""


def html_name(label: str) -> str:
    """A search's label as a part of an HTML id."""
    return re.sub(r"[^A-Za-z0-9]", "-", label)


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """A trained network in numbers.

    Parameters
    ----------
    label: what the page calls it, unique on it.
    search: label of the search it belongs to; None for the reference.
    score: the task's metric on the test split, and how many images it is a share of; None where it
        is no share.
    latency_ratio: latency as a share of the reference's in the same session of the device.
    measured_spread: share of itself that `latency_ratio` is uncertain by, either way, 90 %; of the
        reference, and where there is no ratio, the same of `measured_ms`.
    chosen: whether the page's verdict speaks of it; of the scaled networks one of each search.
    others: other figures of the task's on the test split, by name.
    """

    label: str
    kind: Kind
    search: str | None
    score: float
    images: int | None
    predicted_ms: float
    measured_ms: float
    measured_spread: float
    latency_ratio: float | None
    macs: float
    params: float
    depth: float
    chosen: bool = True
    others: Mapping[str, float] = field(default_factory=dict)

    @property
    def score_interval(self) -> Estimate:
        """The score with its 95 % interval; nothing beside itself where it is no share."""
        if self.images is None:
            return Estimate(self.score, self.score, self.score)
        return intervals.share(self.score, self.images)

    def times_faster(self, than: TrainedNetwork) -> Estimate:
        """Its speed against another's, with a 90 % interval; below 1 where it is slower."""
        if self.latency_ratio is None or than.latency_ratio is None:
            spreads = (self.measured_spread, than.measured_spread)
            return intervals.ratio(than.measured_ms / self.measured_ms, spreads)
        # Ratios to the reference: what its milliseconds are uncertain by is in none of them.
        own, other = (0.0 if n.kind == "reference" else n.measured_spread for n in (self, than))
        return intervals.ratio(than.latency_ratio / self.latency_ratio, (own, other))

    def score_gain(self, over: TrainedNetwork) -> Estimate:
        """Its score less another's, with a 95 % interval where both are shares of images."""
        if self.images is None or over.images is None:
            gain = self.score - over.score
            return Estimate(gain, gain, gain)
        return intervals.difference(self.score_interval, over.score_interval)


@dataclass(frozen=True, slots=True)
class PublishedNetwork:
    """A published network, as its authors judged it, timed under the run's conditions.

    Parameters
    ----------
    metrics: in words, each with its data set.
    score: what the run's own scores can be held against; None where they are of other images.
    quality: as in the latency table.
    """

    label: str
    metrics: tuple[str, ...]
    source: str
    score: float | None
    measured_ms: float
    quality: str
    macs: float
    params: float


@dataclass(frozen=True, slots=True)
class OtherRun:
    """Another run of the same device, task and final training, such as another strategy's.

    Parameters
    ----------
    found_by: its strategy and searcher.
    search_s: what training the super-network and searching took, all budgets together.
    networks: those that it found; latencies as multiples of this run's reference.
    """

    name: str
    found_by: str
    search_s: float
    networks: tuple[TrainedNetwork, ...]


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
    """A scored network of the search; `predicted`: its `RunReport.search_metric`.

    `score` is what `RunReport.searched_by` says.
    """

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

    Parameters
    ----------
    kept: whether that was this one.
    guard: share by which the interval's upper end lay above the prediction in that iteration.
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
class SearchReport:
    """One search, that of one budget.

    Parameters
    ----------
    label: "0.5", "12ms"; unique in the run.
    given: the budget in words, as the run file has it.
    probes: the candidates that the search measured, in their order.
    found_alone_ms: the found network timed by itself, and again.
    lead: by how much the loss of the next best candidate of its iteration is above the found one's.
    masking: how a differentiable search went; empty for any other.
    """

    label: str
    given: str
    budgets: tuple[Budget, ...]
    candidates: tuple[Candidate, ...]
    path: tuple[PathStep, ...]
    probes: tuple[Probe, ...]
    found_alone_ms: tuple[float, ...]
    lead: Estimate | None = None
    masking: tuple[MaskingPoint, ...] = ()

    @property
    def name(self) -> str:
        """The label as a part of an HTML id."""
        return html_name(self.label)

    def budget(self, name: str) -> Budget | None:
        """The budget of the metric of that name, None where it has none."""
        return next((b for b in self.budgets if b.name == name), None)


@dataclass(frozen=True, slots=True)
class PredictedMeasured:
    """A network's latency as predicted, with its 90 % interval, and as measured."""

    group: str
    predicted_ms: float
    measured_ms: float
    low_ms: float | None = None
    high_ms: float | None = None

    @property
    def error(self) -> float:
        """Predicted against measured, as a share of the measured."""
        return self.predicted_ms / self.measured_ms - 1


@dataclass(frozen=True, slots=True)
class Drawing:
    """A network, layer by layer."""

    label: str
    depth: float
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class LatencyPart:
    """Milliseconds that a part of a network takes, as predicted, in each network by label.

    Parameters
    ----------
    name: a block's, or a kernel type's.
    """

    name: str
    ms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class WholeLatency:
    """A network's latency as the sum over its kernels, as predicted, and as measured."""

    label: str
    sum_ms: float
    predicted_ms: float
    measured_ms: float | None


@dataclass(frozen=True, slots=True)
class LatencyMap:
    """Predicted milliseconds of a kernel type by its input and output channels.

    Parameters
    ----------
    kernel_type, size: what the kernel is and at which size, in words.
    ms, measured: a row for each number of output channels, a column for each of input channels;
        `measured`: whether the table holds that kernel.
    """

    kernel_type: str
    size: str
    in_channels: tuple[int, ...]
    out_channels: tuple[int, ...]
    ms: tuple[tuple[float, ...], ...]
    measured: tuple[tuple[bool, ...], ...]


@dataclass(frozen=True, slots=True)
class PredictionErrors:
    """How far held-out predictions are off, for a kind of kernel or for whole networks."""

    subject: str
    figures: ErrorFigures


@dataclass(frozen=True, slots=True, eq=False)
class MapExamples:
    """What networks make of some test images, where outputs are maps.

    Parameters
    ----------
    search: of the found network.
    of, unit: what is mapped, e.g. "depth", "m".
    pictures: (images, height, width, 1 or 3), from 0 to 1.
    truth, reference, found: (images, height, width); the truth is not a number where unknown.
    """

    search: str
    of: str
    unit: str
    pictures: Floats
    truth: Floats
    reference: Floats
    found: Floats

    @property
    def name(self) -> str:
        """The search's label as a part of an HTML id."""
        return html_name(self.search)


@dataclass(frozen=True, slots=True)
class LossCurve:
    """Training loss of one phase: `SUPERNET`, or a trained network's label."""

    phase: str
    steps: tuple[int, ...]
    losses: tuple[float, ...]


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

    Parameters
    ----------
    about: which version made the run and the page, when, on what, and how to do it again.
    score_name: what the task calls its metric; score_is_share: 0 to 1, so shown in percent.
    learning: how sure the predictor was with more and more rows, where a profile noted it.
    searched_by: what candidates are judged by: "loss", or the task's metric.
    search_metric: what candidates are drawn against, latency where that is constrained.
    searches: largest budget first; of an unfinished run those that have begun.
    networks: the reference, then of each search the found and the scaled ones, as far as trained.
    wholes, blocks, kernel_types: the reference beside the found networks.
    published: by others, the fastest first, where somebody timed them for this page.
    beside: other runs, where the page was asked for them; `this` is then this run as they are.
    examples: one of each search, where the task's outputs are maps.
    """

    name: str
    finished: bool
    about: tuple[Fact, ...]
    score_name: str
    score_is_share: bool
    higher_is_better: bool
    searched_by: str
    search_metric: str
    search_unit: str
    searches: tuple[SearchReport, ...]
    networks: tuple[TrainedNetwork, ...]
    predicted_measured: tuple[PredictedMeasured, ...]
    drawings: tuple[Drawing, ...]
    wholes: tuple[WholeLatency, ...]
    blocks: tuple[LatencyPart, ...]
    kernel_types: tuple[LatencyPart, ...]
    latency_map: LatencyMap | None
    predictor: tuple[PredictionErrors, ...]
    learning: tuple[LearningRound, ...]
    losses: tuple[LossCurve, ...]
    conditions: tuple[Fact, ...]
    settings: tuple[Fact, ...]
    durations: tuple[Duration, ...]
    published: tuple[PublishedNetwork, ...] = ()
    this: OtherRun | None = None
    beside: tuple[OtherRun, ...] = ()
    examples: tuple[MapExamples, ...] = ()

    @property
    def has_supernet(self) -> bool:
        """Whether the run's strategy trains one."""
        return any(curve.phase == SUPERNET for curve in self.losses)

    @property
    def reference(self) -> TrainedNetwork | None:
        """The space's reference network, None where it was not trained yet."""
        return next((n for n in self.networks if n.kind == "reference"), None)

    @property
    def trained(self) -> tuple[TrainedNetwork, ...]:
        """This run's networks and those of the runs beside it."""
        return (*self.networks, *(n for run in self.beside for n in run.networks))

    @property
    def side_by_side(self) -> tuple[tuple[OtherRun, TrainedNetwork, TrainedNetwork | None], ...]:
        """Found networks by budget and run, each with this run's own of that budget."""
        runs = (*([self.this] if self.this is not None else []), *self.beside)
        labels = dict.fromkeys(n.search for run in runs for n in run.networks)
        return tuple(
            (run, network, self.network("found", label) if label is not None else None)
            for label in labels
            for run in runs
            for network in run.networks
            if network.search == label
        )

    @property
    def beside_published(self) -> tuple[TrainedNetwork | PublishedNetwork, ...]:
        """Published networks and those that the verdicts speak of, the fastest first."""
        own = (n for n in self.networks if n.chosen)
        return tuple(sorted((*own, *self.published), key=lambda n: n.measured_ms))

    def network(self, kind: Kind, search: str) -> TrainedNetwork | None:
        """The one of that kind that the verdict on a search speaks of."""
        return next(
            (n for n in self.networks if n.kind == kind and n.search == search and n.chosen), None
        )
