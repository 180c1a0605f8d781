"""How long a model will take by a fitted predictor, kernel by kernel and as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netadapt.predictor.predictor import LatencyPredictor
    from netadapt.profiler.recognition import Part

UNKNOWN, MEASURED, EXTRAPOLATED = "not known", "measured", "outside the measured sizes"


@dataclass(frozen=True, slots=True)
class PartPrediction:
    """A kernel of a model with what the predictor says.

    Parameters
    ----------
    part : Part
    ms : float, or None
        None where the predictor knows nothing of it.
    interval_ms : tuple of float, or None
        Lower and upper end.
    remark : str
        Whether it was measured, extrapolated or not known; "" for a prediction like any other.
    """

    part: Part
    ms: float | None
    interval_ms: tuple[float, float] | None
    remark: str


@dataclass(frozen=True, slots=True)
class ModelPrediction:
    """A model as a predictor sees it.

    Parameters
    ----------
    parts : tuple of PartPrediction
    whole_ms : float, or None
        The corrected sum of what is known; None where nothing is.
    whole_interval_ms : tuple of float
        Lower and upper end of that.
    coverage : float
        Of the intervals.
    """

    parts: tuple[PartPrediction, ...]
    whole_ms: float | None
    whole_interval_ms: tuple[float, float]
    coverage: float

    @property
    def sum_ms(self) -> float:
        """Of what is known, uncorrected."""
        return sum(each.ms or 0.0 for each in self.parts)

    @property
    def unknown(self) -> tuple[PartPrediction, ...]:
        """What the predictor knows nothing of."""
        return tuple(each for each in self.parts if each.ms is None)


def predict_model(predictor: LatencyPredictor, parts: Sequence[Part]) -> ModelPrediction:
    """Predict each kernel of a model, and the model as a whole."""
    kernels = list(dict.fromkeys(part.kernel for part in parts if predictor.knows(part.kernel)))
    known = {}
    if kernels:
        outside = predictor.extrapolates(kernels)
        answers = zip(
            kernels,
            map(float, predictor.predict(kernels)),
            predictor.predict_interval(kernels).tolist(),
            map(bool, outside),
            strict=True,
        )
        known = {kernel: answer for kernel, *answer in answers}
    found = []
    for part in parts:
        if part.kernel not in known:
            found.append(PartPrediction(part, None, None, UNKNOWN))
            continue
        ms, (low, high), extrapolated = known[part.kernel]
        remark = EXTRAPOLATED if extrapolated else ""
        if part.kernel in predictor.own_ms_:
            remark = MEASURED
        found.append(PartPrediction(part, ms, (low, high), remark))
    network = [part.kernel for part in parts if part.kernel in known]
    if not network:
        return ModelPrediction(tuple(found), None, (0.0, 0.0), predictor.coverage)
    ((low, high),) = predictor.predict_networks_interval([network]).tolist()
    (whole_ms,) = predictor.predict_networks([network]).tolist()
    return ModelPrediction(tuple(found), whole_ms, (low, high), predictor.coverage)
