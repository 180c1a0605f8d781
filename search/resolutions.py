"""A feature map at several resolutions at once, as a mixture of resolutions has it (FBNetV2).

Each resolution has a map of its own. Between two parts of a network every map is scattered to the
pixels of the largest one that it was taken from, times the resolution's probability; their sum is
subsampled by the nearest neighbour to each resolution again (section 3.2). So pixels stay where
they are and each operator runs at its own resolution; at probability 1 a map stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def exchanged(maps: Sequence[Tensor], shares: Sequence[Tensor]) -> list[Tensor]:
    """Each map `(B, C, h, w)` with what the others say of its pixels.

    `maps` ascend in size; `shares` are the probabilities of their resolutions, scalars.
    """
    if len(maps) == 1:
        return list(maps)
    *smaller, largest = maps
    places = [_places(part, largest) for part in smaller]
    total = largest * shares[-1]
    for part, place, share in zip(smaller, places, shares[:-1], strict=True):
        total[(..., *place)] += part * share
    return [*(total[(..., *place)] for place in places), total]


def _places(part: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
    """The rows `(h, 1)` and columns `(w,)` of `whole` that the pixels of `part` are taken from."""
    rows, columns = (
        torch.arange(few, device=whole.device) * many // few
        for few, many in zip(part.shape[2:], whole.shape[2:], strict=True)
    )
    return rows[:, None], columns
