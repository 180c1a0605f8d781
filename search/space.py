"""Spaces of architectures: MobileNetV3-like networks of any width, depth and kernel size.

Symbols: `C` channels that enter a block in the sampled network, `E` expansion width, `M` filters
of the block's project layer, `T` the largest M of the space, `k` depthwise kernel size, `H` height
and width of a square feature map in pixels.

A block is expand 1x1 (C to E) -> depthwise k x k -> [squeeze-excite] -> project 1x1 (E to M),
joined with its input. With the channel-level bypass (CBC, NetAdaptV2 section on CBC; this is our
reading of it, an assumption) a stride-1 block gives `max(min(C, T), M)` channels: the filters it
still has, and beyond those its own input. Without filters (M = 0) or without expansion (E = 0) it
is its input and is left out of the network.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import numpy as np

from netadapt.profiler.kernels import (
    ActivationKernel,
    AddKernel,
    BypassKernel,
    DepthwiseConv,
    GlobalPoolKernel,
    Kernel,
    LinearKernel,
    PointwiseConv,
    SqueezeExciteKernel,
    StandardConv,
)
from netadapt.profiler.kernels.convolution import strided
from netadapt.search.errors import ArchError, SpaceFileError, shown
from netadapt.search.space_file import (
    BlockSpec,
    LayerSpec,
    parse_space,
    read_space_text,
    space_arguments,
)

STEM_KERNEL_SIZE = 3
ACTIVATIONS = ("relu", "hardswish")
# Bounds far above any network's, so that a slip of the keyboard is an error, not a machine that
# counts to it.
LARGEST = {"in_channels": 65_536, "resolution": 16_384, "classes": 1_000_000, "width_step": 65_536}
LARGEST_WIDTH = 65_536
LARGEST_KERNEL = 63
MAX_BLOCKS = 1_000
MAX_PARTS = 50_000
"""Parts of networks that a space remembers, some 2 KB each."""
BYTES_PER_ELEMENT = 4
"""Activations are fp32."""

Join = Literal["bypass", "residual", "none"]
Record = TypeVar("Record", "Arch", "BlockArch")


@dataclass(frozen=True, slots=True)
class BlockArch:
    """One block of an arch.

    Parameters
    ----------
    width: M, filters of the project layer; 0 for a removed block.
    expansion: E; 0 for a removed block and for one that has no expand layer.
    kernel_size: k of the depthwise convolution; None for a removed block.
    """

    width: int
    expansion: int
    kernel_size: int | None

    @property
    def removed(self) -> bool:
        return self.width == 0


REMOVED = BlockArch(0, 0, None)
"""The one form of a block that is not there."""


@dataclass(frozen=True, slots=True)
class Arch:
    """One point of a space; hashable. `stem`, `head` and `hidden` are widths."""

    stem: int
    blocks: tuple[BlockArch, ...]
    head: int
    hidden: int

    def to_json(self) -> str:
        """Stable one-line text: `{"stem": 16, "blocks": [[width, expansion, kernel], ...], ...}`"""
        blocks = [[b.width, b.expansion, b.kernel_size] for b in self.blocks]
        return json.dumps(
            {"stem": self.stem, "blocks": blocks, "head": self.head, "hidden": self.hidden}
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Of `to_json`'s text. Raises `ArchError`; whether a space has it is `validate`'s."""
        try:
            record = json.loads(text)
            blocks = tuple(
                BlockArch(
                    _integer(width),
                    _integer(expansion),
                    None if kernel is None else _integer(kernel),
                )
                for width, expansion, kernel in record["blocks"]
            )
            stem, head, hidden = (_integer(record[name]) for name in ("stem", "head", "hidden"))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ArchError(
                f"an arch reads as `Arch.to_json` writes it, got {text[:200]!r} "
                f"({type(error).__name__}); take it from a trial log unchanged"
            ) from error
        return cls(stem, blocks, head, hidden)


@dataclass(frozen=True, slots=True)
class Dimension:
    """Something to choose: "stem", "head", "hidden", or one of "blocks.3.width",
    "blocks.3.expansion", "blocks.3.kernel_size".

    `values` ascend; 0 is among them where it removes the block.
    """

    name: str
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What a run of consecutive kernels amounts to."""

    kernels: tuple[Kernel, ...]
    out_channels: int
    macs: int
    params: int
    peak_elements: int
    """Largest number of activation elements alive at a time."""

    @classmethod
    def of(cls, kernels: Sequence[Kernel], out_channels: int, *, keeps_input: bool = False) -> Self:
        """`keeps_input`: the last kernel needs the part's input again."""
        kept = kernels[0].input_elements if keeps_input else 0
        alive = [k.input_elements + k.output_elements for k in kernels]
        # The first and the last kernel count the part's input as their own already.
        between = [elements + kept for elements in alive[1:-1]]
        return cls(
            tuple(kernels),
            out_channels,
            sum(k.macs for k in kernels),
            sum(k.params for k in kernels),
            max((alive[0], *between, alive[-1])),
        )


