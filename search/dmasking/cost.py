"""What the networks of a mixture take, differentiably in its probabilities.

A kernel depends on two or three numbers of the network, so the costs of all there may be are a few
tables; contracted with the probabilities and summed they are the expected cost of a network, and of
one arch alone exactly its cost. What a predictor says of whole networks beside the sum
(`netadapt.predictor.correction`) is taken of the expected sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from netadapt.predictor.predictor import LatencyPredictor
    from netadapt.profiler.kernels import Kernel
    from netadapt.search.mixture import Mixture
    from netadapt.search.space import Space

FP32_MB = 4e-6
"""Of one parameter."""

Prices = Callable[[Sequence["Kernel"]], NDArray[np.float64]]
"""Kernels to what is added up of each, `(kernels, sums)`."""


class ExpectedCost:
    """Of mixtures of a space's archs. Called with a mixture, it gives a scalar of fp64.

    Parameters
    ----------
    name : str
        Of what is counted; a constraint's metric has the same.
    prices : Prices
        Of single kernels; asked once of each.
    total : callable, or None
        From the sums, `(sums,)`, to the cost. None: there is one sum, and it is the cost.
    effective : bool
        Of the network of mean widths instead.
    """

    def __init__(
        self,
        space: Space,
        name: str,
        prices: Prices,
        total: Callable[[Tensor], Tensor] | None = None,
        *,
        effective: bool = False,
    ) -> None:
        self.space = space
        self.name = name
        self._prices = prices
        self._total = total
        self._effective = effective
        # By identity: hashing thousands of kernels takes longer than all the rest
        self._known: dict[int, tuple[tuple[Kernel, ...], Tensor]] = {}

    def __call__(self, mixture: Mixture) -> Tensor:
        """Raises `ArchError` for a mixture of another space, and what the prices raise."""
        likely = self.space.likely_kernels(mixture, effective=self._effective)
        sums: Tensor | None = None
        for place in likely:
            known = self._known.get(id(place.kernels))
            if known is None:
                prices = torch.from_numpy(self._prices(place.kernels))
                known = self._known[id(place.kernels)] = (place.kernels, prices)
            share = place.probabilities.double().cpu() @ known[1]
            sums = share if sums is None else sums + share
        assert sums is not None, "a network has kernels"
        return sums[0] if self._total is None else self._total(sums)


def counted(space: Space, name: str, *, effective: bool = False) -> ExpectedCost:
    """What kernels are counted in: `name` is "macs" or "params"."""

    def prices(kernels: Sequence[Kernel]) -> NDArray[np.float64]:
        return np.array([[float(getattr(kernel, name))] for kernel in kernels])

    return ExpectedCost(space, name, prices, effective=effective)


def latency(space: Space, predictor: LatencyPredictor, *, effective: bool = False) -> ExpectedCost:
    """The predictor's milliseconds of whole networks.

    Raises, when first asked, what the predictor raises for a kernel of the space that it does not
    know.
    """
    types = sorted(predictor.models_)
    correction = predictor.correction_

    def prices(kernels: Sequence[Kernel]) -> NDArray[np.float64]:
        found = np.zeros((len(kernels), len(types) + 1))
        for row, kernel, ms in zip(found, kernels, predictor.predict(kernels), strict=True):
            row[types.index(kernel.type_name)] = ms
            row[-1] = kernel.params * FP32_MB
        return found

    def total(sums: Tensor) -> Tensor:
        by_type, megabytes = sums[:-1], sums[-1]
        summed = by_type.sum()
        whole = summed + correction.weights_ms_per_mb * megabytes
        shares = [
            by_type[types.index(name)] / summed if name in types else summed.new_zeros(())
            for name in correction.types
        ]
        size = torch.log(whole / correction.typical_ms)
        design = torch.stack([torch.ones_like(size), size, *shares])
        return torch.exp(design @ torch.from_numpy(np.asarray(correction.mean))) * whole

    return ExpectedCost(space, "latency", prices, total, effective=effective)
