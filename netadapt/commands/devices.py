"""``netadapt devices``: what latencies can be measured on."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from netadapt.commands.options import Json, print_json
from netadapt.console import progress
from netadapt.text import one_line


def devices(
    connect: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="Have adb connect to this phone first."),
    ] = None,
    adb: Annotated[
        bool, typer.Option("--adb", help="Only print where the adb is that is used.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the devices that latencies can be measured on.

    This machine and every phone that adb knows, also those that cannot be used yet, each with what
    to do about it. adb comes along; for what else it can do, such as pairing, --adb prints where it
    is.

    Example: netadapt devices

    \b
    netadapt devices --connect 192.168.1.20:41529
    $(netadapt devices --adb) pair 192.168.1.20:37105
    """
    from netadapt import device_list

    if adb:
        from netadapt.android_runner.phone import find_adb

        path = str(find_adb().path)
        if as_json:
            print_json({"adb": path})
        else:
            typer.echo(path)
        return
    shown = progress()
    device_list.build_first(shown)
    for address in connect or []:
        shown.say(device_list.connect(address))
    with shown.step("Asking the devices"):
        found, no_phones = device_list.list_devices()
    if as_json:
        print_json([device_list.as_record(device) for device in found])
    else:
        for device in found:
            typer.echo(str(device))
    if no_phones:
        sys.stderr.write(f"netadapt: no phones: {one_line(no_phones)}\n")