def make_divisible(value: float, divisor: int) -> int:
    """`value` to the nearest multiple of `divisor`, never below 90 % of it (MobileNet's rule)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def squeeze_channels(expansion: int) -> int:
    """Hidden width of squeeze-excite on `expansion` channels."""
    return make_divisible(expansion / 4, 8)


@dataclass(frozen=True)
class Space:
    """All architectures that a file describes.

    Parameters
    ----------
    name: how runs and logs call it.
    in_channels, resolution, classes: of the images `(B, in_channels, resolution, resolution)` and
        of the task; the resolution in pixels.
    width_step: widths are multiples of it.
    kernel_sizes: allowed depthwise kernel sizes, ascending.
    bypass: the channel-level bypass; off is MobileNetV3 as published (a residual where the shapes
        agree, no block can vanish).
    dropout: share of the hidden layer's outputs zeroed in training.

    Raises `SpaceFileError` for a description that makes no sense.
    """

    name: str
    in_channels: int
    resolution: int
    classes: int
    width_step: int
    kernel_sizes: tuple[int, ...]
    bypass: bool
    dropout: float
    stem: LayerSpec
    blocks: tuple[BlockSpec, ...]
    head: LayerSpec
    hidden: LayerSpec
    _parts: dict[tuple[object, ...], Part] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        _check_space(self)

    @classmethod
    def load(cls, name_or_path: str | Path, *, bypass: bool | None = None) -> Self:
        """One of this package's spaces by name ("digits"), or a TOML file of your own.

        `bypass` other than None overrides the file's. Raises `SpaceFileError`.
        """
        return cls.from_text(*read_space_text(name_or_path), bypass=bypass)

    @classmethod
    def from_text(cls, text: str, where: str = "space", *, bypass: bool | None = None) -> Self:
        """Of a file's text; `bypass` as for `load`. Raises `SpaceFileError`."""
        space = cls.from_table(parse_space(text, where), where)
        return space if bypass is None else replace(space, bypass=bypass)

    @classmethod
    def from_table(cls, table: dict[str, Any], where: str = "space") -> Self:
        """Of a parsed file; errors name it `where`. Raises `SpaceFileError`."""
        return cls(**space_arguments(table, where))

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """Of one image, batch of 1 included."""
        return (1, self.in_channels, self.resolution, self.resolution)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Height and width in pixels behind the stem and behind each block."""
        sizes = [strided(self.resolution, self.stem.stride)]
        for block in self.blocks:
            sizes.append(strided(sizes[-1], block.stride))
        return tuple(sizes)

    def join(self, index: int) -> Join:
        """How block `index` is joined with its input.

        "bypass": the channel-level bypass; "residual": an addition where the shapes agree.
        """
        block = self.blocks[index]
        if block.stride != 1:
            return "none"
        return "bypass" if self.bypass and block.expansion else "residual"

    def joined(self, index: int, in_channels: int, filters: int) -> bool:
        """Whether anything of the input of block `index` is added to its `filters`."""
        join = self.join(index)
        return join == "bypass" or (join == "residual" and in_channels == filters)

    def out_channels(self, index: int, in_channels: int, filters: int) -> int:
        """Channels behind block `index` with `filters` (M) behind `in_channels` (C)."""
        if self.join(index) == "bypass":
            return max(min(in_channels, self.blocks[index].max_width), filters)
        return filters

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """All that has more than one value, in the order of the layers."""
        found = [Dimension("stem", self._widths(self.stem))]
        for index, block in enumerate(self.blocks):
            prefix = f"blocks.{index}"
            found.append(Dimension(f"{prefix}.width", self._block_values(index, "width")))
            if block.expansion:
                found.append(
                    Dimension(f"{prefix}.expansion", self._block_values(index, "expansion"))
                )
            found.append(
                Dimension(f"{prefix}.kernel_size", self._block_values(index, "kernel_size"))
            )
        found.append(Dimension("head", self._widths(self.head)))
        found.append(Dimension("hidden", self._widths(self.hidden)))
        return tuple(d for d in found if len(d.values) > 1)

    def removable(self, index: int) -> bool:
        """Whether block `index` may be left out."""
        return self.join(index) == "bypass" and self.blocks[index].searched

    def full(self) -> Arch:
        """The largest network: every width and kernel size at its maximum."""
        largest = self.kernel_sizes[-1]
        return Arch(
            self.stem.max_width,
            tuple(
                BlockArch(b.max_width, b.max_expansion, largest if b.searched else b.kernel_size)
                for b in self.blocks
            ),
            self.head.max_width,
            self.hidden.max_width,
        )

    def reference(self) -> Arch:
        """The network that the file describes, its own widths and kernel sizes."""
        return Arch(
            self.stem.width,
            tuple(BlockArch(b.width, b.expansion, b.kernel_size) for b in self.blocks),
            self.head.width,
            self.hidden.width,
        )

    def scaled(self, multiplier: float, kernel_size: int | None = None) -> Arch:
        """The reference with every searched width times `multiplier`, to the nearest step.

        `kernel_size` sets all depthwise kernels to it. Raises `ArchError` where the result is not
        in the space.
        """
        if not multiplier > 0:
            raise ArchError(f"a width multiplier is above 0, got {multiplier}; 1 is the reference")

        def scale(width: int) -> int:
            return make_divisible(width * multiplier, self.width_step) if width else 0

        def layer(spec: LayerSpec) -> int:
            return scale(spec.width) if spec.searched else spec.width

        arch = Arch(
            layer(self.stem),
            tuple(
                BlockArch(scale(b.width), scale(b.expansion), kernel_size or b.kernel_size)
                if b.searched
                else BlockArch(b.width, b.expansion, b.kernel_size)
                for b in self.blocks
            ),
            layer(self.head),
            layer(self.hidden),
        )
        self.validate(arch)
        return arch

    def random(self, rng: np.random.Generator) -> Arch:
        """Every dimension uniformly; a block with any 0 is removed."""
        arch = self.reference()
        for dimension, share in zip(self.dimensions, rng.random(len(self.dimensions)), strict=True):
            if self.value(arch, dimension):
                value = dimension.values[int(share * len(dimension.values))]
                arch = self.with_value(arch, dimension, value)
        return arch

    def value(self, arch: Arch, dimension: Dimension) -> int | None:
        """Of `arch`: a width or expansion of a removed block is 0, its kernel size None."""
        index, attribute = self._position(dimension)
        found: int | None = getattr(arch if index is None else arch.blocks[index], attribute)
        return found

    def with_value(self, arch: Arch, dimension: Dimension, value: int) -> Arch:
        """`arch` with this one value changed; removes the block for a value of 0.

        Raises `ArchError` for a value that the dimension does not have, and for one given to a
        removed block, which has no other values to go with it.
        """
        index, attribute = self._position(dimension)
        if value not in dimension.values:
            raise ArchError(
                f"{dimension.name} of space {self.name!r} is one of {_listed(dimension.values)}, "
                f"got {value}; choose one of them"
            )
        if index is None:
            return _with(arch, attribute, value)
        block = arch.blocks[index]
        if value == 0:
            block = REMOVED
        elif block.removed:
            raise ArchError(
                f"a removed block stays removed, got {dimension.name} = {value}; "
                "build an Arch with all values of the block"
            )
        else:
            block = _with(block, attribute, value)
        return replace(arch, blocks=(*arch.blocks[:index], block, *arch.blocks[index + 1 :]))

    def smaller(self, arch: Arch, dimension: Dimension) -> tuple[Arch, ...]:
        """All archs that differ in this dimension only and are smaller there, largest first."""
        current = self.value(arch, dimension)
        if not current:
            return ()
        values = (v for v in reversed(dimension.values) if v < current)
        return tuple(self.with_value(arch, dimension, v) for v in values)

    def validate(self, arch: Arch) -> None:
        """Raises `ArchError` unless `arch` is a point of this space in its one form."""
        if len(arch.blocks) != len(self.blocks):
            raise ArchError(
                f"an arch of space {self.name!r} has {len(self.blocks)} blocks, got "
                f"{len(arch.blocks)}; is it another space's?"
            )
        for name, spec in (("stem", self.stem), ("head", self.head), ("hidden", self.hidden)):
            self._check_value(name, getattr(arch, name), self._widths(spec))
        for index, block in enumerate(arch.blocks):
            if block == REMOVED and self.removable(index):
                continue
            for name, allowed in self._present_values[index].items():
                self._check_value(f"blocks.{index}.{name}", getattr(block, name), allowed)

    def kernels(self, arch: Arch) -> tuple[Kernel, ...]:
        """The layers of `arch` in the order they run."""
        return tuple(kernel for part in self._walk(arch) for kernel in part.kernels)

    def kernels_by_part(self, arch: Arch) -> tuple[tuple[str, tuple[Kernel, ...]], ...]:
        """The same by part: "stem", "block 1" to the last, "head", "classifier"."""
        blocks = (f"block {index + 1}" for index in range(len(self.blocks)))
        names = ("stem", *blocks, "head", "classifier")
        parts = zip(names, self._walk(arch), strict=True)
        return tuple((name, part.kernels) for name, part in parts)

    def macs(self, arch: Arch) -> int:
        """Multiply-accumulates for one image."""
        return sum(part.macs for part in self._walk(arch))

    def params(self, arch: Arch) -> int:
        """Trainable parameters."""
        return sum(part.params for part in self._walk(arch))

    def planned_memory_bytes(self, arch: Arch) -> int:
        """Peak of the fp32 activations alive at a time, layer after layer, nothing in place."""
        return BYTES_PER_ELEMENT * max(part.peak_elements for part in self._walk(arch))

    def depth(self, arch: Arch) -> float:
        """Continuous depth in blocks: the sum of M/T (assumption; a removed block counts 0)."""
        return sum(
            block.width / spec.max_width
            for block, spec in zip(arch.blocks, self.blocks, strict=True)
        )

    def _walk(self, arch: Arch) -> Iterator[Part]:
        """The stem, each block, the head with its pooling, the linear layers."""
        part = self._part(self._stem_part, arch.stem)
        yield part
        for index, block in enumerate(arch.blocks):
            part = self._part(self._block_part, index, part.out_channels, block)
            yield part
        yield self._part(self._head_part, part.out_channels, arch.head)
        yield self._part(self._classifier_part, arch.head, arch.hidden)

    def _part(self, make: Callable[..., Part], *key: object) -> Part:
        # Searchers ask for the same blocks about 10^5 times.
        named = (make.__name__, *key)
        found = self._parts.get(named)
        if found is None:
            if len(self._parts) >= MAX_PARTS:
                self._parts.clear()
            found = self._parts[named] = make(*key)
        return found

    def _stem_part(self, width: int) -> Part:
        size, out_size = self.resolution, self.sizes[0]
        kernels = (
            StandardConv(self.in_channels, width, STEM_KERNEL_SIZE, self.stem.stride, size, size),
            ActivationKernel("hardswish", width, out_size, out_size),
        )
        return Part.of(kernels, width)

    def _head_part(self, in_channels: int, head: int) -> Part:
        size = self.sizes[-1]
        kernels = (
            PointwiseConv(in_channels, head, size, size),
            ActivationKernel("hardswish", head, size, size),
            GlobalPoolKernel(head, size, size),
        )
        return Part.of(kernels, head)

    def _classifier_part(self, head: int, hidden: int) -> Part:
        kernels = (
            LinearKernel(head, hidden),
            ActivationKernel("hardswish", hidden, 1, 1),
            LinearKernel(hidden, self.classes),
        )
        return Part.of(kernels, self.classes)

    def _block_part(self, index: int, in_channels: int, block: BlockArch) -> Part:
        spec = self.blocks[index]
        out_channels = self.out_channels(index, in_channels, block.width)
        if block.removed:
            return Part((), out_channels, 0, 0, 0)
        assert block.kernel_size is not None
        size, out_size = self.sizes[index], self.sizes[index + 1]
        fused = spec.fused_activation
        kernels: list[Kernel] = []
        channels = in_channels
        if block.expansion:
            channels = block.expansion
            kernels.append(PointwiseConv(in_channels, channels, size, size, fused))
            if fused == "none":
                kernels.append(ActivationKernel(spec.activation, channels, size, size))
        kernels.append(DepthwiseConv(channels, block.kernel_size, spec.stride, size, size, fused))
        if fused == "none":
            kernels.append(ActivationKernel(spec.activation, channels, out_size, out_size))
        if spec.se:
            squeeze = squeeze_channels(channels)
            kernels.append(SqueezeExciteKernel(channels, squeeze, out_size, out_size))
        kernels.append(PointwiseConv(channels, block.width, out_size, out_size))
        if not self.joined(index, in_channels, block.width):
            return Part.of(kernels, out_channels)
        if in_channels == block.width:
            kernels.append(AddKernel(in_channels, size, size))
        else:
            kernels.append(BypassKernel(in_channels, block.width, out_channels, size, size))
        return Part.of(kernels, out_channels, keeps_input=True)

    def _widths(self, spec: LayerSpec) -> tuple[int, ...]:
        return self._steps(spec.max_width) if spec.searched else (spec.width,)

    def _block_values(self, index: int, attribute: str) -> tuple[int, ...]:
        block = self.blocks[index]
        if attribute == "kernel_size":
            return self.kernel_sizes if block.searched else (block.kernel_size,)
        reference = block.width if attribute == "width" else block.expansion
        if not block.searched or not reference:
            return (reference,)
        largest = block.max_width if attribute == "width" else block.max_expansion
        return (0,) * self.removable(index) + self._steps(largest)

    @cached_property
    def _present_values(self) -> tuple[dict[str, tuple[int, ...]], ...]:
        """What each attribute of each block may be while the block is there."""

        def present(index: int, name: str) -> tuple[int, ...]:
            # 0 removes the block, but for the first block's expansion: it is all there is.
            return tuple(v for v in self._block_values(index, name) if v) or (0,)

        names = ("width", "expansion", "kernel_size")
        return tuple({n: present(i, n) for n in names} for i in range(len(self.blocks)))

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

    @staticmethod
    def _check_value(name: str, value: int | None, allowed: tuple[int, ...]) -> None:
        if value not in allowed:
            raise ArchError(f"{name} is one of {_listed(allowed)}, got {value}; choose one of them")


def _check_space(space: Space) -> None:
    """Raises `SpaceFileError` for a space that no network can be built from."""

    def require(holds: bool, rule: str, value: object) -> None:
        if not holds:
            raise SpaceFileError(
                f"space {space.name!r}: {rule}, got {shown(value)}; correct its file"
            )

    for name, largest in LARGEST.items():
        value = getattr(space, name)
        require(1 <= value <= largest, f"{name} is at least 1 and at most {largest}", value)
    require(0 <= space.dropout < 1, "dropout is in [0, 1)", space.dropout)
    kernels = space.kernel_sizes
    require(
        bool(kernels) and list(kernels) == sorted({k for k in kernels if k > 0 and k % 2}),
        "kernel_sizes are odd, ascending and at least one",
        list(kernels),
    )
    require(kernels[-1] <= LARGEST_KERNEL, f"kernels have at most {LARGEST_KERNEL} px", kernels[-1])
    count = len(space.blocks)
    require(1 <= count <= MAX_BLOCKS, f"there are 1 to {MAX_BLOCKS} blocks", count)

    def check_width(name: str, width: int, largest: int) -> None:
        require(largest <= LARGEST_WIDTH, f"{name} has at most {LARGEST_WIDTH} channels", largest)
        require(
            0 < width <= largest and not (width % space.width_step or largest % space.width_step),
            f"{name}'s width and maximum are ascending multiples of width_step",
            (width, largest),
        )

    def check_fixed(name: str, searched: bool, own: object, largest: object) -> None:
        require(searched or own == largest, f"{name} is not searched and has no maximum", largest)

    for name in ("stem", "head", "hidden"):
        layer: LayerSpec = getattr(space, name)
        check_width(name, layer.width, layer.max_width)
        check_fixed(name, layer.searched, layer.width, layer.max_width)
        require(layer.stride in (1, 2), f"{name}'s stride is 1 or 2", layer.stride)
    widest = space.stem.max_width
    for index, block in enumerate(space.blocks):
        name = f"blocks.{index}"
        check_width(name, block.width, block.max_width)
        if block.expansion or block.max_expansion:
            check_width(f"{name}.expansion", block.expansion, block.max_expansion)
        sizes = (block.width, block.expansion), (block.max_width, block.max_expansion)
        check_fixed(name, block.searched, *sizes)
        require(block.stride in (1, 2), f"{name}'s stride is 1 or 2", block.stride)
        require(
            block.kernel_size in kernels,
            f"{name}'s kernel_size is one of {kernels}",
            block.kernel_size,
        )
        require(
            block.activation in ACTIVATIONS,
            f"{name}'s activation is one of {ACTIVATIONS}",
            repr(block.activation),
        )
        # Else a removed block would have to cut channels off, which no layer is left to do.
        require(
            space.join(index) != "bypass" or block.max_width >= widest,
            f"{name} has a bypass, so its max_width is at least its input's, {widest}",
            block.max_width,
        )
        widest = block.max_width


def _with(record: Record, name: str, value: object) -> Record:
    change: dict[str, Any] = {name: value}
    return replace(record, **change)


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"not an integer: {value!r}")
    return value


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
