"""Sampling covers every type and corner, is seeded, and spreads."""

from __future__ import annotations

import numpy as np

from netadapt.profiler.kernels import DepthwiseConvKernel, Kernel, LinearKernel, PointwiseConvKernel
from netadapt.profiler.sampling import CHAIN_LENGTH, layout_subjects, sample_kernels

POOL: list[Kernel] = [
    *(
        PointwiseConvKernel(8 * i, 8 * o, s, s)
        for i in range(1, 9)
        for o in range(1, 9)
        for s in (7, 14)
    ),
    *(DepthwiseConvKernel(8 * c, k, 1, 14, 14) for c in range(1, 9) for k in (3, 5, 7)),
    LinearKernel(64, 10),
]


def sample(count: int, seed: int = 0, always: tuple[Kernel, ...] = ()) -> list[Kernel]:
    return sample_kernels(POOL, count, np.random.default_rng(seed), always)


def test_every_type_and_corner_is_there() -> None:
    chosen = set(sample(30))
    assert {k.type_name for k in chosen} == {k.type_name for k in POOL}
    assert {k.kernel_size for k in chosen if isinstance(k, DepthwiseConvKernel)} == {3, 5, 7}
    for kernel_size in (3, 5, 7):
        channels = [
            k.channels
            for k in chosen
            if isinstance(k, DepthwiseConvKernel) and k.kernel_size == kernel_size
        ]
        assert {8, 64} <= set(channels)
    pointwise = [k for k in chosen if isinstance(k, PointwiseConvKernel)]
    assert max(k.macs for k in pointwise) == 64 * 64 * 14 * 14
    assert min(k.macs for k in pointwise) == 8 * 8 * 7 * 7


def test_count_is_met_without_doubles_and_in_seeded_order() -> None:
    chosen = sample(60)
    assert len(set(chosen)) == len(chosen)
    assert 54 <= len(chosen) <= 66
    assert sample(60) == chosen
    assert sample(60, seed=1) != chosen
    assert set(sample(60, seed=1)) == set(chosen)


def test_fixed_kernels_are_taken_even_from_outside_the_pool() -> None:
    fixed = (PointwiseConvKernel(24, 40, 9, 9), POOL[5])
    assert set(fixed) <= set(sample(40, always=fixed))


def test_no_kernel_is_far_from_a_measured_one() -> None:
    def far(chosen: list[Kernel]) -> float:
        def log(kernel: PointwiseConvKernel) -> np.ndarray:
            return np.log2([kernel.in_channels, kernel.out_channels, kernel.height])

        points = np.array([log(k) for k in chosen if isinstance(k, PointwiseConvKernel)])
        return max(
            float(np.linalg.norm(points - log(k), axis=1).min())
            for k in POOL
            if isinstance(k, PointwiseConvKernel)
        )

    assert far(sample(80)) < 0.9
    assert far(sample(len(POOL) * 4)) == 0


def test_chains_spread_over_sizes_of_kernels_that_keep_their_shape() -> None:
    subjects = layout_subjects(POOL, 6)
    assert len(subjects) == 6
    assert all(s.copies == CHAIN_LENGTH and s.kernel.keeps_shape for s in subjects)
    sizes = [s.kernel.output_elements for s in subjects]
    candidates = [k.output_elements for k in POOL if k.keeps_shape and k.carries_layout_cost]
    assert sizes[0] == min(candidates)
    assert sizes[-1] == max(candidates)
    assert layout_subjects([LinearKernel(8, 8)], 5) == []
