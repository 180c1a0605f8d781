"""Another device's latencies as the shape of this one's.

Of two phones the same kernels are slow for the same reasons: micro-kernels, tiles, caches. What
one of them takes of the other is far smoother than what it takes. So with a prior a regression
learns the ratio of both, from as few rows as there are, and predictions are the ratio times the
prior's own (an assumption that is measured: `netadapt fit` says what it gained).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from netadapt.predictor.features import Array
from netadapt.predictor.storage import SavedPredictor
from netadapt.predictor.type_model import TypeModel
from netadapt.profiler.kernels import Kernel


@dataclass(frozen=True, eq=False)
class Prior:
    """What a predictor of another device has learnt: `LatencyPredictor.as_prior`.

    Parameters
    ----------
    models : mapping of str to TypeModel
        By type of kernel.
    saved : SavedPredictor, or None
        How a file holds it; None where its regressor is none that a file can name.
    """

    models: Mapping[str, TypeModel]
    saved: SavedPredictor | None

    def __deepcopy__(self, memo: object) -> Self:
        return self  # nobody changes it, and `clone` leaves it fitted

    def knows(self, type_name: str) -> bool:
        """Whether it has learnt this type of kernel."""
        return type_name in self.models

    def log_ms(self, kernels: Sequence[Kernel]) -> Array:
        """Logarithms of what its regressions say of kernels of one type, of shape (kernels,).

        Measured ones as well: the ratio to a measurement would carry its noise along.
        """
        return np.log(self.models[kernels[0].type_name].predict(kernels).ms)
