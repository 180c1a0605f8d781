"""``netadapt virtual-phone``: a phone to try things with, where none is at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from netadapt.commands.options import Json, print_json

if TYPE_CHECKING:
    from netadapt.virtual_phone import PhoneDescription, VirtualPhone


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
    isolation: Annotated[
        Literal["namespaces", "paths"] | None,
        typer.Option(help="How its programs are kept to its folder; paths: not at all."),
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="List the bundled phones.")] = False,
    as_json: Json = False,
) -> None:
    """Run a virtual phone that adb connects to, until Ctrl-C.

    Lines typed meanwhile go wrong on cue, such as: cable_out 5 (docs/virtual-phone.md).

    Example: netadapt virtual-phone --phone galaxy_s20
    """
    from netadapt.android_runner.paths import cache_folder
    from netadapt.virtual_phone.serving import describe, serve

    if show_list:
        _list(as_json)
        return
    described = describe(phone, serial)
    root = folder or cache_folder() / "virtual-phone" / f"{described.name}-{described.serial}"

    def announce(on: VirtualPhone) -> None:
        if as_json:
            record = _record(described) | {"address": on.address, "isolation": on.isolation}
            typer.echo(json.dumps(record))  # in one line: it is read while the phone runs
        else:
            typer.echo(on.address)
        typer.echo(
            f"a virtual {described.manufacturer} {described.model} is on; in another terminal: "
            f"netadapt profile --device {on.address} ...; Ctrl-C switches it off",
            err=True,
        )

    serve(described, root, port, announce, isolation)


def _list(as_json: bool) -> None:
    from netadapt.virtual_phone import PhoneDescription, bundled_names

    known = [PhoneDescription.bundled(name) for name in bundled_names()]
    if as_json:
        print_json([_record(each) for each in known])
        return
    for each in known:
        cores = " + ".join(str(len(cluster.cores)) for cluster in each.clusters)
        typer.echo(
            f"{each.name}: {each.manufacturer} {each.model}, Android {each.android}, "
            f"{each.soc}, {cores} cores"
        )


def _record(described: PhoneDescription) -> dict[str, object]:
    return {
        "name": described.name,
        "serial": described.serial,
        "manufacturer": described.manufacturer,
        "model": described.model,
        "android": described.android,
        "soc": described.soc,
        "clusters": [list(cluster.cores) for cluster in described.clusters],
    }
