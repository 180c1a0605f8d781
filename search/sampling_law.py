"""How large the sub-networks are that ordered dropout draws (all of it assumptions).

Uniform widths draw middling networks: with dozens of them the sums hardly vary, and nearly no image
sees a network as large as those that a search looks for. Here each image has a *tilt* t that all of
its widths share: a width is the largest of e^t uniform draws, or for t < 0 the smallest of e^-t
(any real number of draws: the largest of k is u^(1/k)). 0 is uniform, and what lies far out is the
full network or the smallest. Which tilt leads to which multiply-accumulates is tabulated once.

`B` is images in a batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from netadapt.search.errors import InvalidSettingError
from netadapt.search.space import Dimension, Space
from netadapt.search.training.settings import OrderedDropoutSettings

Floats = NDArray[np.float64]

TILTS = np.linspace(-1, 1, 25) * np.log(1000)
"""Those that are tabulated: from the smallest to the largest of 1,000 draws."""
TABULATED = 64
"""Archs that the mean multiply-accumulates of a tilt are taken of, the same shares for all tilts,
so that the curve is monotonic; its error is about 2 % of the reference's."""


class SamplingLaw:
    """Draws places among a dimension's values, by `settings.law` and `settings.removal`.

    Raises `InvalidSettingError` for a `budget_share` that no tilt leads to, and a `removal` in a
    space without a block that can be removed.
    """

    def __init__(self, space: Space, settings: OrderedDropoutSettings) -> None:
        self._law = settings.law
        self._zeros = {} if settings.removal is None else _zeros(space, settings.removal)
        if self._law == "uniform":
            return
        self._shares = self._tabulated(space)
        self._budget_share = settings.budget_share
        least, most = self._shares[[0, -1]]
        if self._law == "budget" and not least <= self._budget_share <= most:
            raise InvalidSettingError(
                "budget_share is a share of the reference's multiply-accumulates that the draws of "
                f"space {space.name!r} come to, {least:.3f} to {most:.3f}, got "
                f"{self._budget_share:g}; choose one of them"
            )

    def tilts(self, count: int, rng: np.random.Generator) -> Floats:
        """One an image, `(B,)`."""
        if self._law == "uniform":
            return np.zeros(count)
        if self._law == "budget":
            wanted = np.full(count, self._budget_share)
        else:
            wanted = rng.uniform(self._shares[0], self._shares[-1], count)
        return np.interp(wanted, self._shares, TILTS)

    def places(self, dimension: Dimension, tilts: Floats, shares: Floats) -> NDArray[np.int64]:
        """Places among the dimension's values by uniform `shares` of 0 to 1, both `(B,)`."""
        zero = self._zeros.get(dimension.name, 0.0)
        # A 0 with a probability of its own is drawn by itself, the others share the rest.
        first = int(dimension.name in self._zeros)
        rest = np.maximum(shares - zero, 0) / (1 - zero)
        up = tilts >= 0
        drawn = np.where(up, rest, 1 - rest) ** np.exp(-np.abs(tilts))
        drawn = np.where(up, drawn, 1 - drawn)
        last = len(dimension.values) - 1
        found = np.minimum(first + (drawn * (last + 1 - first)).astype(np.int64), last)
        return np.where(shares < zero, 0, found)

    def _tabulated(self, space: Space) -> Floats:
        """Mean multiply-accumulates at each of `TILTS`, as shares of the reference's."""
        shares = np.random.default_rng(0).random((len(space.dimensions), TABULATED))
        means = []
        for tilt in TILTS:
            columns = []
            for dimension, row in zip(space.dimensions, shares, strict=True):
                tilted = tilt if dimension.kind in ("width", "depth") else 0.0
                places = self.places(dimension, np.full(TABULATED, tilted), row)
                columns.append(np.array(dimension.values)[places])
            archs = space.points(np.stack(columns, axis=1))
            means.append(np.mean([space.macs(arch) for arch in archs]))
        curve: Floats = np.maximum.accumulate(means) / space.macs(space.reference())
        return curve


def _zeros(space: Space, removal: float) -> dict[str, float]:
    """By dimension the probability of its 0, so that each block is removed by `removal`."""
    removing = [d for d in space.dimensions if d.values[0] == 0]
    if not removing:
        raise InvalidSettingError(
            f"removal is a probability of removable blocks, space {space.name!r} has none, got "
            f"{removal:g}; leave it out"
        )
    full = space.full()
    found = {}
    for dimension in removing:
        without = space.with_value(full, dimension, 0)
        # Its block goes with any of these, a width or an expansion.
        together = sum(not space.value(without, other) for other in removing)
        found[dimension.name] = 1 - (1 - removal) ** (1 / together)
    return found
