"""What a search counts as a network's latency."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from netadapt.search.metrics import LatencyMetric

if TYPE_CHECKING:
    from netadapt.predictor.predictor import LatencyPredictor, MemoisedPredictor
    from netadapt.search.space import Space

logger = logging.getLogger(__name__)


def remembered(predictor: LatencyPredictor) -> MemoisedPredictor:
    """What all searches of a run ask, so that nothing is predicted, or warned of, twice."""
    if not predictor.correction_.samples:
        logger.warning(
            "no network was measured whole, so nothing shows how far the sum of kernels is off: "
            "the guard inside the budget is off; profile some with --networks 8"
        )
    return predictor.memoised()


def latency_metric(space: Space, view: MemoisedPredictor) -> LatencyMetric:
    """The predictor's latency of whole networks, with an interval where networks vouch for it.

    Without a network measured whole the interval is as wide as the prior, and a guard on it would
    give most of the budget away. A metric learns along its search: each search has its own.
    """
    vouched = view.predictor.correction_.samples > 0
    return LatencyMetric(
        space,
        view.predict_networks,
        interval=view.predict_networks_interval if vouched else None,
    )
