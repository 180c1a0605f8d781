"""A device whose every latency is known in closed form, with seeded measurement noise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from netadapt.profiler.kernels import (
    ActivationKernel,
    AddKernel,
    DepthwiseConvKernel,
    GlobalPoolKernel,
    Kernel,
    LinearKernel,
    PointwiseConvKernel,
    SqueezeExciteKernel,
)
from netadapt.profiler.table import LatencyTable, Provenance, Row
from tests.provenance import MADE_UP, NOTHING_TOLD

LAYOUT_CALL_US = 0.1
LAYOUT_NS_PER_ELEMENT = 0.1
NETWORK_FACTOR = 0.96
NOISE = 0.005


def own_us(kernel: Kernel) -> float:
    """Time inside a network: work by the speed of its micro-kernel, traffic and a call."""
    speed = {"depthwise_conv": 12.0, "pointwise_conv": 22.0}.get(kernel.type_name, 15.0)
    if kernel.type_name == "pointwise_conv" and kernel.output_shape[1] % 16 == 0:
        speed *= 2
    if getattr(kernel, "kernel_size", 1) == 7:
        speed /= 12
    traffic = kernel.input_elements + kernel.output_elements + kernel.params
    return 0.2 + kernel.macs / speed / 1e3 + 0.06e-3 * traffic


def layout_us(kernel: Kernel) -> float:
    if not kernel.carries_layout_cost:
        return 0.0
    elements = kernel.input_elements + kernel.output_elements
    return LAYOUT_CALL_US + LAYOUT_NS_PER_ELEMENT * elements / 1e3


def network_us(kernels: Iterable[Kernel]) -> float:
    return NETWORK_FACTOR * sum(map(own_us, kernels))


def kernels(count: int, rng: np.random.Generator) -> list[Kernel]:
    """Kernels of all types and sizes; about `count`, no two alike."""
    made: set[Kernel] = set()
    while len(made) < count:
        size = int(rng.choice([7, 14, 28, 56]))
        narrow, wide = (8 * int(rng.integers(1, 448 // size)) for _ in range(2))
        depthwise = (int(rng.choice([3, 5, 7])), int(rng.choice([1, 2])))
        made |= {
            PointwiseConvKernel(narrow, wide, size, size, "relu"),
            PointwiseConvKernel(wide, narrow, size, size),
            DepthwiseConvKernel(wide, *depthwise, size, size, "relu"),
            ActivationKernel("hardswish", wide, size, size),
            SqueezeExciteKernel(wide, max(8, wide // 32 * 8), size, size),
            AddKernel(narrow, size, size),
            LinearKernel(wide, 8 * narrow),
            GlobalPoolKernel(wide, size, size),
        }
    return sorted(made, key=lambda k: k.key)


def network(rng: np.random.Generator) -> tuple[Kernel, ...]:
    blocks: list[Kernel] = []
    for size in (56, 28, 14, 7):
        width = 8 * int(rng.integers(1, 448 // size))
        for _ in range(int(rng.integers(1, 4))):
            expansion = 8 * int(rng.integers(1, 448 // size))
            blocks += [
                PointwiseConvKernel(width, expansion, size, size, "relu"),
                DepthwiseConvKernel(expansion, int(rng.choice([3, 5])), 1, size, size, "relu"),
                PointwiseConvKernel(expansion, width, size, size),
                AddKernel(width, size, size),
            ]
    return tuple(blocks)


def rows(
    rng: np.random.Generator,
    singles: Sequence[Kernel] = (),
    chains: Sequence[Kernel] = (),
    networks: Sequence[Sequence[Kernel]] = (),
    provenance: Provenance = MADE_UP,
) -> list[Row]:
    def row(key: str, copies: int, keys: tuple[str, ...] | None, us: float) -> Row:
        noisy = us * float(np.exp(rng.normal(0, NOISE)))
        return Row(
            key=key,
            copies=copies,
            kernels=keys,
            latency_us=noisy,
            repeat_dev=float(rng.normal(0, 2**0.5 * NOISE)),
            spread=NOISE,
            quality="ok",
            attempts=2,
            rounds_us=((noisy,),),
            calls_per_sample=1,
            program_sha256="0" * 64,
            conditions=NOTHING_TOLD,
            provenance=provenance,
        )

    return [
        *(row(k.key, 1, None, own_us(k) + layout_us(k)) for k in singles),
        *(row(k.key, n, None, n * own_us(k) + layout_us(k)) for k in chains for n in (2, 3, 5)),
        *(
            row(f"network {i}", 1, tuple(k.key for k in ks), network_us(ks))
            for i, ks in enumerate(networks)
        ),
    ]


def table(found: Sequence[Row]) -> LatencyTable:
    made = LatencyTable()
    made.add(found)
    return made
