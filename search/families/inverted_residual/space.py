"""Spaces of MobileNet-like networks, of any width, depth and kernel size.

Symbols: `C` channels that enter a block in the sampled network, `E` expansion width, `M` filters
of the block's project layer, `T` the largest M of the space, `k` the kernel size of its depthwise
or dense convolution, `H`, `W` height and width of a feature map in pixels.

A block is, by its kind,

- inverted residual: expand 1x1 (C to E) -> depthwise k x k -> [squeeze-excite] -> project 1x1
  (E to M); without E the depthwise convolution works on the C channels;
- fused: dense k x k (C to E) -> [squeeze-excite] -> project 1x1 (E to M); without E it is one
  dense k x k convolution (C to M), activated;
- residual: dense k x k (C to E) -> dense k x k (E to M);

joined with its input. With the channel-level bypass (CBC, NetAdaptV2 section on CBC; this is our
reading of it, an assumption) a stride-1 block gives `max(min(C, T), M)` channels: the filters it
still has, and beyond those its own input. Without filters (M = 0) or without expansion (E = 0) it
is its input and is left out of the network. Without the bypass the join is a residual addition
where the shapes agree, and whole blocks are left out from the end of a stage only (Once-for-all's
depth).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from netadapt.android_runner.text import shown
from netadapt.profiler.kernels.convolution import strided
from netadapt.search.errors import ArchError
from netadapt.search.families.inverted_residual.arch import (
    OPERATIONS,
    REMOVED,
    BlockArch,
    InvertedResidualArch,
    named,
    numbered,
)
from netadapt.search.families.inverted_residual.checks import check_space
from netadapt.search.families.inverted_residual.columns import Columns, DrawnArchs
from netadapt.search.families.inverted_residual.file import (
    BlockSpec,
    LayerSpec,
    Size,
    SqueezeExciteSpec,
    StageSpec,
    StemSpec,
    make_divisible,
    multiple,
    read_space_file,
    reference_width,
)
from netadapt.search.families.inverted_residual.kernels import (
    block_kernels,
    classifier_kernels,
    head_kernels,
    join_kernel,
    stem_kernels,
)
from netadapt.search.space import Arch, Dimension, Layer, Part, Space, not_allowed

if TYPE_CHECKING:
    import torch

    from netadapt.search.families.inverted_residual.mixing import Places
    from netadapt.search.families.inverted_residual.network import Network
    from netadapt.search.families.inverted_residual.supernet import InvertedResidualSuperNetwork
    from netadapt.search.mixture import Likely, Mixture

MAX_PARTS = 50_000
"""Parts of networks that a space remembers, some 2 KB each."""

Join = Literal["bypass", "residual", "none"]
_Made = tuple[Part, int]
"""A part, and the channels behind it."""


@dataclass(frozen=True)
class InvertedResidualSpace(Space):
    """All architectures that a file describes; `docs/spaces.md` explains its keys.

    Parameters
    ----------
    name: how runs and logs call it.
    in_channels, resolution, classes: of the images `(B, in_channels, *resolution)` and of the
        task; the reference's resolution, height and width in pixels.
    width_step: widths are multiples of it.
    kernel_sizes: allowed kernel sizes of the blocks, ascending.
    bypass: the channel-level bypass; without it joins are residual and no block can vanish but by
        `stages`.
    dropout: share of the last linear layer's inputs zeroed in training.
    drop_path: share of the images that pass by the last block in training, where it is added to its
        input; less for those before, down to 0 at the first (stochastic depth, Huang et al. 2016).
    head, hidden: None: there is no such layer.
    resolutions: to choose from, ascending in height; none: `resolution` alone.
    expansion_ratios: allowed E as multiples of the reference's C; none: multiples of `width_step`.
    search_widths: false fixes every width (but no E) at the reference's.
    stages: which blocks may be left out from the end of a stage.

    Raises `SpaceFileError` for a description that makes no sense.
    """

    family: ClassVar[str] = "inverted_residual"

    name: str
    in_channels: int
    resolution: Size
    classes: int
    width_step: int
    kernel_sizes: tuple[int, ...]
    bypass: bool
    dropout: float
    stem: StemSpec
    blocks: tuple[BlockSpec, ...]
    head: LayerSpec | None
    hidden: LayerSpec | None
    resolutions: tuple[Size, ...] = ()
    expansion_ratios: tuple[float, ...] = ()
    search_widths: bool = True
    squeeze_excite: SqueezeExciteSpec = field(default_factory=SqueezeExciteSpec)
    stages: tuple[StageSpec, ...] = ()
    drop_path: float = 0.0
    _parts: dict[tuple[object, ...], _Made] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        check_space(self)

    @classmethod
    def read(cls, table: dict[str, Any], where: str) -> Self:
        return cls(**read_space_file(table, where))

    @property
    def options(self) -> dict[str, bool]:
        return {"bypass": self.bypass}

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return (1, self.in_channels, *(self.resolutions or (self.resolution,))[-1])

    def input_shape_of(self, arch: Arch) -> tuple[int, int, int, int]:
        return (1, self.in_channels, *self.size_of(self._own(arch).resolution))

    def sizes(self, resolution: Size) -> tuple[Size, ...]:
        """Height and width in pixels behind the stem and behind each block."""
        return self._sizes[resolution]

    @cached_property
    def _sizes(self) -> dict[Size, tuple[Size, ...]]:
        found = {}
        strides = [self.stem.stride, *(block.stride for block in self.blocks)]
        for resolution in self.resolutions or (self.resolution,):
            (height, width), sizes = resolution, []
            for stride in strides:
                height, width = strided(height, stride), strided(width, stride)
                sizes.append((height, width))
            found[resolution] = tuple(sizes)
        return found

    def size_of(self, resolution: int | None) -> Size:
        """Of the input of archs with this `resolution`."""
        return self.resolution if resolution is None else self._by_height[resolution]

    @cached_property
    def _by_height(self) -> dict[int, Size]:
        return {size[0]: size for size in self.resolutions}

    def join(self, index: int) -> Join:
        """How block `index` is joined with its input.

        "bypass": the channel-level bypass; "residual": an addition where the shapes agree.
        """
        block = self.blocks[index]
        if block.stride != 1 or not block.shortcut:
            return "none"
        return "bypass" if self.bypass and block.expansion else "residual"

    def joined(self, index: int, in_channels: int, filters: int) -> bool:
        """Whether anything of the input of block `index` is added to its `filters`."""
        join = self.join(index)
        return join == "bypass" or (join == "residual" and in_channels == filters)

    def drop_path_of(self, index: int) -> float:
        """Of block `index`: a line from 0 at the first to `drop_path` at the last."""
        return self.drop_path * index / max(len(self.blocks) - 1, 1)

    def out_channels(self, index: int, in_channels: int, filters: int) -> int:
        """Channels behind block `index` with `filters` (M) behind `in_channels` (C)."""
        if self.join(index) == "bypass":
            return max(min(in_channels, self.blocks[index].max_width), filters)
        return filters or in_channels  # without filters it is left out of its stage

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        heights = tuple(height for height, _ in self.resolutions)
        found = [
            Dimension("resolution", heights, "resolution"),
            Dimension("stem", self.layer_values(self.stem)),
        ]
        stages = {stage.first: stage for stage in self.stages}
        for index, block in enumerate(self.blocks):
            prefix = f"blocks.{index}"
            if index in stages:
                found.append(Dimension(f"{prefix}.depth", stages[index].depths, "depth"))
            found.append(Dimension(f"{prefix}.width", self.block_values(index, "width")))
            if block.expansion:
                found.append(
                    Dimension(f"{prefix}.expansion", self.block_values(index, "expansion"))
                )
            sizes = self.block_values(index, "kernel_size")
            found.append(Dimension(f"{prefix}.kernel_size", sizes, "kernel_size"))
            for name in OPERATIONS:
                numbers = self.block_values(index, name)
                found.append(Dimension(f"{prefix}.{name}", numbers, "operation"))
        found.append(Dimension("head", self.layer_values(self.head)))
        found.append(Dimension("hidden", self.layer_values(self.hidden)))
        return tuple(d for d in found if len(d.values) > 1)

    def removable(self, index: int) -> bool:
        """Whether block `index` may be left out by itself."""
        block = self.blocks[index]
        return block.skip or (self.join(index) == "bypass" and block.searched)

    def count(self) -> int:
        layers = max(len(self.resolutions), 1)
        for spec in (self.stem, self.head, self.hidden):
            layers *= len(self.layer_values(spec))
        choices = [
            math.prod(map(len, values.values())) + self.removable(index)
            for index, values in enumerate(self._present_values)
        ]
        for stage in self.stages:
            last = stage.first + stage.depths[-1]
            kept, choices[stage.first : last] = (
                choices[stage.first : last],
                [1] * (last - stage.first),
            )
            choices[stage.first] = sum(math.prod(kept[:depth]) for depth in stage.depths)
        return layers * math.prod(choices)

    def full(self) -> InvertedResidualArch:
        largest = self.kernel_sizes[-1]
        return self._arch(
            lambda spec: spec.max_width,
            [
                BlockArch.of_numbers(
                    b.max_width,
                    b.max_expansion,
                    largest if b.searched else b.kernel_size,
                    *(self.block_values(index, name)[-1] for name in OPERATIONS),
                )
                for index, b in enumerate(self.blocks)
            ],
            self.resolutions[-1] if self.resolutions else None,
        )

    def reference(self) -> InvertedResidualArch:
        return self._arch(
            lambda spec: spec.width, self._at_reference_depths(list(self._reference_blocks))
        )

    def scaled(self, multiplier: float, kernel_size: int | None = None) -> InvertedResidualArch:
        """The reference with every searched width times `multiplier`, to the nearest step.

        Of expansions by ratios the nearest one. `kernel_size` sets all kernels of searched size to
        it. Raises `ArchError` where the result is not in the space.
        """
        if not multiplier > 0:
            raise ArchError(f"a width multiplier is above 0, got {multiplier}; 1 is the reference")

        def scale(width: int, allowed: Sequence[int] = ()) -> int:
            if allowed:
                return min(allowed, key=lambda value: abs(value - width * multiplier))
            return make_divisible(width * multiplier, self.width_step) if width else 0

        def block(index: int, spec: BlockSpec) -> BlockArch:
            if not spec.searched or spec.extra:
                return self._reference_blocks[index]
            return replace(
                self._reference_blocks[index],
                width=scale(spec.width, spec.widths) if self.search_widths else spec.width,
                expansion=scale(spec.expansion, self.ratio_values(index) if spec.expansion else ()),
                kernel_size=kernel_size or spec.kernel_size,
            )

        arch = self._arch(
            lambda spec: (
                scale(spec.width, spec.widths)
                if spec.searched and self.search_widths
                else spec.width
            ),
            self._at_reference_depths([block(i, b) for i, b in enumerate(self.blocks)]),
        )
        self.validate(arch)
        return arch

    def _arch(
        self,
        width: Callable[[LayerSpec], int],
        blocks: Sequence[BlockArch],
        resolution: Size | None = None,
    ) -> InvertedResidualArch:
        """`resolution` None: the reference's."""
        height, _ = resolution or self.resolution
        return InvertedResidualArch(
            width(self.stem),
            tuple(blocks),
            0 if self.head is None else width(self.head),
            0 if self.hidden is None else width(self.hidden),
            height if self.resolutions else None,
        )

    @cached_property
    def _reference_blocks(self) -> tuple[BlockArch, ...]:
        """Those beyond the reference's depth too."""
        return tuple(
            REMOVED if spec.extra else BlockArch.of_numbers(*numbers)
            for spec, numbers in zip(self.blocks, self._block_templates, strict=True)
        )

    def _at_reference_depths(self, blocks: list[BlockArch]) -> list[BlockArch]:
        for stage in self.stages:
            last = stage.first + stage.depths[-1]
            blocks[stage.first + stage.depth : last] = [REMOVED] * (stage.depths[-1] - stage.depth)
        return blocks

    def point(self, values: Sequence[int]) -> InvertedResidualArch:
        ends = self._template.copy()
        blocks = [list(block) for block in self._block_templates]
        depths: dict[int, int] = {}
        for (index, attribute), value in zip(self._positions.values(), values, strict=True):
            if index is None:
                ends[attribute] = value
            elif attribute == "depth":
                depths[index] = value
            else:
                blocks[index][_COLUMNS[attribute]] = value
        found = [
            BlockArch.of_numbers(*numbers)
            if numbers[0] and (numbers[1] or not spec.expansion)
            else REMOVED
            for numbers, spec in zip(blocks, self.blocks, strict=True)
        ]
        for stage in self.stages:
            last = stage.first + stage.depths[-1]
            begin = stage.first + depths.get(stage.first, stage.depth)
            found[begin:last] = [REMOVED] * (last - begin)
        resolution = ends["resolution"] if self.resolutions else None
        return InvertedResidualArch(
            ends["stem"], tuple(found), ends["head"], ends["hidden"], resolution
        )

    def points(self, values: NDArray[np.int64]) -> DrawnArchs:
        return DrawnArchs(self, values)

    def columns(self, values: NDArray[np.int64]) -> Columns:
        """Of `point` of each row of `values` `(B, dimensions)`."""
        count = len(values)
        ends = {name: np.full(count, value) for name, value in self._template.items()}
        blocks = np.tile(np.array(self._block_templates), (count, 1, 1))
        depths: dict[int, NDArray[np.int64]] = {}
        for (index, attribute), column in zip(self._positions.values(), values.T, strict=True):
            if index is None:
                ends[attribute] = column
            elif attribute == "depth":
                depths[index] = column
            else:
                blocks[:, index, _COLUMNS[attribute]] = column
        widths, expansions, *_ = np.moveaxis(blocks, 2, 0)
        needs_expansion = np.array([spec.expansion > 0 for spec in self.blocks])
        kept = (widths > 0) & ((expansions > 0) | ~needs_expansion)
        for stage in self.stages:
            places = np.arange(stage.first, stage.first + stage.depths[-1])
            depth = depths.get(stage.first, np.full(count, stage.depth))
            kept[:, places] &= places < stage.first + depth[:, None]
        blocks *= kept[:, :, None]
        return Columns(**ends, **dict(zip(_BLOCK_COLUMNS, np.moveaxis(blocks, 2, 0), strict=True)))

    @cached_property
    def _template(self) -> dict[str, int]:
        """Of the reference; what is no dimension has one value."""
        arch = self.reference()
        return {
            "stem": arch.stem,
            "head": arch.head,
            "hidden": arch.hidden,
            "resolution": arch.resolution or 0,
        }

    @cached_property
    def _block_templates(self) -> tuple[tuple[int, int, int, int, int], ...]:
        """The reference's, in the order of `_COLUMNS`; of extra blocks too."""
        return tuple(
            (
                b.width,
                b.expansion,
                b.kernel_size,
                numbered("se", b.se if b.either_se else None),
                numbered("activation", b.activation if b.activations else None),
            )
            for b in self.blocks
        )

    def random(self, rng: np.random.Generator) -> InvertedResidualArch:
        """Every dimension uniformly; a block with any 0 is removed."""
        return self._own(super().random(rng))

    def smaller(self, arch: Arch, dimension: Dimension) -> tuple[InvertedResidualArch, ...]:
        return tuple(map(self._own, super().smaller(arch, dimension)))

    def value(self, arch: Arch, dimension: Dimension) -> int | None:
        """Of `arch`: a width or expansion of a removed block is 0, its kernel size None."""
        own = self._own(arch)
        index, attribute = self._position(dimension)
        if attribute == "depth":
            assert index is not None
            last = index + dimension.values[-1]
            return sum(not block.removed for block in own.blocks[index:last])
        found: int | None = getattr(own if index is None else own.blocks[index], attribute)
        return numbered(attribute, found) if attribute in OPERATIONS else found

    def with_value(self, arch: Arch, dimension: Dimension, value: int) -> InvertedResidualArch:
        """`arch` with this one value changed; removes the block for a value of 0.

        Blocks that a larger depth brings back are the reference's. Raises `ArchError` for a value
        that the dimension does not have, and for one given to a removed block, which has no other
        values to go with it.
        """
        own = self._own(arch)
        index, attribute = self._position(dimension)
        if value not in dimension.values:
            raise not_allowed(f"{dimension.name} of space {self.name!r}", value, dimension.values)
        if index is None:
            change: dict[str, Any] = {attribute: value}
            return replace(own, **change)
        if attribute == "depth":
            return self._with_depth(own, index, dimension.values[-1], value)
        block = own.blocks[index]
        if value == 0:
            block = REMOVED
        elif block.removed:
            raise ArchError(
                f"a removed block stays removed, got {dimension.name} = {value}; "
                "build an arch with all values of the block"
            )
        else:
            change = {attribute: named(attribute, value) if attribute in OPERATIONS else value}
            block = replace(block, **change)
        return replace(own, blocks=(*own.blocks[:index], block, *own.blocks[index + 1 :]))

    def _with_depth(
        self, arch: InvertedResidualArch, first: int, most: int, depth: int
    ) -> InvertedResidualArch:
        last = first + most
        kept = [
            self._reference_blocks[index] if arch.blocks[index].removed else arch.blocks[index]
            for index in range(first, first + depth)
        ]
        left_out = [REMOVED] * (most - depth)
        blocks = (*arch.blocks[:first], *kept, *left_out, *arch.blocks[last:])
        return replace(arch, blocks=blocks)

    def validate(self, arch: Arch) -> None:
        own = self._own(arch)
        if len(own.blocks) != len(self.blocks):
            raise ArchError(
                f"an arch of space {self.name!r} has {len(self.blocks)} blocks, got "
                f"{len(own.blocks)}; is it another space's?"
            )
        for name, allowed in self._plain_values.items():
            if getattr(own, name) not in allowed:
                raise not_allowed(name, getattr(own, name), allowed)
        for stage in self.stages:
            blocks = own.blocks[stage.first : stage.first + stage.depths[-1]]
            depth = next((i for i, b in enumerate(blocks) if b == REMOVED), len(blocks))
            if depth not in stage.depths:
                raise not_allowed(f"blocks.{stage.first}.depth", depth, stage.depths)
        for index, block in enumerate(own.blocks):
            if block == REMOVED and (self.removable(index) or self._left_out(own, index)):
                continue
            for name, allowed in self._present_values[index].items():
                if getattr(block, name) not in allowed:
                    raise not_allowed(f"blocks.{index}.{name}", getattr(block, name), allowed)

    def _left_out(self, arch: InvertedResidualArch, index: int) -> bool:
        """Whether block `index` and all behind it are left out of their stage."""
        stage = self._stage_of.get(index)
        if stage is None:
            return False
        rest = arch.blocks[index : stage.first + stage.depths[-1]]
        return all(block == REMOVED for block in rest)

    @cached_property
    def _stage_of(self) -> dict[int, StageSpec]:
        return {s.first + i: s for s in self.stages for i in range(s.depths[-1])}

    def arch_from_json(self, text: str) -> InvertedResidualArch:
        arch = InvertedResidualArch.from_json(text)
        self.validate(arch)
        return arch

    def depth(self, arch: Arch) -> float:
        """Continuous depth in blocks: the sum of M/T (assumption; a removed block counts 0)."""
        return sum(
            block.width / spec.max_width
            for block, spec in zip(self._own(arch).blocks, self.blocks, strict=True)
        )

    def drawing(self, arch: Arch) -> tuple[Layer, ...]:
        own = self._own(arch)
        sizes = [height for height, _ in self.sizes(self.size_of(own.resolution))]
        layers = [Layer("stem", sizes[0], own.stem, self.stem.max_width, stride=self.stem.stride)]
        for index, (spec, block) in enumerate(zip(self.blocks, own.blocks, strict=True)):
            layers.append(
                Layer(
                    name=f"block {index + 1}",
                    size_px=sizes[index + 1],
                    width=block.width,
                    max_width=spec.max_width,
                    expansion=block.expansion,
                    max_expansion=spec.max_expansion,
                    kernel_size=block.kernel_size,
                    stride=spec.stride,
                    se=not block.removed and spec.se_of(block),
                    activation=block.activation,
                )
            )
        if self.head is not None:
            layers.append(Layer("head", sizes[-1], own.head, self.head.max_width))
        if self.hidden is not None:
            layers.append(Layer("hidden", 1, own.hidden, self.hidden.max_width))
        return tuple(layers)

    def network(self, arch: Arch, *, generator: torch.Generator | None = None) -> Network:
        from netadapt.search.families.inverted_residual.network import build_network

        self.validate(arch)
        return build_network(self, self._own(arch), generator)

    def supernetwork(
        self, *, generator: torch.Generator | None = None
    ) -> InvertedResidualSuperNetwork:
        from netadapt.search.families.inverted_residual.supernet import (
            InvertedResidualSuperNetwork,
        )

        return InvertedResidualSuperNetwork(self, generator=generator)

    def parts(self, arch: Arch) -> list[Part]:
        """The stem, "block 1" to the last, the head with its pooling, the linear layers."""
        own = self._own(arch)
        at = own.resolution
        stem, channels = self._part(self._stem_part, at, own.stem)
        found = [stem]
        for index, block in enumerate(own.blocks):
            part, channels = self._part(self._block_part, at, index, channels, block)
            found.append(part)
        head, channels = self._part(self._head_part, at, channels, own.head)
        classifier, _ = self._part(self._classifier_part, channels, own.hidden)
        return [*found, head, classifier]

    def likely_kernels(self, mixture: Mixture, *, effective: bool = False) -> list[Likely]:
        return self._places.likely(mixture, effective=effective)

    @cached_property
    def _places(self) -> Places:
        from netadapt.search.families.inverted_residual.mixing import Places

        return Places(self)

    def _part(self, make: Callable[..., _Made], *key: object) -> _Made:
        # Searchers ask for the same blocks about 10^5 times.
        named = (make.__name__, *key)
        found = self._parts.get(named)
        if found is None:
            if len(self._parts) >= MAX_PARTS:
                self._parts.clear()
            found = self._parts[named] = make(*key)
        return found

    def _stem_part(self, resolution: int | None, width: int) -> _Made:
        size = self.size_of(resolution)
        kernels = stem_kernels(self.stem, self.in_channels, width, size, self.sizes(size)[0])
        return Part.of("stem", kernels), width

    def _block_part(
        self, resolution: int | None, index: int, in_channels: int, block: BlockArch
    ) -> _Made:
        name = f"block {index + 1}"
        out_channels = self.out_channels(index, in_channels, block.width)
        if block.removed:
            return Part.of(name, ()), out_channels
        spec, sizes = self.blocks[index], self.sizes(self.size_of(resolution))[index : index + 2]
        kernels = block_kernels(spec, self.squeeze_excite, in_channels, block, *sizes)
        if self.joined(index, in_channels, block.width):
            kernels.append(join_kernel(in_channels, block.width, out_channels, sizes[1]))
        return Part.of(name, kernels), out_channels

    def _head_part(self, resolution: int | None, in_channels: int, width: int) -> _Made:
        size = self.sizes(self.size_of(resolution))[-1]
        kernels = head_kernels(self.head, in_channels, width, size)
        return Part.of("head", kernels), width or in_channels

    def _classifier_part(self, features: int, hidden: int) -> _Made:
        kernels = classifier_kernels(self.hidden, features, hidden, self.classes)
        return Part.of("classifier", kernels), self.classes

    def _own(self, arch: Arch) -> InvertedResidualArch:
        if not isinstance(arch, InvertedResidualArch):
            raise ArchError(
                f"an arch of space {self.name!r} is one of inverted residuals, got "
                f"{shown(arch)}; is it another space's?"
            )
        return arch

    def layer_values(self, spec: LayerSpec | None) -> tuple[int, ...]:
        """The widths that the stem, the head or the hidden layer may have; (0,) of none."""
        if spec is None:
            return (0,)
        fixed = not (spec.searched and self.search_widths)
        return (spec.width,) if fixed else spec.widths or self._steps(spec.max_width)

    @cached_property
    def _plain_values(self) -> dict[str, tuple[int | None, ...]]:
        """What each value of an arch outside its blocks may be."""
        heights = tuple(height for height, _ in self.resolutions)
        return {
            "stem": self.layer_values(self.stem),
            "head": self.layer_values(self.head),
            "hidden": self.layer_values(self.hidden),
            "resolution": heights or (None,),
        }

    def block_values(self, index: int, attribute: str) -> tuple[int, ...]:
        """What an attribute of block `index` may be, one of `_COLUMNS`, ascending."""
        block = self.blocks[index]
        if attribute == "kernel_size":
            return self.kernel_sizes if block.searched else (block.kernel_size,)
        if attribute == "se":
            return (1, 2) if block.either_se else (0,)
        if attribute == "activation":
            return tuple(numbered(attribute, a) for a in block.activations) or (0,)
        reference = block.width if attribute == "width" else block.expansion
        fixed = attribute == "width" and not self.search_widths
        if not block.searched or not reference or fixed:
            return (reference,)
        if attribute == "width":
            values = block.widths or self._steps(block.max_width)
        else:
            values = self.ratio_values(index) or self._steps(block.max_expansion)
        return (0,) * self.removable(index) + values

    def ratio_values(self, index: int) -> tuple[int, ...]:
        """The expansions of block `index` by ratios; none where steps say which there are."""
        channels = reference_width(self.blocks[:index], self.stem)
        ratios = self.blocks[index].ratios or self.expansion_ratios
        found = {multiple(r, channels, self.width_step) for r in ratios}
        return tuple(sorted(found))

    @cached_property
    def _present_values(self) -> tuple[dict[str, tuple[Any, ...]], ...]:
        """What each attribute of each block may be while the block is there."""

        def present(index: int, name: str) -> tuple[Any, ...]:
            values = self.block_values(index, name)
            if name in OPERATIONS:
                return tuple(named(name, number) for number in values)
            # 0 removes the block, but for an expansion that is not there: it is all there is.
            return tuple(v for v in values if v) or (0,)

        return tuple({n: present(i, n) for n in _COLUMNS} for i in range(len(self.blocks)))

    def _steps(self, largest: int) -> tuple[int, ...]:
        return tuple(range(self.width_step, largest + 1, self.width_step))

    @cached_property
    def _positions(self) -> dict[Dimension, tuple[int | None, str]]:
        """Block (None: none) and field of each dimension."""
        positions: dict[Dimension, tuple[int | None, str]] = {}
        for dimension in self.dimensions:
            match dimension.name.split("."):
                case [_, index, attribute]:
                    positions[dimension] = (int(index), attribute)
                case [attribute]:
                    positions[dimension] = (None, attribute)
        return positions

    def _position(self, dimension: Dimension) -> tuple[int | None, str]:
        try:
            return self._positions[dimension]
        except KeyError:
            raise ArchError(
                f"a dimension is one of space {self.name!r}'s `dimensions`, got "
                f"{dimension.name!r}; is it another space's?"
            ) from None


_COLUMNS = {"width": 0, "expansion": 1, "kernel_size": 2, "se": 3, "activation": 4}
"""What there is to choose in a block that is there."""
_BLOCK_COLUMNS = ("widths", "expansions", "kernel_sizes", "ses", "activations")
"""The same in `Columns`."""
