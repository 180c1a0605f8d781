"""What a space of inverted residuals has to keep, so that networks can be built from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from netadapt.android_runner.text import shown
from netadapt.profiler.kernels.squeeze_excite import GATES, INNER
from netadapt.search.errors import SpaceFileError
from netadapt.search.families.inverted_residual.activations import ACTIVATIONS
from netadapt.search.families.inverted_residual.file import (
    BASES,
    KINDS,
    LARGEST_WIDTH,
    MAX_BLOCKS,
    MAX_RATIO,
    BlockSpec,
    LayerSpec,
)

if TYPE_CHECKING:
    from netadapt.search.families.inverted_residual.space import InvertedResidualSpace

LARGEST = {"in_channels": 65_536, "classes": 1_000_000, "width_step": 65_536}
LARGEST_SIDE = 16_384
LARGEST_KERNEL = 63


def check_space(space: InvertedResidualSpace) -> None:
    """Raises `SpaceFileError` for a space that no network can be built from."""
    check = _Checks(space)
    check.numbers()
    check.squeeze_excite()
    check.layers()
    droppable = check.stages()
    widest = space.stem.max_width
    for index, block in enumerate(space.blocks):
        check.block(index, block)
        check.join(index, block, widest, droppable=index in droppable)
        widest = block.max_width


class _Checks:
    """Each raises `SpaceFileError` for what it is named after."""

    def __init__(self, space: InvertedResidualSpace) -> None:
        self.space = space

    def require(self, holds: bool, rule: str, value: object) -> None:
        if not holds:
            raise SpaceFileError(
                f"space {self.space.name!r}: {rule}, got {shown(value)}; correct its file"
            )

    def among(self, name: str, value: str, allowed: Sequence[str]) -> None:
        self.require(value in allowed, f"{name} is one of {', '.join(allowed)}", value)

    def width(self, name: str, width: int, largest: int) -> None:
        rule = f"{name} has at most {LARGEST_WIDTH} channels"
        self.require(largest <= LARGEST_WIDTH, rule, largest)
        step = self.space.width_step
        self.require(
            0 < width <= largest and not (width % step or largest % step),
            f"{name}'s width and maximum are ascending multiples of width_step",
            (width, largest),
        )

    def fixed(self, name: str, searched: bool, own: object, largest: object) -> None:
        rule = f"{name} is not searched and has no maximum"
        self.require(searched or own == largest, rule, largest)

    def numbers(self) -> None:
        """What a space has one of, and its lists of what may be chosen."""
        space, require = self.space, self.require
        for name, largest in LARGEST.items():
            value = getattr(space, name)
            require(1 <= value <= largest, f"{name} is at least 1 and at most {largest}", value)
        for size in (space.resolution, *space.resolutions):
            rule = f"resolution is at least 1 and at most {LARGEST_SIDE}"
            require(all(1 <= side <= LARGEST_SIDE for side in size), rule, size)
        heights = [height for height, _ in space.resolutions]
        require(
            heights == sorted(set(heights)) and len(heights) != 1,
            "resolutions are two or more, ascending in height",
            list(space.resolutions),
        )
        require(
            not heights or space.resolution in space.resolutions,
            f"resolution is one of the resolutions {list(space.resolutions)}",
            space.resolution,
        )
        require(0 <= space.dropout < 1, "dropout is in [0, 1)", space.dropout)
        require(0 <= space.drop_path < 1, "drop_path is in [0, 1)", space.drop_path)
        kernels = space.kernel_sizes
        require(
            bool(kernels) and list(kernels) == sorted({k for k in kernels if k > 0 and k % 2}),
            "kernel_sizes are odd, ascending and at least one",
            list(kernels),
        )
        rule = f"kernels have at most {LARGEST_KERNEL} px"
        require(kernels[-1] <= LARGEST_KERNEL, rule, kernels[-1])
        ratios = list(space.expansion_ratios)
        require(
            ratios == sorted({r for r in ratios if 0 < r <= MAX_RATIO}),
            f"expansion_ratios ascend, above 0 and at most {MAX_RATIO:g}",
            ratios,
        )
        count = len(space.blocks)
        require(1 <= count <= MAX_BLOCKS, f"there are 1 to {MAX_BLOCKS} blocks", count)

    def squeeze_excite(self) -> None:
        spec, name = self.space.squeeze_excite, "squeeze_excite's"
        self.require(0 < spec.ratio <= 4, f"{name} ratio is above 0 and at most 4", spec.ratio)
        self.require(1 <= spec.divisor <= 256, f"{name} divisor is 1 to 256", spec.divisor)
        self.among(f"{name} base", spec.base, BASES)
        self.among(f"{name} activation", spec.activation, tuple(INNER))
        self.among(f"{name} gate", spec.gate, tuple(GATES))

    def layers(self) -> None:
        """The stem, the head, the hidden layer."""
        space = self.space
        for name, layer in (("stem", space.stem), ("head", space.head), ("hidden", space.hidden)):
            if layer is not None:
                self.width(name, layer.width, layer.max_width)
                self.widths(name, layer, searched=layer.searched)
                searched = layer.searched and space.search_widths
                self.fixed(name, searched, layer.width, layer.max_width)
                self.among(f"{name}'s activation", layer.activation, ("none", *ACTIVATIONS))
        stride, size = space.stem.stride, space.stem.kernel_size
        self.require(stride in (1, 2), "stem's stride is 1 or 2", stride)
        rule = f"stem's kernel_size is odd, at least 3 and at most {LARGEST_KERNEL}"
        self.require(3 <= size <= LARGEST_KERNEL and size % 2 == 1, rule, size)

    def block(self, index: int, block: BlockSpec) -> None:
        """A block by itself."""
        space, require, name = self.space, self.require, f"blocks.{index}"
        kernels = space.kernel_sizes
        self.width(name, block.width, block.max_width)
        self.widths(name, block, searched=block.searched)
        if block.expansion or block.max_expansion:
            self.width(f"{name}.expansion", block.expansion, block.max_expansion)
        sizes = (block.width, block.expansion), (block.max_width, block.max_expansion)
        self.fixed(name, block.searched, *sizes)
        self.fixed(name, space.search_widths, block.width, block.max_width)
        require(block.stride in (1, 2), f"{name}'s stride is 1 or 2", block.stride)
        rule = f"{name}'s kernel_size is one of {kernels}"
        require(block.kernel_size in kernels, rule, block.kernel_size)
        self.among(f"{name}'s activation", block.activation, ACTIVATIONS)
        self.among(f"{name}'s kind", block.kind, KINDS)
        self.operations(name, block)
        dense = block.kind != "inverted_residual"
        smallest = kernels[0] if block.searched else block.kernel_size
        require(not dense or smallest >= 3, f"{name} is dense, its kernels 3 px or more", smallest)
        require(
            block.kind != "residual"
            or (bool(block.expansion) and not (block.se or block.either_se)),
            f"{name} is a plain residual block, which has an expansion and no se",
            (block.expansion, block.se or block.either_se),
        )
        rule = f"{name} has se, so a fused block needs an expansion"
        squeezed = block.se or block.either_se
        require(not (dense and squeezed) or bool(block.expansion), rule, block.expansion)
        allowed = space.ratio_values(index)
        if allowed and block.expansion and block.searched:
            rule = f"{name}'s expansion and maximum are one of {allowed} by expansion_ratios"
            both = (block.expansion, block.max_expansion)
            require(block.expansion in allowed and block.max_expansion == allowed[-1], rule, both)

    def widths(self, name: str, layer: LayerSpec | BlockSpec, *, searched: bool) -> None:
        """Those listed one by one, if they are."""
        space, widths = self.space, layer.widths
        if not widths:
            return
        self.require(
            searched and space.search_widths, f"{name} is not searched and has no widths", widths
        )
        self.require(
            list(widths) == sorted(set(widths)) and not any(w % space.width_step for w in widths),
            f"{name}'s widths are ascending multiples of width_step",
            list(widths),
        )
        self.require(
            layer.width in widths and layer.max_width == widths[-1],
            f"{name}'s width is one of its widths {list(widths)} and its maximum the last",
            (layer.width, layer.max_width),
        )

    def operations(self, name: str, block: BlockSpec) -> None:
        """What a block may choose beside its sizes."""
        require, found = self.require, block.activations
        for activation in found:
            self.among(f"{name}'s activations", activation, ACTIVATIONS)
        require(
            not found or (len(found) > 1 and block.activation in found),
            f"{name}'s activations are two or more, {block.activation!r} among them",
            list(found),
        )
        ordered = sorted(set(found), key=ACTIVATIONS.index)
        rule = f"{name}'s activations are in the order {', '.join(ordered)}"
        require(list(found) == ordered, rule, list(found))
        chosen = block.either_se or bool(found)
        rule = f"{name} has a choice of se or activations, so it is searched"
        require(not chosen or block.searched, rule, block.searched)

    def join(self, index: int, block: BlockSpec, widest: int, *, droppable: bool) -> None:
        """A block behind `widest` channels; `droppable`: its stage may leave it out."""
        name, join = f"blocks.{index}", self.space.join(index)
        # Else a removed block would have to cut channels off, which no layer is left to do.
        self.require(
            join != "bypass" or block.max_width >= widest,
            f"{name} has a bypass, so its max_width is at least its input's, {widest}",
            block.max_width,
        )
        self.require(
            not block.extra or (join == "bypass" and block.searched),
            f"{name} is extra, so it has stride 1, a bypass and is searched",
            (block.stride, join, block.searched),
        )
        self.require(
            not (droppable or block.skip) or (join == "residual" and block.max_width >= widest),
            f"{name} may be left out, so it has stride 1, a residual join and a max_width of at "
            f"least its input's, {widest}",
            (join, block.max_width),
        )
        self.require(
            not block.skip or block.searched, f"{name} may be skipped, so it is searched", False
        )

    def stages(self) -> set[int]:
        """Their depths; the blocks that a depth may leave out."""
        space, require = self.space, self.require
        droppable: set[int] = set()
        for stage in space.stages:
            name, depths = f"blocks.{stage.first}.depth", stage.depths
            require(not space.bypass, f"{name} needs a space without bypass", space.bypass)
            require(
                list(depths) == sorted(set(depths)) and len(depths) > 1 and depths[0] >= 1,
                f"{name}s are two or more, ascending and at least 1",
                list(depths),
            )
            require(stage.depth in depths, f"{name} is one of {depths}", stage.depth)
            skipped = any(block.skip for block in space.blocks[stage.first :][: depths[-1]])
            rule = f"{name} says how many blocks there are, so none is skipped by itself"
            require(not skipped, rule, skipped)
            blocks = len(space.blocks) - stage.first
            require(depths[-1] <= blocks, f"{name} is at most its row's repeat", depths[-1])
            droppable |= set(range(stage.first + depths[0], stage.first + depths[-1]))
        return droppable
