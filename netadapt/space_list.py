"""The search spaces there are, as a person and a program want to see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netadapt.search.space import Space
from netadapt.search.space_file import SPACES


@dataclass(frozen=True, slots=True)
class ListedSpace:
    """A line of `netadapt spaces`.

    Parameters
    ----------
    space: what `--space` takes.
    input_shape: channels, height and width in pixels of one image, at the largest resolution.
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


def _listed(wanted: str, space: Space) -> ListedSpace:
    reference = space.reference()
    _, channels, height, width = space.input_shape
    return ListedSpace(
        wanted,
        space.name,
        (channels, height, width),
        space.classes,
        space.count(),
        space.macs(reference),
        space.params(reference),
    )
