"""What to measure next: the kernels that a predictor is least sure of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from netadapt.predictor.features import Array, group
from netadapt.predictor.predictor import LatencyPredictor
from netadapt.profiler.kernels import Kernel


def doubts(predictor: LatencyPredictor, kernels: Sequence[Kernel]) -> Array:
    """Half-width of each kernel's interval, as a share of its prediction: (kernels,).

    Raises as `LatencyPredictor.predict` does.
    """
    low, high = predictor.predict_interval(kernels).T
    return np.sqrt(high / low) - 1.0


def most_doubtful(predictor: LatencyPredictor, pool: Sequence[Kernel], count: int) -> list[Kernel]:
    """At most `count` kernels of `pool` that were not measured, the most doubtful first.

    Of near-duplicates (`netadapt.predictor.features.group`) one only: once it is measured the
    others are no longer in doubt. What the predictor does not know comes before all others.
    """
    unmeasured = [k for k in dict.fromkeys(pool) if k not in predictor.own_ms_]
    strangers = [k for k in unmeasured if not predictor.knows(k)]
    known = [k for k in unmeasured if predictor.knows(k)]
    ordered = list(strangers)
    if known:
        ordered += [known[i] for i in np.argsort(-doubts(predictor, known), kind="stable")]
    chosen: dict[str, Kernel] = {}
    for kernel in ordered:
        if len(chosen) == count:
            break
        chosen.setdefault(group(kernel), kernel)
    return list(chosen.values())
