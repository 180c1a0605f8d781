"""The search spaces there are, as a person and a program want to see them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from netadapt.search.space import Space
from netadapt.search.space_file import SPACES


@dataclass(frozen=True, slots=True)
class ListedSpace:
    """A line of `netadapt spaces`.

    space: what `--space` takes. input_shape: channels, height and width in pixels of one image.
    archs: networks in the space.
    """

    space: str
    name: str
    input_shape: tuple[int, int, int]
    classes: int
    archs: int
    reference_macs: int
    reference_params: int


def list_spaces(wanted: Sequence[str] = ()) -> list[ListedSpace]:
    """Those `wanted`, names or TOML files, or all that come along. Raises `SpaceFileError`."""
    names = wanted or sorted(path.stem for path in SPACES.glob("*.toml"))
    return [_listed(name, Space.load(name)) for name in names]


def count_archs(space: Space) -> int:
    """Networks in the space; a removed block is one choice, whatever its other values were."""
    layers = 1
    blocks: dict[str, int] = defaultdict(lambda: 1)
    for dimension in space.dimensions:
        choices = sum(value > 0 for value in dimension.values)
        block, _, _ = dimension.name.removeprefix("blocks.").partition(".")
        if dimension.name.startswith("blocks."):
            blocks[block] *= choices
        else:
            layers *= choices
    present = (blocks[str(index)] + space.removable(index) for index in range(len(space.blocks)))
    return layers * math.prod(present)


def _listed(wanted: str, space: Space) -> ListedSpace:
    reference = space.reference()
    _, channels, height, width = space.input_shape
    return ListedSpace(
        wanted,
        space.name,
        (channels, height, width),
        space.classes,
        count_archs(space),
        space.macs(reference),
        space.params(reference),
    )
