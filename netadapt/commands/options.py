"""What several commands share: their options, the run they mean, JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from netadapt.android_runner.device import Device
    from netadapt.config import RunConfig
    from netadapt.console import Progress

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Run = Annotated[
    Path | None,
    typer.Argument(
        metavar="RUN",
        help="A run's TOML file, or the folder of a run to resume; not given, the demo's run.",
    ),
]
Folder = Annotated[
    Path | None, typer.Option(help="Where results go, instead of the run's own folder.")
]
DEVICE = "host, phone (the only one), a serial, a table (.sqlite) or package.module:Class"
"""What names a device, for the help of options; `netadapt.devices` reads it."""

Cpus = Annotated[
    str | None,
    typer.Option(help="Cores to pin to, such as 2,3; or a phone's big or little ones."),
]
Wait = Annotated[
    float | None,
    typer.Option(min=0, metavar="SECONDS", help="How long a lost phone is waited for."),
]
ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="file.py:name or package.module:name (a torch module, or what makes one without "
        "arguments), timm:name, a model.pt2 or a program.pte.",
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input", metavar="SIZES", help="Sizes of an input, such as 1,3,224,224; one for each."
    ),
]
Rewrites = Annotated[
    list[str] | None,
    typer.Option(
        "--rewrite",
        metavar="NAME",
        help="An exact rewrite for operators that XNNPACK lacks: split_as_slices, "
        "hardsigmoid_with_maps or nearest_as_product; again for several.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what there is to do and how long it takes; no more.")
]
TableFile = Annotated[
    Path,
    typer.Argument(metavar="TABLE", help="A latency table (.sqlite), or the folder of a run."),
]
ProvenanceNumber = Annotated[
    int | None,
    typer.Option(
        "--provenance",
        metavar="N",
        help="Rows of this provenance, numbered as `netadapt table show` prints them.",
    ),
]


def read_run(
    run: Path | None,
    options: Mapping[str, Mapping[str, object]],
    *,
    otherwise: RunConfig | None = None,
) -> RunConfig:
    """The run's configuration; `options`, by section and key, replace its own where not None.

    Parameters
    ----------
    otherwise: what is meant where no run is named; not given, the demo's run.
    """
    from netadapt.config import demo_config, read_config
    from netadapt.runs.folder import RunFolder

    if run is None:
        config = otherwise or demo_config()
    elif run.is_dir():
        config = RunFolder(run).read_config().changed({"run": {"folder": str(run)}})
    else:
        config = read_config(run)
    return config.changed(options)


def parse_cpus(text: str | None) -> object:
    """`2,3` as a list; a name, and what is neither, as it is."""
    if text is None or not all(part.strip().isdecimal() for part in text.split(",")):
        return text
    return [int(part) for part in text.split(",")]


def kept_in(folder: Path | None) -> dict[str, dict[str, object]]:
    """What `--folder` changes in a run: where its results go."""
    return {"run": {"folder": None if folder is None else str(folder)}}


def open_device(
    name: str, threads: int, cpus: str | None, wait: float | None, shown: Progress
) -> tuple[Device, tuple[int, ...] | None]:
    """The device that `--device` names, and the cores that `--cpus` pins to.

    This machine's runner is built first where there is none.
    """
    from netadapt import device_list
    from netadapt.checked import validated
    from netadapt.devices import HOST, DeviceSettings, make_device

    options = {"id": name, "threads": threads, "cpus": parse_cpus(cpus), "wait_s": wait}
    given = {key: value for key, value in options.items() if value is not None}
    settings = validated(DeviceSettings, given, "device")
    if settings.id == HOST:
        device_list.build_first(shown)
    return make_device(settings), settings.pinned


def print_json(value: object) -> None:
    """A command's result as one JSON document on standard output."""
    typer.echo(json.dumps(value, indent=2))
