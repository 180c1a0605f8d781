"""What a search counts: latency, MACs, parameters, planned memory, or anything that can be called.

A metric takes many archs at once, because a predictor is much faster in batches; lower is better
everywhere. A metric that has no answer for an arch raises: a missing latency is never 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from netadapt.android_runner.plugins import load_callable
from netadapt.search.errors import MetricError, shown

if TYPE_CHECKING:
    from netadapt.profiler.kernels import Kernel
    from netadapt.search.space import Arch, Space

Milliseconds = Sequence[float] | NDArray[np.float64]
NetworkLatency = Callable[[Sequence[Sequence["Kernel"]]], Milliseconds]
"""Networks, each as its kernels in execution order, to milliseconds."""
NetworkInterval = Callable[[Sequence[Sequence["Kernel"]]], NDArray[np.float64]]
"""Networks to the lower and upper ends, `(N, 2)` ms, around what `NetworkLatency` predicts."""
KernelLatency = Callable[[Sequence["Kernel"]], Milliseconds]


class Metric(Protocol):
    """`metric(archs)` gives one number an arch, in `unit`; lower is better."""

    @property
    def name(self) -> str:
        """Short and stable: trial logs and budgets call it so."""
        ...

    @property
    def unit(self) -> str:
        """Of its values, e.g. "ms"."""
        ...

    def __call__(self, archs: Sequence[Arch], /) -> Sequence[float]:
        """One value an arch, in `unit`. Raises rather than give a value that it does not have."""
        ...


@dataclass(frozen=True, slots=True)
class FunctionMetric:
    """Any function of one arch as a metric."""

    name: str
    unit: str
    function: Callable[[Arch], float]

    def __call__(self, archs: Sequence[Arch], /) -> list[float]:
        """As `Metric` has it."""
        return [self.function(arch) for arch in archs]


def macs(space: Space) -> FunctionMetric:
    """Multiply-accumulates of one image."""
    return FunctionMetric("macs", "MACs", space.macs)


def params(space: Space) -> FunctionMetric:
    """Trainable parameters."""
    return FunctionMetric("params", "parameters", space.params)


def planned_memory(space: Space) -> FunctionMetric:
    """Peak of the live fp32 activations in execution order."""
    return FunctionMetric("planned_memory", "bytes", space.planned_memory_bytes)


METRICS: Mapping[str, Callable[[Space], Metric]] = {
    "macs": macs,
    "params": params,
    "planned_memory": planned_memory,
}
"""What a space knows of its networks, by name. "latency" is known to a predictor only."""


@dataclass(frozen=True, slots=True)
class CheckedMetric:
    """Somebody else's metric; what it says of archs is checked before it counts.

    Parameters
    ----------
    function: `metric(archs)` gives one finite number an arch, none below 0; lower is better.
    """

    name: str
    unit: str
    function: Callable[[Sequence[Arch]], Sequence[float]]

    def __call__(self, archs: Sequence[Arch], /) -> list[float]:
        """As `Metric` has it. Raises `MetricError` for anything but numbers of 0 or more."""
        values = np.asarray(self.function(archs), dtype=np.float64)
        if values.shape != (len(archs),):
            raise MetricError(
                f"a metric gives one number an arch, got shape {values.shape} of {self.name} for "
                f"{len(archs)} archs; check what it returns"
            )
        wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
        if wrong.size:
            raise MetricError(
                f"a metric is a number of 0 or more, got {values[wrong[0]]} of {self.name} for "
                f"{archs[wrong[0]].to_json()}; a missing value is an error, not a number"
            )
        return [float(value) for value in values]


def make_metric(name: str, space: Space, latency: LatencyMetric | None = None) -> Metric:
    """The metric called `name`: one of `METRICS`, "latency", or `package.module:function`.

    Parameters
    ----------
    name: at a place stands either a function `metric(archs) -> values`, whose `unit` may be an
        attribute of it, or a class that is made of the space, `Class(space)(archs) -> values`.
    latency: what "latency" is; None: this search knows no latencies.

    Raises `MetricError` for a name that is neither, `PluginError` for a place without a metric.
    """
    if name == LatencyMetric.name:
        if latency is None:
            raise MetricError(
                "a latency is predicted by a predictor, and this search has none; fit one, or "
                f"constrain one of {', '.join(sorted(METRICS))}"
            )
        return latency
    if name in METRICS:
        return METRICS[name](space)
    if ":" not in name:
        known = ", ".join(sorted((*METRICS, LatencyMetric.name)))
        raise MetricError(
            f"a metric is one of {known} or package.module:function, got {shown(name)}; "
            "check the spelling"
        )
    found = load_callable(name, "metric")
    made = found(space) if isinstance(found, type) else found
    if not callable(made):
        raise MetricError(
            f"a metric is called with archs, what {shown(name)} makes of a space cannot be; "
            "give its class a __call__"
        )
    function = cast("Callable[[Sequence[Arch]], Sequence[float]]", made)
    return CheckedMetric(
        str(getattr(made, "name", name)), str(getattr(made, "unit", "units")), function
    )


@dataclass(frozen=True, slots=True)
class Constraint:
    """`metric(arch) <= budget`, the budget in the metric's unit."""

    metric: Metric
    budget: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.budget) and self.budget > 0):
            raise MetricError(
                f"a budget is a positive number of {self.metric.unit}, got {self.budget} for "
                f"{self.metric.name}; leave the constraint out to have none"
            )


