"""Whether a sub-network is the same thing everywhere: in the super-network, extracted, lowered.

    python -m benchmarks.equivalence [--family inverted_residual | encoder_decoder] [--quick]

A quarter each of the archs have a block removed by M = 0, one removed by expansion 0, a partial
bypass, and mixed kernel sizes; of encoder-decoders a layer removed, a skip removed, a partial
bypass, and both up-samplings. Errors are relative to the largest output.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.common import parser, print_result, say
from netadapt.profiler.lowering import lower
from netadapt.search.families.encoder_decoder import EncoderDecoderArch, EncoderDecoderSpace
from netadapt.search.families.inverted_residual import (
    InvertedResidualArch,
    InvertedResidualSpace,
)
from netadapt.search.space import Arch, Space
from netadapt.search.supernet import BatchNormStats, NormStats, calibrate, extract

IMAGES = 4
PLANS = {
    "inverted_residual": [("digits", 160, 10), ("mobilenet_v3_large", 48, 2)],
    "encoder_decoder": [("rooms", 160, 10), ("fastdepth", 48, 2)],
}
"""Spaces of a family, archs tried and of them lowered; multiples of the number of kinds."""


def main() -> None:
    """Compare, print the figures."""
    arguments = parser(__doc__)
    arguments.add_argument("--family", choices=PLANS, default="inverted_residual")
    options = arguments.parse_args()
    plan = PLANS[options.family]
    if options.quick:
        plan = [(plan[0][0], 8, 1)]
    errors: list[float] = []
    pte_errors: list[float] = []
    for name, count, lowered in plan:
        say(f"{name}: {count} archs, {lowered} of them lowered")
        space = _space(name)
        generator = torch.Generator().manual_seed(0)
        supernet = space.supernetwork(generator=generator).eval()
        unsettle(supernet, generator)
        images = torch.randn(IMAGES, *space.input_shape[1:], generator=generator)
        for index, arch in enumerate(itertools.islice(archs(space, seed=0), count)):
            stats = unsettled_stats(calibrate(supernet, arch, images), generator)
            network = extract(supernet, arch, stats)
            with torch.inference_mode():
                expected = supernet(images, arch, stats)
                errors.append(relative_error(network(images), expected))
            if index < lowered:
                pte_errors.append(relative_error(run_lowered(network, images), expected))
    print_result(
        {
            "benchmark": "equivalence",
            "family": options.family,
            "archs": len(errors),
            "max_rel_err": max(errors),
            "pte_archs": len(pte_errors),
            "pte_max_rel_err": max(pte_errors),
        }
    )


def _space(name: str) -> InvertedResidualSpace | EncoderDecoderSpace:
    space = Space.load(name, bypass=True)
    if isinstance(space, EncoderDecoderSpace):
        return EncoderDecoderSpace.load(name, upsamplings=["bilinear", "nearest"])
    assert isinstance(space, InvertedResidualSpace)
    return space


def archs(space: InvertedResidualSpace | EncoderDecoderSpace, seed: int) -> Iterator[Arch]:
    """Random archs without end, the four kinds in turn."""
    rng = np.random.default_rng(seed)
    if isinstance(space, EncoderDecoderSpace):
        yield from _in_turn(space, (_layerless, _skipless, _partly_passed, _both_upsamplings), rng)
    else:
        kinds = (_filterless, _expansionless, _partly_bypassed, _mixed_kernels)
        yield from _in_turn(space, kinds, rng)


def _in_turn(space: Any, kinds: Sequence[Callable[..., Any]], rng: np.random.Generator) -> Any:
    for kind in itertools.cycle(kinds):
        arch = None
        while arch is None:
            arch = kind(space, space.random(rng), rng)
        space.validate(arch)
        yield arch


def _layerless(
    space: EncoderDecoderSpace, arch: EncoderDecoderArch, rng: np.random.Generator
) -> EncoderDecoderArch:
    """With a layer of the encoder removed."""
    removable = [d for d in space.dimensions if d.kind == "width" and d.values[0] == 0]
    return space.with_value(arch, removable[rng.integers(len(removable))], 0)


def _skipless(
    space: EncoderDecoderSpace, arch: EncoderDecoderArch, rng: np.random.Generator
) -> EncoderDecoderArch:
    """With a skip removed."""
    skips = [d for d in space.dimensions if d.kind == "depth"]
    return space.with_value(arch, skips[rng.integers(len(skips))], 0)


def _partly_passed(
    space: EncoderDecoderSpace, arch: EncoderDecoderArch, rng: np.random.Generator
) -> EncoderDecoderArch | None:
    """With fewer filters in a layer of the encoder than channels that enter it."""
    channels = space.channels_before(arch)
    candidates = [
        index
        for index, layer in enumerate(arch.encoder)
        if space.bypassed(index) and layer.width and channels[index] > space.width_step
    ]
    if not candidates:
        return None
    index = candidates[rng.integers(len(candidates))]
    (dimension,) = (d for d in space.dimensions if d.name == f"encoder.{index}.width")
    most = min(channels[index], dimension.values[-1] + 1)
    narrow = [width for width in dimension.values if 0 < width < most]
    return space.with_value(arch, dimension, narrow[rng.integers(len(narrow))])


def _both_upsamplings(
    space: EncoderDecoderSpace, arch: EncoderDecoderArch, rng: np.random.Generator
) -> EncoderDecoderArch | None:
    """With nearest and bilinear up-sampling in it."""
    del rng
    found = {layer.upsampling for layer in arch.decoder}
    return arch if len(found) == len(space.upsamplings) else None


def _filterless(
    space: InvertedResidualSpace, arch: InvertedResidualArch, rng: np.random.Generator
) -> InvertedResidualArch | None:
    """With a block removed by M = 0."""
    return _without(space, arch, "width", rng)


def _expansionless(
    space: InvertedResidualSpace, arch: InvertedResidualArch, rng: np.random.Generator
) -> InvertedResidualArch | None:
    """With a block removed by expansion 0."""
    return _without(space, arch, "expansion", rng)


def _without(
    space: InvertedResidualSpace, arch: InvertedResidualArch, what: str, rng: np.random.Generator
) -> InvertedResidualArch:
    removable = [i for i in range(len(space.blocks)) if space.removable(i)]
    name = f"blocks.{rng.choice(removable)}.{what}"
    (dimension,) = (d for d in space.dimensions if d.name == name)
    return space.with_value(arch, dimension, 0)


def _partly_bypassed(
    space: InvertedResidualSpace, arch: InvertedResidualArch, rng: np.random.Generator
) -> InvertedResidualArch | None:
    """With fewer filters in a block than channels that enter it."""
    channels = arch.stem
    candidates = []
    for index, block in enumerate(arch.blocks):
        if space.join(index) == "bypass" and block.width and channels > space.width_step:
            candidates.append((index, channels))
        channels = space.out_channels(index, channels, block.width)
    if not candidates:
        return None
    index, channels = candidates[rng.integers(len(candidates))]
    width = space.width_step * int(rng.integers(1, channels // space.width_step))
    blocks = list(arch.blocks)
    blocks[index] = replace(blocks[index], width=width)
    return replace(arch, blocks=tuple(blocks))


def _mixed_kernels(
    space: InvertedResidualSpace, arch: InvertedResidualArch, rng: np.random.Generator
) -> InvertedResidualArch | None:
    """With every kernel size of the space in it."""
    del rng
    found = {block.kernel_size for block in arch.blocks} - {None}
    return arch if len(found) == len(space.kernel_sizes) else None


@torch.no_grad()
def unsettle(module: nn.Module, generator: torch.Generator) -> None:
    """Move what a fresh network has at 0 or 1 (biases, norms) far away from there."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.uniform_(0.5, 2, generator=generator)
            layer.bias.normal_(0, 0.5, generator=generator)
        elif isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            layer.bias.normal_(0, 0.1, generator=generator)
        if isinstance(layer, nn.Linear):
            layer.weight.normal_(0, layer.in_features**-0.5, generator=generator)


def unsettled_stats(stats: BatchNormStats, generator: torch.Generator) -> BatchNormStats:
    """`stats` with each mean moved by about half a deviation, each variance times 0.5 to 2."""

    def moved(norm: NormStats) -> NormStats:
        shift = torch.randn(norm.mean.shape, generator=generator) * norm.variance.sqrt() / 2
        scale = 2 ** (torch.rand(norm.mean.shape, generator=generator) * 2 - 1)
        return NormStats(norm.mean + shift, norm.variance * scale)

    return BatchNormStats({name: moved(norm) for name, norm in stats.norms.items()})


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Largest difference as a share of the largest expected output."""
    return float((found - expected).abs().max() / expected.abs().max())


def run_lowered(network: nn.Module, images: Tensor) -> Tensor:
    """Outputs `(B, classes)` of the network as an ExecuTorch program, one image at a time."""
    return run_program(lower(network, (images[:1],)), images)


def run_program(data: bytes, images: Tensor) -> Tensor:
    """The same of a program."""
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(data).load_method("forward")
    run: Callable[[list[Tensor]], list[Tensor]] = method.execute
    return torch.cat([run([image.contiguous()])[0].clone() for image in torch.split(images, 1)])


if __name__ == "__main__":
    main()
