"""``netadapt devices``: what latencies can be measured on."""

from __future__ import annotations

import sys

import typer

from netadapt.commands.options import Json, print_json
from netadapt.console import progress
from netadapt.text import one_line


def devices(as_json: Json = False) -> None:
    """List the devices that latencies can be measured on.

    This machine and every phone that adb knows, also those that cannot be used yet, each with what
    to do about it.

    Example: netadapt devices
    """
    from netadapt.device_list import as_record, list_devices

    with progress().step("Asking the devices"):
        found, no_phones = list_devices()
    if as_json:
        print_json([as_record(device) for device in found])
    else:
        for device in found:
            typer.echo(str(device))
    if no_phones:
        sys.stderr.write(f"netadapt: no phones: {one_line(no_phones)}\n")