class KernelSum:
    """Networks' latency as the sum over their kernels, each kernel asked for once.

    `kernel_ms` takes kernels and gives milliseconds; unseen ones of a whole batch go to it
    together.
    """

    def __init__(self, kernel_ms: KernelLatency) -> None:
        self._kernel_ms = kernel_ms
        self._known: dict[Kernel, float] = {}

    def __call__(self, networks: Sequence[Sequence[Kernel]]) -> list[float]:
        """Milliseconds of each network. Raises `MetricError` for a kernel without a latency."""
        try:
            return self._sums(networks)
        except KeyError:
            self._learn(kernel for network in networks for kernel in network)
            return self._sums(networks)

    def _sums(self, networks: Sequence[Sequence[Kernel]]) -> list[float]:
        latency = self._known.__getitem__
        return [sum(map(latency, network)) for network in networks]

    def _learn(self, kernels: Iterable[Kernel]) -> None:
        unseen = list(dict.fromkeys(kernel for kernel in kernels if kernel not in self._known))
        for kernel, ms in zip(unseen, self._kernel_ms(unseen), strict=True):
            self._known[kernel] = _latency(float(ms), kernel.key)


class LocalCorrection:
    """Measured over predicted, learnt from networks measured along the way.

    A search shrinks, so networks of a similar latency are also the recent ones and share most of
    their layers. The logarithm of measured / predicted is therefore smoothed over the logarithm of
    the predicted latency: a Gaussian of width `bandwidth` weighs the observations, and each is held
    to within `outlier` of their weighted median, so that one disturbed measurement cannot bend the
    rest. Beyond the observed range the nearest one counts. No observation: factor 1 (assumption:
    the shape of the correction is ours).
    """

    def __init__(self, bandwidth: float = 0.05, outlier: float = 0.03) -> None:
        self.bandwidth = bandwidth
        self.outlier = outlier
        self._log_predicted: list[float] = []
        self._log_ratio: list[float] = []

    def observe(self, predicted_ms: float, measured_ms: float) -> None:
        """Learn from one network; `predicted_ms` is the uncorrected prediction."""
        self._log_predicted.append(math.log(predicted_ms))
        self._log_ratio.append(math.log(measured_ms / predicted_ms))

    def __len__(self) -> int:
        return len(self._log_ratio)

    def factors(self, predicted_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        """What to multiply uncorrected predictions `(N,)` by, `(N,)`."""
        if not self._log_ratio:
            return np.ones_like(predicted_ms)
        order = np.argsort(self._log_ratio, kind="stable")
        at = np.asarray(self._log_predicted)[order]
        ratio = np.asarray(self._log_ratio)[order]
        distance = (np.log(predicted_ms)[:, None] - at) / self.bandwidth
        log_weight = -0.5 * distance**2
        weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
        weight /= weight.sum(axis=1, keepdims=True)
        median = ratio[np.argmax(np.cumsum(weight, axis=1) >= 0.5 - 1e-12, axis=1)][:, None]
        deviation = np.clip(ratio - median, -self.outlier, self.outlier)
        return np.asarray(np.exp(median[:, 0] + (weight * deviation).sum(axis=1)))


class IntervalScale:
    """How wide an interval has to be taken, judged by the networks measured along a search.

    Before a network is measured it was predicted, so each measurement tests the prediction as it
    stands, correction included. The mean square of those errors, in half-widths of the interval,
    is kept with exponential forgetting: each measured network counts as much as all before it, the
    interval as it came like one before the first. A search whose corrected predictions come true
    narrows the interval, one whose do not widens it. All assumptions.
    """

    forgetting = 0.5
    least = 0.01
    """No interval is narrower than this share: a measurement does not repeat better."""

    _NORMAL_90 = 1.645

    def __init__(self) -> None:
        self._square = 1.0

    def observe(self, log_errors: NDArray[np.float64], log_widths: NDArray[np.float64]) -> None:
        """Learn from one round, `(N,)` each: log(measured / predicted), log(upper / predicted)."""
        widths = np.maximum(log_widths, self.least)
        square = float(np.mean((self._NORMAL_90 * log_errors / widths) ** 2))
        self._square += (1 - self.forgetting ** len(log_errors)) * (square - self._square)

    def widths(self, log_widths: NDArray[np.float64]) -> NDArray[np.float64]:
        """The half-widths `(N,)`, logarithms too, as they have to be taken now."""
        return np.maximum(math.sqrt(self._square) * log_widths, self.least)


class LatencyMetric:
    """Predicted latency of an arch in ms, corrected by networks measured along the search.

    Parameters
    ----------
    network_ms: networks as kernels to milliseconds, e.g. a predictor's whole-network prediction;
        `from_kernels` builds it from a prediction for single kernels.
    correction: what `observe` teaches; a fresh one belongs to each search.
    interval: the ends of the prediction's 90 % interval; None: a prediction counts as certain.
    """

    name = "latency"
    unit = "ms"

    def __init__(
        self,
        space: Space,
        network_ms: NetworkLatency,
        correction: LocalCorrection | None = None,
        interval: NetworkInterval | None = None,
    ) -> None:
        self._space = space
        self._network_ms = network_ms
        self._interval = interval
        self.correction = LocalCorrection() if correction is None else correction
        self.scale = IntervalScale()

    @classmethod
    def from_kernels(
        cls,
        space: Space,
        kernel_ms: KernelLatency,
        correction: LocalCorrection | None = None,
    ) -> Self:
        """The sum of the kernels' latencies, corrected."""
        return cls(space, KernelSum(kernel_ms), correction)

    def __call__(self, archs: Sequence[Arch], /) -> list[float]:
        """Corrected milliseconds. Raises `MetricError` where a prediction is missing."""
        raw = self._uncorrected(archs)
        corrected: list[float] = (raw * self.correction.factors(raw)).tolist()
        return corrected

    def upper(self, archs: Sequence[Arch]) -> NDArray[np.float64]:
        """`(N,)` ms, the upper end of the interval around the corrected prediction.

        The prediction itself where there is no interval.
        """
        predicted = np.asarray(self(archs))
        if self._interval is None:
            return predicted
        return predicted * np.exp(self.scale.widths(self._log_widths(archs)))

    def observe(self, archs: Sequence[Arch], measured_ms: Sequence[float]) -> None:
        """Learn that the networks of `archs`, one round of measurements, took `measured_ms`."""
        raw = self._uncorrected(archs)
        measured = np.array([_latency(ms, "a measured network") for ms in measured_ms])
        # Nothing was corrected before the first round: its errors are what the correction removes.
        if self._interval is not None and len(self.correction):
            errors = np.log(measured / (raw * self.correction.factors(raw)))
            self.scale.observe(errors, self._log_widths(archs))
        for predicted, ms in zip(raw, measured, strict=True):
            self.correction.observe(float(predicted), float(ms))

    def _log_widths(self, archs: Sequence[Arch]) -> NDArray[np.float64]:
        assert self._interval is not None
        ends = self._interval([self._space.kernels(arch) for arch in archs])
        return np.asarray(np.log(ends[:, 1]) - np.log(self._uncorrected(archs)))

    def _uncorrected(self, archs: Sequence[Arch]) -> NDArray[np.float64]:
        networks = [self._space.kernels(arch) for arch in archs]
        raw = np.asarray(self._network_ms(networks), dtype=np.float64)
        if raw.shape != (len(archs),):
            raise MetricError(
                f"a latency function gives one number a network, got shape {raw.shape} for "
                f"{len(archs)} networks; check what it returns"
            )
        wrong = np.flatnonzero(~(np.isfinite(raw) & (raw > 0)))
        if wrong.size:
            _latency(float(raw[wrong[0]]), f"the network {archs[wrong[0]].to_json()}")
        return raw


def _latency(ms: float, of: str) -> float:
    if math.isfinite(ms) and ms > 0:
        return ms
    raise MetricError(
        f"a latency is a positive number of ms, got {ms} for {of}; "
        "measure what it stands for or fit the predictor on a table that covers it"
    )
