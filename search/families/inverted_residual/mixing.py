"""Mixtures of inverted residuals: how likely each width and each kernel is (FBNetV2).

Symbols as in the module `space` beside this one. The dimensions of a mixture are independent; the
channels that enter a block (C) depend on all before it, and are followed from block to block. A
kernel depends on two or three of C, E, M, k and the activation, so that what a network may hold is
a few tables, however many archs there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from netadapt.search.families.inverted_residual.arch import OPERATIONS, BlockArch
from netadapt.search.families.inverted_residual.kernels import (
    block_slots,
    classifier_kernels,
    head_kernels,
    join_kernel,
    stem_kernels,
)
from netadapt.search.mixture import Distribution, Likely, Mixture, check_mixture
from netadapt.search.places import KnownPlaces, above_0

if TYPE_CHECKING:
    from netadapt.profiler.kernels import Kernel
    from netadapt.search.families.inverted_residual.file import LayerSpec
    from netadapt.search.families.inverted_residual.space import InvertedResidualSpace


@dataclass(frozen=True, slots=True)
class BlockMixture:
    """One block's numbers.

    Parameters
    ----------
    entering, width, expansion, kernel_size: C, M, E and k; M = 0 and E = 0 remove the block.
    se, activation: places from 1 in `OPERATIONS`; surely 0 where the space has no choice of them.
    staying: the probability, a scalar, that its stage is deep enough for it.
    """

    entering: Distribution
    width: Distribution
    expansion: Distribution
    kernel_size: Distribution
    se: Distribution
    activation: Distribution
    staying: Tensor

    @property
    def expanded(self) -> Tensor:
        """The probability that E does not remove it."""
        if self.expansion.values == (0,):  # a block without an expand layer
            return self.expansion.probabilities[0]
        return self.expansion.where(lambda channels: channels > 0)

    @property
    def filtered(self) -> Tensor:
        """The probability that M does not remove it."""
        return self.width.where(lambda filters: filters > 0)

    @property
    def present(self) -> Tensor:
        """The probability that it is there at all."""
        return self.staying * self.expanded * self.filtered


@dataclass(frozen=True, slots=True)
class NetworkMixture:
    """The numbers of a whole network; `head` and `hidden` are 0 where there is no such layer."""

    resolution: Distribution
    """Height of the input in pixels."""
    stem: Distribution
    blocks: tuple[BlockMixture, ...]
    leaving: Distribution
    """The channels behind the last block."""
    head: Distribution
    hidden: Distribution


def network_mixture(
    space: InvertedResidualSpace, mixture: Mixture, *, effective: bool = False
) -> NetworkMixture:
    """The numbers of a mixture of the space's archs.

    `effective`: every number is taken to be at its mean (`Distribution.sharpened`), and those
    behind it follow from that; operations have no mean and stay as they are. Raises `ArchError` for
    a mixture that is not of this space.
    """
    check_mixture(space, mixture)
    like = next(iter(mixture.values())) if mixture else torch.empty(0)
    operations = {d.name for d in space.dimensions if d.kind == "operation"}

    def number(name: str, values: tuple[int, ...]) -> Distribution:
        if len(values) == 1:
            return Distribution.sure(values[0], like)
        found = Distribution(values, mixture[name])
        return found.sharpened() if effective and name not in operations else found

    def layer(name: str, spec: LayerSpec | None) -> Distribution:
        return number(name, space.layer_values(spec))

    heights = tuple(height for height, _ in space.resolutions or (space.resolution,))
    stem = layer("stem", space.stem)
    staying = _staying(space, number, like)
    entering, blocks = stem, []
    for index in range(len(space.blocks)):
        width, expansion, kernel_size, se, activation = (
            number(f"blocks.{index}.{name}", space.block_values(index, name))
            for name in ("width", "expansion", "kernel_size", *OPERATIONS)
        )
        sizes = width, expansion, kernel_size
        block = BlockMixture(entering, *sizes, se, activation, staying[index])
        blocks.append(block)
        entering = _leaving(space, index, block)
        entering = entering.sharpened() if effective else entering
    return NetworkMixture(
        number("resolution", heights),
        stem,
        tuple(blocks),
        entering,
        layer("head", space.head),
        layer("hidden", space.hidden),
    )


def _staying(
    space: InvertedResidualSpace,
    number: Callable[[str, tuple[int, ...]], Distribution],
    like: Tensor,
) -> list[Tensor]:
    """Of each block the probability that its stage's depth reaches it."""
    staying = [like.new_ones(())] * len(space.blocks)
    for stage in space.stages:
        depth = number(f"blocks.{stage.first}.depth", stage.depths)
        for place in range(stage.depths[-1]):
            staying[stage.first + place] = depth.where(lambda d, place=place: d > place)  # type: ignore[misc]  # mypy cannot see through the default
    return staying


