"""``netadapt data``: look through folders of pictures, and pack them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from netadapt.commands.options import Json, print_json
from netadapt.console import progress

data_app = typer.Typer(
    help="Look through a folder of pictures, or pack it.\n\nExample: netadapt data check photos",
    rich_markup_mode=None,
)

Images = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER",
        help="Pictures by class: train/CLASS and val/CLASS (or test/CLASS), or CLASS alone.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=0, help="Processes that decode; not given, one for each core."),
]


@data_app.command()
def check(folder: Images, workers: Workers = None, as_json: Json = False) -> None:
    """Decode every picture once: how many there are of each class, and which are broken.

    Exit code 2 where one is. A run leaves broken ones out with skip_broken = true in
    [task.image_folder].

    Example: netadapt data check photos
    """
    from netadapt.images import check_images
    from netadapt.search.errors import ImageError

    with progress().step("Decoding") as update:
        found = check_images(folder, workers, update)
    if as_json:
        plain = dataclasses.asdict(found) | {"root": str(found.root), "pictures": found.pictures}
        print_json(plain)
    else:
        typer.echo(f"{found.root}: {found.pictures} pictures of {len(found.train)} classes")
        wide = max(map(len, found.train))
        typer.echo(f"{'class':<{wide}} {'train':>8} {'test' if found.test else '':>8}".rstrip())
        for name, count in found.train.items():
            tested = str(found.test[name]) if found.test else ""
            typer.echo(f"{name:<{wide}} {count:8} {tested:>8}".rstrip())
        for place, why in found.broken.items():
            typer.echo(f"broken: {place} ({why}); mend or remove it")
    if found.broken:
        raise ImageError(
            f"pictures must decode, {len(found.broken)} of {found.pictures} do not; mend or remove "
            "them, or set skip_broken = true in [task.image_folder]"
        )


@data_app.command()
def pack(
    folder: Images,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A file ending in .arrow.")],
    side: Annotated[
        int, typer.Option(min=1, max=4096, help="The shorter side of a picture at most, in pixels.")
    ] = 256,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out what cannot be decoded.")
    ] = False,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Put all pictures into one file, made smaller: read faster, and copied as one.

    The file takes the folder's place as root in [task.image_folder].

    Example: netadapt data pack photos photos.arrow
    """
    from netadapt.images import pack_images

    with progress().step("Packing") as update:
        left_out = pack_images(folder, out, side, workers, update, skip_broken=skip_broken)
    size = out.stat().st_size
    if as_json:
        print_json({"out": str(out), "bytes": size, "left_out": left_out})
        return
    for place, why in left_out.items():
        typer.echo(f"left out: {place} ({why})")
    typer.echo(f"{out}: {size / 1e6:.1f} MB")
