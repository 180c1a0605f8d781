"""``netadapt reference``: published networks on this device, to hold one's own against."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netadapt.commands.options import DEVICE, Cpus, Json, Wait, open_device, print_json
from netadapt.console import progress
from netadapt.errors import ConfigError
from netadapt.text import threads as said

if TYPE_CHECKING:
    from netadapt.profiler.model_timing import ModelTiming
    from netadapt.reference import ReferenceNetwork


def reference(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NETWORK]...", help="Names; not given, all that come along."),
    ] = None,
    only_list: Annotated[
        bool, typer.Option("--list", help="Say what is known of them; no device is asked.")
    ] = False,
    device: Annotated[str, typer.Option(help=f"A device: {DEVICE}.")] = "host",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    table: Annotated[
        Path | None,
        typer.Option(
            help="A latency table (.sqlite) that the rows go to, and come from next time."
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="Accuracy against latency, as a picture (.png, .svg), of those with ImageNet's "
            "top-1."
        ),
    ] = None,
    cpus: Cpus = None,
    wait: Wait = None,
    as_json: Json = False,
) -> None:
    """Time published networks on a device: accuracy as published, latency as measured here.

    They are built without weights, most of them by timm (pip install 'netadapt[reference]'),
    exported and lowered as your own are. Lowering one takes some 20 seconds, the first time.
    `netadapt report` puts those of a table beside a run's own networks.

    Example: netadapt reference MobileNetV3-Large EfficientNet-B0

    Example: netadapt reference --device phone --table pixel.sqlite --picture reference.png
    """
    from netadapt.reference import reference_networks

    networks = reference_networks(names or [])
    drawn = {n.name: n.top1 for n in networks if n.top1 is not None}
    if picture is not None and not drawn:
        raise ConfigError(
            "a picture is of networks with an ImageNet top-1, got "
            f"{', '.join(n.name for n in networks)}; name others or leave --picture out"
        )
    timings: dict[str, ModelTiming] = {}
    where = ""
    if not only_list:
        from netadapt.models import lower_model
        from netadapt.profiler.lowering import ProgramCache
        from netadapt.profiler.lowering.xnnpack import XnnpackFp32
        from netadapt.profiler.model_timing import ModelTimer
        from netadapt.profiler.table import LatencyTable

        shown = progress()
        measured, pinned = open_device(device, threads, cpus, wait, shown)
        where = measured.info().model
        cache, lowering = ProgramCache(), XnnpackFp32()
        with LatencyTable(table) as rows, shown.step("Timing reference networks") as update:
            timer = ModelTimer(measured, rows, cache, threads=threads, cpus=pinned)
            for done, network in enumerate(networks):
                update(done, len(networks))
                model = lower_model(network.model, [network.input_shape], cache, lowering)
                timings[network.name] = timer.time(network.name, model.program)
            update(len(networks), len(networks))
        if picture is not None:
            from netadapt.report.figures.reference import draw_reference

            points = {name: (timings[name].ms, top1) for name, top1 in drawn.items()}
            draw_reference(points, where).savefig(picture, bbox_inches="tight", dpi=150)
            if others := [n.name for n in networks if n.name not in drawn]:
                shown.say(f"the picture is of ImageNet's top-1, not of {', '.join(others)}")
    if as_json:
        print_json(
            {"device": where, "networks": [_record(n, timings.get(n.name)) for n in networks]}
        )
        return
    if where:
        typer.echo(f"on {where}, {said(threads)}")
    typer.echo(
        f"{'network':<18} {'as published':<25} {'M MACs':>7} {'M params':>8} {'px':>4} {'ms':>9}"
    )
    for network in sorted(
        networks, key=lambda n: timings[n.name].ms if timings else -(n.top1 or 0.0)
    ):
        timing = timings.get(network.name)
        ms = "" if timing is None else f"{timing.ms:9.3f}"
        doubt = "" if timing is None or timing.quality == "ok" else f" [{timing.quality}]"
        typer.echo(
            f"{network.name:<18} {network.metrics[0]!s:<25} {network.macs:7.0f} "
            f"{network.parameters / 1e6:8.2f} {network.input:4} {ms}{doubt}"
        )


def _record(network: ReferenceNetwork, timing: ModelTiming | None) -> dict[str, object]:
    measured = {} if timing is None else {"ms": timing.ms, "quality": timing.quality}
    return dataclasses.asdict(network) | measured
