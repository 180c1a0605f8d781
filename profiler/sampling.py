"""Which kernels of a space to measure, so that every type and corner is covered.

The kernels of a space are far too many to measure; a predictor generalises from a sample. The
sample holds, for each type, the smallest and largest of every field and of the work, then spreads
over the rest so that no kernel lies far from a measured one (farthest-point sampling on log
shapes, a 2-approximation of the best cover: Gonzalez 1985).
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from netadapt.profiler.kernels import Kernel
from netadapt.profiler.lowering.subject import Subject

CHAIN_LENGTH = 3
"""Copies in a chain that shows the layout cost; with the single kernel it gives slope and cut."""


def sample_kernels(
    pool: Iterable[Kernel],
    count: int,
    rng: np.random.Generator,
    always: Iterable[Kernel] = (),
) -> list[Kernel]:
    """About `count` kernels of `pool`, `always` among them, in a seeded order.

    Each type gets a share by the square root of its number in the pool. Fewer than the corners
    of a type are never taken, so that the result may exceed a small `count`.
    """
    fixed = list(dict.fromkeys(always))
    by_type: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in sorted({*pool, *fixed}, key=lambda k: k.key):
        by_type[kernel.type_name].append(kernel)
    weights = {name: math.sqrt(len(kernels)) for name, kernels in by_type.items()}
    chosen: list[Kernel] = []
    for name, kernels in by_type.items():
        share = round(count * weights[name] / sum(weights.values()))
        chosen += _cover(kernels, share, [k for k in fixed if k.type_name == name])
    return [chosen[i] for i in rng.permutation(len(chosen))]


def layout_subjects(kernels: Sequence[Kernel], count: int) -> list[Subject]:
    """Chains of up to `count` of the kernels, spread over the sizes of their tensors.

    With the same kernel alone they show the cost of the layout change at a program's ends.
    """
    candidates = sorted(
        (k for k in kernels if k.keeps_shape and k.carries_layout_cost),
        key=lambda k: (k.output_elements, k.key),
    )
    if not candidates or count < 1:
        return []
    picks = np.unique(np.linspace(0, len(candidates) - 1, min(count, len(candidates))).round())
    return [Subject(candidates[int(i)], CHAIN_LENGTH) for i in picks]


def _cover(kernels: Sequence[Kernel], share: int, fixed: Sequence[Kernel]) -> list[Kernel]:
    points = _points(kernels)
    index = {kernel: i for i, kernel in enumerate(kernels)}
    chosen = list(dict.fromkeys([*(index[k] for k in fixed), *_corners(kernels)]))
    distances = np.full(len(kernels), np.inf)
    for i in chosen:
        distances = np.minimum(distances, np.linalg.norm(points - points[i], axis=1))
    while len(chosen) < min(share, len(kernels)):
        farthest = int(distances.argmax())
        chosen.append(farthest)
        distances = np.minimum(distances, np.linalg.norm(points - points[farthest], axis=1))
    return [kernels[i] for i in chosen]


def _points(kernels: Sequence[Kernel]) -> NDArray[np.float64]:
    """(kernels, fields) in log2 for numbers; texts are far apart, so that each is covered."""
    columns = []
    for field in dataclasses.fields(kernels[0]):
        values = [getattr(kernel, field.name) for kernel in kernels]
        if isinstance(values[0], str):
            names = sorted(set(values))
            columns += [[2.0 * (value == name) for value in values] for name in names]
        else:
            columns.append([math.log2(value) for value in values])
    return np.array(columns, dtype=float).T


def _corners(kernels: Sequence[Kernel]) -> list[int]:
    """The smallest and largest of each field and of the work, for each set of text fields.

    Small integer fields (kernel size, stride) are corners in all their values: latency is no
    smooth function of them.
    """
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for i, kernel in enumerate(kernels):
        texts = [v for v in dataclasses.astuple(kernel) if isinstance(v, str)]
        steps = [getattr(kernel, n) for n in ("kernel_size", "stride") if hasattr(kernel, n)]
        groups[(*texts, *steps)].append(i)
    corners = []
    for members in groups.values():
        features = np.array([list(kernels[i].features().values()) for i in members])
        corners += [members[int(j)] for j in features.argmin(axis=0)]
        corners += [members[int(j)] for j in features.argmax(axis=0)]
    return list(dict.fromkeys(corners))
