"""What a regression is told about a kernel: one function, for fitting and predicting alike.

Latency grows with work and traffic, but in steps: micro-kernels compute 8, 16 or 32 output
channels at a time, and a kernel size, a stride or how the channels fill the widest tile selects
another micro-kernel altogether. So every magnitude comes in log2, work comes as padded to whole
tiles too, and what selects a micro-kernel is a *variant*, told apart instead of interpolated.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netadapt.profiler.kernels import Kernel

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

TILES = (8, 16, 32)
"""Output channels that common micro-kernels compute at a time."""

WIDE_TILE = 16
MAX_WIDE_WASTE = 0.01
"""XNNPACK takes the wide micro-kernel, of about twice the speed, where it wastes at most 1 % of the
tiles: on x86-64 with AVX2, 1x1 convolutions reach 40 GMAC/s with 144 output channels and 888, but
22 with 152 and 632 (measured; elsewhere the two variants just turn out alike)."""

SELECTORS = frozenset({"kernel_size", "stride"})
"""Integer fields that select a micro-kernel; a latency is no smooth function of them."""

SPATIAL = frozenset({"height", "width"})

Variant = tuple[str, ...]


@dataclass(frozen=True)
class Features:
    """Features of kernels of one type.

    Parameters
    ----------
    work: (kernels, w), amounts of work and traffic of which a roofline is the weighted sum.
    shape: (kernels, s), log2 of every field and amount.
    variants: for each kernel, what selects its micro-kernel: selectors, tile fit, texts.
    """

    work: Array
    shape: Array
    variants: tuple[Variant, ...]

    def __len__(self) -> int:
        return len(self.variants)

    def take(self, mask: Mask) -> Features:
        """Those of the kernels for which `mask`, (kernels,), is true."""
        return Features(
            self.work[mask],
            self.shape[mask],
            tuple(v for v, chosen in zip(self.variants, mask, strict=True) if chosen),
        )


def features(kernels: Sequence[Kernel]) -> Features:
    """Features of kernels, all of one type; at least one."""
    records = [_record(kernel) for kernel in kernels]
    return Features(
        work=np.array([work for work, _, _ in records], dtype=float),
        shape=np.log2(np.array([shape for _, shape, _ in records], dtype=float)),
        variants=tuple(variant for _, _, variant in records),
    )


def group(kernel: Kernel) -> str:
    """A name that near-duplicates share: the same to half an octave in every field, texts aside.

    A split that keeps groups together tests how well latencies generalise, not how well they are
    looked up.
    """
    amounts = kernel.features()
    cells = (
        f"{field.name}={round(2 * math.log2(amounts[field.name]))}"
        for field in dataclasses.fields(kernel)
        if field.name in amounts
    )
    return f"{kernel.type_name}({', '.join(cells)})"


def _record(kernel: Kernel) -> tuple[list[float], list[float], Variant]:
    amounts = kernel.features()
    out_channels = kernel.output_shape[1]
    tiled = [amounts["macs"] * _padded(out_channels, tile) / out_channels for tile in TILES]
    pixels = kernel.output_elements / out_channels
    traffic = [amounts[name] for name in ("input_elements", "output_elements", "weights")]
    fields = [field.name for field in dataclasses.fields(kernel)]
    channels = [n for n in fields if n in amounts and n not in SELECTORS and n not in SPATIAL]
    selected = [getattr(kernel, name) for name in fields if name in SELECTORS]
    texts = [getattr(kernel, name) for name in fields if name not in amounts]
    fits = [_padded(int(amounts[name]), WIDE_TILE) / amounts[name] for name in channels]
    wide = _padded(out_channels, WIDE_TILE) <= (1 + MAX_WIDE_WASTE) * out_channels
    return (
        [1.0, pixels, *tiled, *traffic],
        [*(1.0 + a for a in (*amounts.values(), *tiled)), *fits],
        (*map(str, selected), str(wide), *texts),
    )


def _padded(count: int, tile: int) -> int:
    return -(-count // tile) * tile
