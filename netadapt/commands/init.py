"""``netadapt init``: a run file of one's own."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from netadapt.commands.options import DEVICE, Json, print_json


def init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="The run file to write.")] = Path(
        "my_run.toml"
    ),
    space: Annotated[
        str | None,
        typer.Option(
            help="A space's name or TOML file (`netadapt spaces`); not given, digits, or "
            "photographs with --pictures."
        ),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Pictures to train with, in a folder for each class."),
    ] = None,
    device: Annotated[str, typer.Option(help=f"A device: {DEVICE}.")] = "host",
    as_json: Json = False,
) -> None:
    """Write a run file of your own, every common key explained.

    A file that is there already is left as it is.

    Example: netadapt init my_run.toml --space digits --device host

    Example: netadapt init my_run.toml --pictures photos
    """
    from netadapt.run_template import write_run_file

    space = space or ("digits" if pictures is None else "photographs")
    note = write_run_file(file, space, device, pictures)
    if as_json:
        print_json({"run": str(file), "note": note})
        return
    typer.echo(f"{file}: edit it, then: {shlex.join(['netadapt', 'search', str(file)])}")
    if note:
        typer.echo(note, err=True)
