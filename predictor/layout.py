"""The layout cost: what a kernel alone pays for changing its tensors' layout at its ends.

The runtime computes convolutions in NHWC, programs are given and give NCHW, so a kernel lowered by
itself changes the layout of its input and its output; inside a network it does not. `n` copies of
a kernel in a chain take `L + n * k`: the cost `L` comes once, the kernel's own time `k` with each
copy. Kernels that keep their shape show `L` that way; for the others a model of it is subtracted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.optimize import least_squares

from netadapt.predictor.features import Array
from netadapt.predictor.training_data import KernelSample
from netadapt.profiler.kernels import Kernel

_NOISE = 0.02
"""Share of a kernel's latency by which the layout cost of its chain is uncertain."""

MIN_TYPE_CHAINS = 8
"""A type has a line of its own from this many chains on."""

MIN_LAYOUT_SHARE = 0.05
"""Of the latency, at the median of a type's chains: below, the type changes no layout."""

MIN_OWN_SHARE = 0.1
"""A kernel's own time is at least this share of what it takes alone: where the layout cost is most
of the latency, their difference is noise, and a time of 0 has no logarithm."""


@dataclass(frozen=True, slots=True)
class Chain:
    """What a kernel's chains show: `latency = layout_ms + copies * own_ms`.

    Parameters
    ----------
    kernel : Kernel
    own_ms, layout_ms : float
        Slope and intercept.
    total_ms : float
        Latency of one copy, by which the noise of both figures scales.
    """

    kernel: Kernel
    own_ms: float
    layout_ms: float
    total_ms: float


def chains(samples: Iterable[KernelSample]) -> dict[str, Chain]:
    """Fit, by key, the line through each kernel measured at two or more chain lengths.

    By least squares of relative errors: noise grows with the latency.
    """
    lengths: dict[str, dict[int, float]] = defaultdict(dict)
    for sample in samples:
        lengths[sample.key][sample.copies] = sample.latency_ms
    found = {}
    for key, latency_ms in lengths.items():
        if len(latency_ms) < 2:
            continue
        copies = np.array(sorted(latency_ms), dtype=float)
        times = np.array([latency_ms[int(n)] for n in copies])
        design = np.stack([np.ones_like(copies), copies], axis=1) / times[:, None]
        (layout_ms, own_ms), *_ = np.linalg.lstsq(design, np.ones_like(times), rcond=None)
        if own_ms > 0:
            found[key] = Chain(
                Kernel.from_key(key), float(own_ms), float(layout_ms), float(times[0] / copies[0])
            )
    return found


@dataclass(frozen=True, slots=True)
class LayoutLine:
    """`cost = call_ms + element_ms * elements`, elements of inputs and output together.

    Chains show the two ends of a kernel in one figure, so that both count alike (assumption).
    """

    call_ms: float = 0.0
    element_ms: float = 0.0

    @classmethod
    def fit(cls, chains: Sequence[Chain]) -> Self:
        """Fit the line through the chains' layout costs, each weighted by what its noise allows.

        Weights of 0 or more; a robust loss, since a disturbed chain can be far off. Without chains
        the cost is taken to be 0.
        """
        if not chains:
            return cls()
        elements = np.array([_elements(chain.kernel) for chain in chains], dtype=float)
        cost_ms = np.array([chain.layout_ms for chain in chains])
        noise_ms = np.array([_NOISE * chain.total_ms for chain in chains])
        scale = elements.mean()
        design = np.stack([np.ones_like(elements), elements / scale], axis=1) / noise_ms[:, None]
        solution = least_squares(
            lambda weights: design @ weights - cost_ms / noise_ms,
            x0=np.array([0.0, max(cost_ms.mean(), 0.0)]),
            bounds=(0.0, np.inf),
            loss="soft_l1",
        )
        call_ms, scaled_ms = solution.x
        return cls(float(call_ms), float(scaled_ms / scale))

    def cost_ms(self, kernel: Kernel) -> float:
        """Milliseconds of one kernel."""
        return self.call_ms + self.element_ms * _elements(kernel)

    def share(self, chain: Chain) -> float:
        """Part of the kernel's latency that goes into its elements' layout."""
        return self.element_ms * _elements(chain.kernel) / chain.total_ms


@dataclass(frozen=True)
class LayoutModel:
    """A line for each type with enough chains, and one for the other types.

    Some types turn out to run in the layout they are given: their own line says so, and they are
    no guide for the types that cannot be chained.

    Parameters
    ----------
    by_type : mapping of str to LayoutLine
    others : LayoutLine
    """

    by_type: Mapping[str, LayoutLine]
    others: LayoutLine

    @classmethod
    def fit(cls, chains: Iterable[Chain]) -> Self:
        """Learn from all chains; none are fine."""
        types: dict[str, list[Chain]] = defaultdict(list)
        for chain in chains:
            types[chain.kernel.type_name].append(chain)
        lines = {name: LayoutLine.fit(members) for name, members in types.items()}
        costly = [
            chain
            for name, members in types.items()
            if np.median([lines[name].share(chain) for chain in members]) > MIN_LAYOUT_SHARE
            for chain in members
        ]
        enough = {n: line for n, line in lines.items() if len(types[n]) >= MIN_TYPE_CHAINS}
        return cls(enough, LayoutLine.fit(costly))

    def cost_ms(self, kernels: Sequence[Kernel]) -> Array:
        """Milliseconds of shape (kernels,), 0 for those that carry no layout cost."""
        return np.array(
            [
                self.by_type.get(kernel.type_name, self.others).cost_ms(kernel)
                if kernel.carries_layout_cost
                else 0.0
                for kernel in kernels
            ]
        )


def _elements(kernel: Kernel) -> int:
    return kernel.input_elements + kernel.output_elements
