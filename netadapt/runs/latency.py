"""What a search counts as a network's latency."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from netadapt.search.metrics import LatencyMetric

if TYPE_CHECKING:
    from netadapt.predictor.predictor import LatencyPredictor
    from netadapt.search.space import Space

logger = logging.getLogger(__name__)


def latency_metric(space: Space, predictor: LatencyPredictor) -> LatencyMetric:
    """The predictor's latency of whole networks, with an interval where networks vouch for it.

    Without a network measured whole the interval is as wide as the prior, and a guard on it would
    give most of the budget away.
    """
    vouched = predictor.correction_.samples > 0
    if not vouched:
        logger.warning(
            "no network was measured whole, so nothing shows how far the sum of kernels is off: "
            "the guard inside the budget is off; profile some with --networks 8"
        )
    view = predictor.memoised()
    return LatencyMetric(
        space,
        view.predict_networks,
        interval=view.predict_networks_interval if vouched else None,
    )
