"""Networks of any space that its dimensions alone lead to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netadapt.search.space import Arch, Dimension, Space


def smallest(space: Space) -> Arch:
    """The arch with every dimension at its smallest value."""
    arch = space.full()
    for dimension in space.dimensions:
        options = space.smaller(arch, dimension)
        arch = options[-1] if options else arch
    return arch


def larger(space: Space, arch: Arch, dimension: Dimension) -> tuple[Arch, ...]:
    """All archs that are larger in `dimension` alone, largest first."""
    value = space.value(arch, dimension)
    if not value:  # a removed block stays removed
        return ()
    values = (v for v in reversed(dimension.values) if v > value)
    return tuple(space.with_value(arch, dimension, v) for v in values)
