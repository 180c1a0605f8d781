"""``netadapt virtual-phone``: a phone to try things with, where none is at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def virtual_phone(
    phone: Annotated[
        str, typer.Option(help="A bundled phone (see --list) or a TOML file.")
    ] = "pixel_1",
    serial: Annotated[
        str | None, typer.Option(help="Its serial number, to have several of one kind.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where its files are; kept in the cache when not given.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    show_list: Annotated[bool, typer.Option("--list", help="List the bundled phones.")] = False,
) -> None:
    """Run a virtual phone that adb connects to, until Ctrl-C.

    Lines typed meanwhile go wrong on cue, such as: cable_out 5 (docs/virtual-phone.md).

    Example: netadapt virtual-phone --phone galaxy_s20
    """
    from android_runner.paths import cache_folder
    from android_runner.virtual_phone import PhoneDescription, bundled_names
    from android_runner.virtual_phone.serving import describe, serve

    if show_list:
        for name in bundled_names():
            known = PhoneDescription.bundled(name)
            cores = " + ".join(str(len(cluster.cores)) for cluster in known.clusters)
            typer.echo(
                f"{name}: {known.manufacturer} {known.model}, Android {known.android}, "
                f"{known.soc}, {cores} cores"
            )
        return
    described = describe(phone, serial)
    root = folder or cache_folder() / "virtual-phone" / f"{described.name}-{described.serial}"

    def tell(address: str) -> None:
        typer.echo(address)
        typer.echo(
            f"a virtual {described.manufacturer} {described.model} is on; in another terminal: "
            f"netadapt profile --device {address} ...; Ctrl-C switches it off",
            err=True,
        )

    serve(described, root, port, tell)
