"""``netadapt spaces``: where networks can be searched."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from netadapt.commands.options import Json, print_json
from netadapt.text import quantity


def spaces(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SPACE]...", help="Names or TOML files; not given, all that come along."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List search spaces.

    Those that come along, or the ones named; a file of your own is checked by it. MACs and
    parameters are the reference network's.

    Example: netadapt spaces my_space.toml
    """
    from netadapt.space_list import list_spaces

    found = list_spaces(names or [])
    if as_json:
        print_json([dataclasses.asdict(space) for space in found])
        return
    wide = max(len(space.name) for space in found)
    typer.echo(
        f"{'space':<{wide}} {'input':>12} {'classes':>7} {'archs':>8} {'MACs':>8} {'params':>8}"
    )
    for space in found:
        shape = " x ".join(map(str, space.input_shape))
        typer.echo(
            f"{space.name:<{wide}} {shape:>12} {space.classes:7} {power(space.archs):>8} "
            f"{quantity(space.reference_macs):>8} {quantity(space.reference_params):>8}"
        )


def power(count: int) -> str:
    """A count of any size, at its order of magnitude where it is long: `81`, `2e+31`."""
    return str(count) if count < 10**6 else f"{count:.0e}"