def _leaving(space: InvertedResidualSpace, index: int, block: BlockMixture) -> Distribution:
    """The channels behind a block."""

    def channels(entering: int, filters: int) -> int:
        return space.out_channels(index, entering, filters)

    there = block.entering.through(block.width, channels)
    without = block.entering.through(Distribution.sure(0, block.width.probabilities), channels)
    return there.mixed(without, block.staying * block.expanded)


class Places:
    """The kernels that networks of a space may hold, place by place; remembers what it made."""

    def __init__(self, space: InvertedResidualSpace) -> None:
        self._space = space
        self._places = KnownPlaces()

    def likely(self, mixture: Mixture, *, effective: bool = False) -> list[Likely]:
        """Every place with its kernels' probabilities; raises as `network_mixture` does."""
        network = network_mixture(self._space, mixture, effective=effective)
        heights = network.resolution
        found: list[Likely] = []
        for height, share in zip(heights.values, heights.probabilities, strict=True):
            found += self._at(height, network, share if len(heights.values) > 1 else None)
        space = self._space
        features = network.leaving if space.head is None else network.head
        # Behind the pooling a resolution makes no difference.
        return found + self._places.likely(
            "classifier",
            lambda channels, hidden: classifier_kernels(
                space.hidden, channels, hidden, space.classes
            ),
            [features, network.hidden],
        )

    def _at(self, height: int, network: NetworkMixture, share: Tensor | None) -> list[Likely]:
        """The places before the classifier where the input has this height, with this `share`."""
        space = self._space
        size = space.size_of(height if space.resolutions else None)
        sizes = space.sizes(size)
        found = self._places.likely(
            f"stem at {height}",
            lambda width: stem_kernels(space.stem, space.in_channels, width, size, sizes[0]),
            [network.stem],
            share,
        )
        for index, block in enumerate(network.blocks):
            found += self._block(f"{index} at {height}", index, block, sizes[index:][:2], share)
        return found + self._places.likely(
            f"head at {height}",
            lambda channels, width: head_kernels(space.head, channels, width, sizes[-1]),
            [network.leaving, network.head],
            share,
        )

    def _block(
        self,
        name: str,
        index: int,
        block: BlockMixture,
        sizes: Sequence[tuple[int, int]],
        share: Tensor | None,
    ) -> list[Likely]:
        """`sizes` before and behind it; `share` as in `_at`."""
        space, spec = self._space, self._space.blocks[index]
        before, behind = sizes
        staying = block.staying if share is None else block.staying * share

        def kernels(entering: int, *numbers: int) -> list[Kernel | None]:
            arch = BlockArch.of_numbers(*numbers)
            return block_slots(spec, space.squeeze_excite, entering, arch, before, behind)

        def join(entering: int, width: int) -> list[Kernel | None]:
            if not space.joined(index, entering, width):
                return [None]
            out_channels = space.out_channels(index, entering, width)
            return [join_kernel(entering, width, out_channels, behind)]

        width, expansion = above_0(block.width), block.expansion
        expansion = above_0(expansion) if spec.expansion else expansion
        operations = [block.se, block.activation]
        numbers = [block.entering, width, expansion, block.kernel_size, *operations]
        found = self._places.likely(f"block {name}", kernels, numbers, staying)
        if space.join(index) != "none":
            there = staying * block.expanded
            found += self._places.likely(
                f"join {name}", join, [block.entering, width], there, sure=True
            )
        return found
