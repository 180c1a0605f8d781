"""What a space of inverted residuals has to keep, so that networks can be built from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from netadapt.android_runner.text import shown
from netadapt.profiler.kernels.squeeze_excite import GATES, INNER
from netadapt.search.errors import SpaceFileError
from netadapt.search.families.inverted_residual.file import (
    ACTIVATIONS,
    BASES,
    KINDS,
    LARGEST_WIDTH,
    MAX_BLOCKS,
    MAX_RATIO,
)

if TYPE_CHECKING:
    from netadapt.search.families.inverted_residual.space import InvertedResidualSpace

LARGEST = {"in_channels": 65_536, "classes": 1_000_000, "width_step": 65_536}
LARGEST_SIDE = 16_384
LARGEST_KERNEL = 63


def check_space(space: InvertedResidualSpace) -> None:
    """Raises `SpaceFileError` for a space that no network can be built from."""

    def require(holds: bool, rule: str, value: object) -> None:
        if not holds:
            raise SpaceFileError(
                f"space {space.name!r}: {rule}, got {shown(value)}; correct its file"
            )

    def check_among(name: str, value: str, allowed: Sequence[str]) -> None:
        require(value in allowed, f"{name} is one of {', '.join(allowed)}", value)

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
    kernels = space.kernel_sizes
    require(
        bool(kernels) and list(kernels) == sorted({k for k in kernels if k > 0 and k % 2}),
        "kernel_sizes are odd, ascending and at least one",
        list(kernels),
    )
    require(kernels[-1] <= LARGEST_KERNEL, f"kernels have at most {LARGEST_KERNEL} px", kernels[-1])
    ratios = space.expansion_ratios
    require(
        list(ratios) == sorted({r for r in ratios if 0 < r <= MAX_RATIO}),
        f"expansion_ratios ascend, above 0 and at most {MAX_RATIO:g}",
        list(ratios),
    )
    count = len(space.blocks)
    require(1 <= count <= MAX_BLOCKS, f"there are 1 to {MAX_BLOCKS} blocks", count)
    squeeze = space.squeeze_excite
    require(
        0 < squeeze.ratio <= 4, "squeeze_excite's ratio is above 0 and at most 4", squeeze.ratio
    )
    require(1 <= squeeze.divisor <= 256, "squeeze_excite's divisor is 1 to 256", squeeze.divisor)
    check_among("squeeze_excite's base", squeeze.base, BASES)
    check_among("squeeze_excite's activation", squeeze.activation, tuple(INNER))
    check_among("squeeze_excite's gate", squeeze.gate, tuple(GATES))

    def check_width(name: str, width: int, largest: int) -> None:
        require(largest <= LARGEST_WIDTH, f"{name} has at most {LARGEST_WIDTH} channels", largest)
        require(
            0 < width <= largest and not (width % space.width_step or largest % space.width_step),
            f"{name}'s width and maximum are ascending multiples of width_step",
            (width, largest),
        )

    def check_fixed(name: str, searched: bool, own: object, largest: object) -> None:
        require(searched or own == largest, f"{name} is not searched and has no maximum", largest)

    for name, layer in (("stem", space.stem), ("head", space.head), ("hidden", space.hidden)):
        if layer is None:
            continue
        check_width(name, layer.width, layer.max_width)
        searched = layer.searched and space.search_widths
        check_fixed(name, searched, layer.width, layer.max_width)
        check_among(f"{name}'s activation", layer.activation, ("none", *ACTIVATIONS))
    require(space.stem.stride in (1, 2), "stem's stride is 1 or 2", space.stem.stride)
    stem_size = space.stem.kernel_size
    require(
        3 <= stem_size <= LARGEST_KERNEL and stem_size % 2 == 1,
        f"stem's kernel_size is odd, at least 3 and at most {LARGEST_KERNEL}",
        stem_size,
    )
    droppable = _check_stages(space, require)
    widest = space.stem.max_width
    for index, block in enumerate(space.blocks):
        name = f"blocks.{index}"
        check_width(name, block.width, block.max_width)
        if block.expansion or block.max_expansion:
            check_width(f"{name}.expansion", block.expansion, block.max_expansion)
        sizes = (block.width, block.expansion), (block.max_width, block.max_expansion)
        check_fixed(name, block.searched, *sizes)
        check_fixed(name, space.search_widths, block.width, block.max_width)
        require(block.stride in (1, 2), f"{name}'s stride is 1 or 2", block.stride)
        require(
            block.kernel_size in kernels,
            f"{name}'s kernel_size is one of {kernels}",
            block.kernel_size,
        )
        check_among(f"{name}'s activation", block.activation, ACTIVATIONS)
        check_among(f"{name}'s kind", block.kind, KINDS)
        dense = block.kind != "inverted_residual"
        smallest = kernels[0] if block.searched else block.kernel_size
        require(not dense or smallest >= 3, f"{name} is dense, its kernels 3 px or more", smallest)
        require(
            block.kind != "residual" or (bool(block.expansion) and not block.se),
            f"{name} is a plain residual block, which has an expansion and no se",
            (block.expansion, block.se),
        )
        require(
            not (dense and block.se) or bool(block.expansion),
            f"{name} has se, so a fused block needs an expansion",
            block.expansion,
        )
        if ratios and block.expansion and block.searched:
            allowed = space.ratio_values(index)
            rule = f"{name}'s expansion and maximum are one of {allowed} by expansion_ratios"
            both = (block.expansion, block.max_expansion)
            require(block.expansion in allowed and block.max_expansion == allowed[-1], rule, both)
        # Else a removed block would have to cut channels off, which no layer is left to do.
        require(
            space.join(index) != "bypass" or block.max_width >= widest,
            f"{name} has a bypass, so its max_width is at least its input's, {widest}",
            block.max_width,
        )
        require(
            index not in droppable
            or (space.join(index) == "residual" and block.max_width >= widest),
            f"{name} may be left out, so it has stride 1, a residual join and a max_width of at "
            f"least its input's, {widest}",
            (space.join(index), block.max_width),
        )
        widest = block.max_width


def _check_stages(
    space: InvertedResidualSpace, require: Callable[[bool, str, object], None]
) -> set[int]:
    """The blocks that a depth may leave out."""
    droppable: set[int] = set()
    for stage in space.stages:
        name = f"blocks.{stage.first}.depth"
        depths = stage.depths
        require(not space.bypass, f"{name} needs a space without bypass, bypass", space.bypass)
        require(
            list(depths) == sorted(set(depths)) and len(depths) > 1 and depths[0] >= 1,
            f"{name}s are two or more, ascending and at least 1",
            list(depths),
        )
        require(stage.depth in depths, f"{name} is one of {depths}", stage.depth)
        blocks = len(space.blocks) - stage.first
        require(depths[-1] <= blocks, f"{name} is at most its row's repeat", depths[-1])
        droppable |= set(range(stage.first + depths[0], stage.first + depths[-1]))
    return droppable
