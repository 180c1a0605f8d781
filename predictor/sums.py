"""What single kernels take, concluded from rows that measured several together.

Published tables often have a block in a row: expansion, depthwise convolution and projection at
once. What one of them takes is then known only through all rows that it is in. First a roofline for
each type (calls, multiply-accumulates, traffic; weights of 0 or more) is fitted to all sums at
once, which are linear in it. Then each sum is handed out to its kernels in the ratio of what they
are thought to take, regressions learn from that, and their predictions are the next ratio
(backfitting; Hastie and Tibshirani 1990, chapter 4; the number of rounds is an assumption).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import nnls

from netadapt.predictor.features import Array, KernelEncoder
from netadapt.predictor.training_data import NetworkSample
from netadapt.predictor.type_model import fitted_to, predicted_ms
from netadapt.profiler.kernels import Kernel

ROUNDS = 6
"""Of handing out and learning again (assumption; from the fourth on little changes)."""

LEAST_SHARE = 1e-3
"""No kernel is thought to take less than this share of a sum's even parts."""

MOST_KERNELS = 12
"""Of a block; a row of more is a network, which corrects and teaches no kernel (assumption)."""

Sum = tuple[tuple[Kernel, ...], float]


def sums_of(samples: Iterable[NetworkSample], types: Collection[str]) -> list[Sum]:
    """The samples that are to be learnt from: blocks, with a kernel of a type without a row.

    Parameters
    ----------
    types : collection of str
        Those that have rows of their own.
    """
    found = []
    for sample in samples:
        kernels = tuple(Kernel.from_key(key) for key in sample.kernels)
        if len(kernels) > MOST_KERNELS:
            continue
        if any(kernel.is_layer and kernel.type_name not in types for kernel in kernels):
            found.append((kernels, sample.latency_ms))
    return found


def apportioned(
    sums: Sequence[Sum], known_ms: Mapping[Kernel, float], regressor: Any
) -> dict[Kernel, float]:
    """What the kernels of these sums take that nobody measured by themselves, in ms.

    Parameters
    ----------
    sums : sequence of (kernels, ms)
    known_ms : mapping of Kernel to float
        Those that were; they are taken off their sums.
    regressor : scikit-learn regressor
        As `TypeModel` takes it; cloned for each type.
    """
    rests = [_rest(each, known_ms) for each in sums]
    rests = [(kernels, ms) for kernels, ms in rests if kernels]
    thought = _rooflines(rests, known_ms)
    if not thought:
        return {}
    types: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in (*known_ms, *thought):
        types[kernel.type_name].append(kernel)
    learnt = {kernel.type_name for kernel in thought}
    columns = {name: KernelEncoder().fit_transform(types[name]) for name in learnt}
    for _ in range(ROUNDS):
        handed = {**known_ms, **_handed_out(rests, thought)}
        for name, encoded in columns.items():
            log_ms = np.log([handed[kernel] for kernel in types[name]])
            ms, _ = predicted_ms(fitted_to(regressor, encoded, log_ms, name), encoded, name)
            found = zip(types[name], map(float, ms), strict=True)
            thought |= {kernel: value for kernel, value in found if kernel not in known_ms}
    return _handed_out(rests, thought)


def _rest(each: Sum, known_ms: Mapping[Kernel, float]) -> Sum:
    """A sum without the kernels that are known; never less than a share of it."""
    kernels, ms = each
    left = tuple(kernel for kernel in kernels if kernel not in known_ms)
    known = sum(known_ms[kernel] for kernel in kernels if kernel in known_ms)
    return left, max(ms - known, LEAST_SHARE * ms)


def _handed_out(rests: Sequence[Sum], thought: Mapping[Kernel, float]) -> dict[Kernel, float]:
    """Each sum in the ratio of what its kernels are thought to take; of several sums the mean."""
    parts: dict[Kernel, list[float]] = defaultdict(list)
    for kernels, ms in rests:
        least = LEAST_SHARE * ms / len(kernels)
        weights = np.maximum([thought[kernel] for kernel in kernels], least)
        for kernel, weight in zip(kernels, weights, strict=True):
            parts[kernel].append(float(np.log(ms * weight / weights.sum())))
    return {kernel: float(np.exp(np.mean(logs))) for kernel, logs in parts.items()}


def _rooflines(rests: Sequence[Sum], known_ms: Mapping[Kernel, float]) -> dict[Kernel, float]:
    """A first idea of every kernel in the sums."""
    kernels = list(dict.fromkeys(kernel for members, _ in rests for kernel in members))
    types = sorted({kernel.type_name for kernel in kernels})
    width = len(_amounts(kernels[0])) if kernels else 0

    def spread(members: Iterable[Kernel]) -> Array:
        row = np.zeros(width * len(types))
        for kernel in members:
            begin = width * types.index(kernel.type_name)
            row[begin : begin + width] += _amounts(kernel)
        return row

    alone = [((kernel,), ms) for kernel, ms in known_ms.items() if kernel.type_name in types]
    rows = [*rests, *alone]
    if not rests:
        return {}
    # Relative errors count: a block of 5 ms is no more than one of 0.5
    weighted = np.stack([spread(members) / ms for members, ms in rows])
    scale = np.maximum(np.abs(weighted).max(axis=0), np.finfo(float).tiny)
    weights = nnls(weighted / scale, np.ones(len(rows)))[0] / scale
    return {kernel: float(spread([kernel]) @ weights) for kernel in kernels}


def _amounts(kernel: Kernel) -> Array:
    """A call, its work, and what it reads and writes."""
    traffic = kernel.input_elements + kernel.output_elements + kernel.params
    return np.array([1.0, kernel.macs, traffic])
