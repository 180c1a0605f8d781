"""The file of a space of inverted residuals: TOML in, checked for names and types.

`docs/spaces.md` explains the keys. Symbols as in the module `space` beside this one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from netadapt.search.errors import SpaceFileError
from netadapt.search.families.inverted_residual.columns import Integers
from netadapt.search.space_file import TableReader

if TYPE_CHECKING:
    from netadapt.search.families.inverted_residual.arch import BlockArch

BlockKind = Literal["inverted_residual", "fused", "residual"]
KINDS = get_args(BlockKind)
SqueezeBase = Literal["expansion", "input"]
BASES = get_args(SqueezeBase)
# Bounds far above any network's, so that a slip of the keyboard is an error, not a machine that
# counts to it.
MAX_BLOCKS = 1_000
MAX_RATIO = 64.0
MAX_WIDEST = 4.0
LARGEST_WIDTH = 65_536

Size = tuple[int, int]
"""Height and width in pixels."""


def make_divisible(value: float, divisor: int) -> int:
    """`value` to the nearest multiple of `divisor`, never below 90 % of it (MobileNet's rule)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """A layer with a plain width (no bypass): the stem, the head, the hidden linear layer.

    `searched` false fixes it at the reference's width. `widths` are those there may be, ascending;
    none: every step up to the maximum.
    """

    width: int
    max_width: int
    activation: str = "hardswish"
    searched: bool = True
    widths: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class StemSpec(LayerSpec):
    """The first layer, a dense convolution."""

    kernel_size: int = 3
    stride: int = 1


@dataclass(frozen=True, slots=True)
class SqueezeExciteSpec:
    """Squeeze-excite of all blocks that have it; the defaults are MobileNetV3's.

    Parameters
    ----------
    ratio, base, divisor: hidden channels are `ratio` times E (base "expansion") or C ("input"), to
        a multiple of `divisor`.
    activation, gate: between its two convolutions, and behind them.
    """

    ratio: float = 0.25
    base: str = "expansion"
    divisor: int = 8
    activation: str = "relu"
    gate: str = "hardsigmoid"

    def channels(self, expanded: int, in_channels: int) -> int:
        """Hidden channels where `expanded` channels are squeezed, `in_channels` (C) entering."""
        base = in_channels if self.base == "input" else expanded
        return make_divisible(base * self.ratio, self.divisor)

    def channels_of_all(self, expanded: Integers, in_channels: Integers) -> Integers:
        """`channels` of each, by the arithmetic of `make_divisible`."""
        value = (in_channels if self.base == "input" else expanded) * self.ratio
        step = self.divisor
        rounded = np.maximum(step, (value + step / 2).astype(np.int64) // step * step)
        return np.where(rounded < 0.9 * value, rounded + step, rounded)


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """A block of the reference, and how large it may get.

    Parameters
    ----------
    expansion: 0: no expand layer, and a plain width instead of a bypass (the first block).
    shortcut: whether its input may be joined with its output.
    extra: whether the reference does without it; what it has is then what there may be.
    widths: as of a layer.
    ratios: its own expansion ratios; none: those of the space.
    either_se: whether squeeze-excite is chosen.
    activations: to choose from, in the order of `ACTIVATIONS`; none: `activation` alone.
    skip: whether it may be left out by itself without a bypass.
    """

    kernel_size: int
    width: int
    max_width: int
    activation: str
    stride: int
    expansion: int = 0
    max_expansion: int = 0
    se: bool = False
    searched: bool = True
    kind: str = "inverted_residual"
    shortcut: bool = True
    extra: bool = False
    widths: tuple[int, ...] = ()
    ratios: tuple[float, ...] = ()
    either_se: bool = False
    activations: tuple[str, ...] = ()
    skip: bool = False

    def se_of(self, block: BlockArch) -> bool:
        """Whether an arch's block has squeeze-excite."""
        return self.se if block.se is None else block.se

    def activation_of(self, block: BlockArch) -> str:
        """Of an arch's block."""
        return self.activation if block.activation is None else block.activation


def reference_width(blocks: Sequence[BlockSpec], stem: LayerSpec) -> int:
    """Channels behind `blocks` in the reference."""
    return next((block.width for block in reversed(blocks) if not block.extra), stem.width)


@dataclass(frozen=True, slots=True)
class StageSpec:
    """Blocks that begin with `first`, of which the first `depth` stand in the reference.

    `depths` are the numbers of blocks there may be; ascending.
    """

    first: int
    depth: int
    depths: tuple[int, ...]


def read_space_file(table: dict[str, Any], where: str) -> dict[str, Any]:
    """The arguments of `InvertedResidualSpace` from a parsed file; errors name it `where`.

    Raises `SpaceFileError`.
    """
    read = TableReader(table, where)
    arguments: dict[str, Any] = {
        "name": read.take("name", str),
        "in_channels": read.take("in_channels", int),
        "resolution": _size(read, "resolution", read.take("resolution", (int, list))),
        "resolutions": tuple(
            _size(read, "resolutions", size) for size in read.many("resolutions", (int, list), [])
        ),
        "classes": read.take("classes", int),
        "width_step": read.take("width_step", int),
        "kernel_sizes": tuple(read.many("kernel_sizes", int)),
        "expansion_ratios": read.numbers("expansion_ratios", []),
        "search_widths": read.take("search_widths", bool, True),
        "widest": read.number("widest", 1.0),
        "bypass": read.take("bypass", bool, True),
        "dropout": read.number("dropout", 0.0),
        "drop_path": read.number("drop_path", 0.0),
    }
    widest = arguments.pop("widest")
    if not 1 <= widest <= MAX_WIDEST:
        raise read.refuse("widest", f"is at least 1 and at most {MAX_WIDEST:g}", widest)
    if widest > 1 and not arguments["search_widths"]:
        raise read.refuse("widest", "is 1 where widths are not searched", widest)

    def most(width: int) -> int:
        """Where a row says nothing else."""
        wider = multiple(widest, width, arguments["width_step"]) if widest > 1 else width
        return max(width, wider)

    stem = read.table("stem")
    if stem is None:
        raise SpaceFileError(f"{where}: [stem] is missing; add it")
    layer_of = _layer(stem, most)
    kernel_size, stride = stem.take("kernel_size", int, 3), stem.take("stride", int)
    stem.finish()
    arguments["stem"] = StemSpec(*layer_of, kernel_size, stride)
    for name in ("head", "hidden"):
        layer = read.table(name)
        arguments[name] = None if layer is None else LayerSpec(*_layer(layer, most))
        if layer is not None:
            layer.finish()
    arguments["squeeze_excite"] = _squeeze_excite(read)
    arguments |= _blocks(read, where, arguments, most)
    read.finish()
    return arguments


def _size(read: TableReader, key: str, value: int | list[Any]) -> Size:
    sides = value if isinstance(value, list) else [value, value]
    if len(sides) != 2 or any(type(side) is not int for side in sides):
        raise read.refuse(key, "is one side of a square or [height, width] in pixels", value)
    return (sides[0], sides[1])


def _layer(
    read: TableReader, most: Callable[[int], int]
) -> tuple[int, int, str, bool, tuple[int, ...]]:
    """The fields of `LayerSpec`."""
    width, searched = read.take("width", int), read.take("searched", bool, True)
    widths, largest = _widths(read, width, most, searched=searched)
    return width, largest, read.take("activation", str, "hardswish"), searched, widths


def _widths(
    read: TableReader, width: int, most: Callable[[int], int], *, searched: bool
) -> tuple[tuple[int, ...], int]:
    """Those listed, if any are, and the largest."""
    widths = tuple(read.many("widths", int, []))
    largest = max(widths, default=most(width) if searched else width)
    return widths, read.take("max_width", int, largest)


def _squeeze_excite(read: TableReader) -> SqueezeExciteSpec:
    table = read.table("squeeze_excite", {})
    assert table is not None
    usual = SqueezeExciteSpec()
    found = SqueezeExciteSpec(
        ratio=table.number("ratio", usual.ratio),
        base=table.take("base", str, usual.base),
        divisor=table.take("divisor", int, usual.divisor),
        activation=table.take("activation", str, usual.activation),
        gate=table.take("gate", str, usual.gate),
    )
    table.finish()
    return found


def _blocks(
    read: TableReader, where: str, space: dict[str, Any], most: Callable[[int], int]
) -> dict[str, Any]:
    """The rows of `blocks`, each a block or a stage of `repeat` blocks."""
    blocks: list[BlockSpec] = []
    stages: list[StageSpec] = []
    for index, row in enumerate(read.many("blocks", dict)):
        reader = TableReader(row, f"{where}: row {index} of blocks")
        repeat = reader.take("repeat", int, 1)
        if not 1 <= repeat <= MAX_BLOCKS:
            raise reader.refuse("repeat", f"is at least 1 and at most {MAX_BLOCKS}", repeat)
        depths = tuple(reader.many("depths", int, []))
        depth = reader.take("depth", int, repeat)
        if depths and max(depths) != repeat:
            raise reader.refuse("depths", "end with the row's repeat", list(depths))
        if depths:
            stages.append(StageSpec(len(blocks), depth, depths))
        elif depth != repeat:
            raise reader.refuse("depth", "is one of the row's depths, of which it has none", depth)
        first = _block(reader, space, reference_width(blocks, space["stem"]), most)
        blocks.append(first)
        for _ in range(repeat - 1):
            again = TableReader(
                {key: row[key] for key in row if key not in ("repeat", "depths", "depth")}
                | {"stride": 1, "shortcut": True},
                f"{where}: row {index} of blocks",
            )
            width = reference_width(blocks, space["stem"])
            blocks.append(_block(again, space, width, most))
        if len(blocks) > MAX_BLOCKS:
            raise reader.refuse("repeat", f"makes more than {MAX_BLOCKS} blocks", repeat)
    return {"blocks": tuple(blocks), "stages": tuple(stages)}


def _block(
    read: TableReader, space: dict[str, Any], in_channels: int, most: Callable[[int], int]
) -> BlockSpec:
    width = read.take("width", int)
    ratio = read.number("ratio", 0.0)
    expansion = read.take("expansion", int, 0)
    if ratio:
        if expansion:
            raise read.refuse("ratio", "stands in place of expansion", ratio)
        if not 0 < ratio <= MAX_RATIO:
            raise read.refuse("ratio", f"is above 0 and at most {MAX_RATIO:g}", ratio)
        expansion = multiple(ratio, in_channels, space["width_step"])
    searched = read.take("searched", bool, True)
    own_ratios = tuple(read.numbers("expansion_ratios", []))
    ratios = (own_ratios or space["expansion_ratios"]) if expansion and searched else ()
    widths, max_width = _widths(read, width, most, searched=searched)
    largest = max(
        (multiple(r, in_channels, space["width_step"]) for r in ratios),
        default=most(expansion) if expansion and searched else expansion,
    )
    block = BlockSpec(
        kernel_size=read.take("kernel_size", int),
        expansion=expansion,
        max_expansion=read.take("max_expansion", int, largest),
        width=width,
        max_width=max_width,
        se=read.take("se", bool, False),
        activation=read.take("activation", str),
        stride=read.take("stride", int),
        searched=searched,
        kind=read.take("kind", str, "inverted_residual"),
        shortcut=read.take("shortcut", bool, True),
        extra=read.take("extra", bool, False),
        widths=widths,
        ratios=own_ratios,
        either_se=read.take("either_se", bool, False),
        activations=tuple(read.many("activations", str, [])),
        skip=read.take("skip", bool, False),
    )
    read.finish()
    return block


def multiple(ratio: float, channels: int, step: int) -> int:
    """The expansion width that is `ratio` times `channels`; 0 where one of them is out of bounds.

    What is out of bounds is refused where the whole space is checked.
    """
    sides = (channels, step)
    within = 0 < ratio <= MAX_RATIO and all(0 < side <= LARGEST_WIDTH for side in sides)
    return make_divisible(channels * ratio, step) if within else 0
