"""A race: of many networks the worse half leaves after each stretch of images, the rest sees more.

Successive halving (Jamieson and Talwalkar 2016, section 3), with each network's *loss beside the
leader's on the same images* in the place of its loss: which images are hard is what makes losses
of few images uncertain, and it is the same for all. No torch here: who races is asked for losses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Losses = NDArray[np.float64]

CLEAR = 3.0
"""Standard errors that a leader is ahead of everybody, to be alone from there on (assumption)."""

_FEWEST = 8
"""Parts of the images that a standard error is worked out of."""

Judge = Callable[[Sequence[int], int], Losses]
"""The mean losses of some networks on stretch number n, `(networks, parts of the stretch)`."""


def raced(count: int, stretches: Sequence[Losses], judge: Judge) -> list[float]:
    """The mean loss of each of `count` networks, of the winner over all images.

    Whoever leaves on the way has the winner's, plus by how much it was behind on the images that
    both saw.

    Parameters
    ----------
    stretches: for each stretch, how many images its parts have; nobody races with only one.
    judge: called once a stretch, with those who are still in the race.
    """
    seen: list[list[Losses]] = [[] for _ in range(count)]
    running = list(range(count))
    sizes = np.concatenate(stretches)
    for number in range(len(stretches)):
        for runner, losses in zip(running, judge(running, number), strict=True):
            seen[runner].append(losses)
        if number < len(stretches) - 1:
            so_far = np.stack([np.concatenate(seen[runner]) for runner in running])
            running = [running[i] for i in _staying(so_far, sizes)]
    losses = [np.concatenate(each) for each in seen]
    means = {runner: _mean(losses[runner], sizes) for runner in running}
    winner = min(means, key=means.__getitem__)

    def whole(runner: int) -> float:
        if runner in means:
            return means[runner]
        parts = len(losses[runner])
        behind = _mean(losses[runner] - losses[winner][:parts], sizes)
        return means[winner] + behind

    return [whole(runner) for runner in range(count)]


def lead(losses: Losses, other: Losses, sizes: Losses) -> tuple[float, float]:
    """By how much the loss of `other` is above `losses`, and the standard error of that.

    losses, other: mean losses of two networks on the same parts of `sizes` images, `(parts,)`, two
        or more.
    """
    ahead = other - losses
    mean = _mean(ahead, sizes)
    weights = sizes[: len(ahead)] / sizes[: len(ahead)].sum()
    spread = float((weights**2 * (ahead - mean) ** 2).sum())
    return mean, float(np.sqrt(spread * len(ahead) / (len(ahead) - 1)))


def stretches_of(total: int, first: int, batch_size: int) -> list[int]:
    """Batches in each stretch: `first` images, then as many as before, doubled, to the `total`.

    One stretch of all where `first` is 0 or not below the total.
    """
    batches = -(-total // batch_size)
    end = -(-first // batch_size)
    if not 0 < end < batches:
        return [batches]
    ends = [end]
    while ends[-1] < batches:
        ends.append(min(2 * ends[-1], batches))
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


def _staying(losses: Losses, sizes: Losses) -> list[int]:
    """Places of the better half, in order; of the leader alone where it is clear."""
    order = sorted(range(len(losses)), key=lambda i: _mean(losses[i], sizes))
    staying = order[: (len(order) + 1) // 2]
    if losses.shape[1] >= _FEWEST:
        leads = [lead(losses[order[0]], losses[i], sizes) for i in staying[1:]]
        if all(mean > CLEAR * error for mean, error in leads):
            staying = staying[:1]
    return sorted(staying)


def _mean(losses: Losses, sizes: Losses) -> float:
    return float(np.average(losses, weights=sizes[: len(losses)]))
