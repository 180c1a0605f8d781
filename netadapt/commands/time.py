"""``netadapt time``: how long any model takes, and which of its layers."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netadapt.commands.options import DEVICE, Cpus, Json, Wait, parse_cpus, print_json
from netadapt.console import progress

if TYPE_CHECKING:
    from netadapt.models import Model
    from netadapt.profiler.graph import ModelGraph
    from netadapt.profiler.model_timing import ModelTiming


def time(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="file.py:name or package.module:name (a torch module, or what makes one without "
            "arguments), a model.pt2 or a program.pte.",
        ),
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="SIZES", help="Sizes of an input, such as 1,3,224,224; one for each."
        ),
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Every operation by itself, too, by the model's names.")
    ] = False,
    device: Annotated[str, typer.Option(help=f"A device: {DEVICE}.")] = "host",
    threads: Annotated[
        str, typer.Option(metavar="N,N", help="Threads of the runtime, such as 1,4.")
    ] = "1",
    cpus: Cpus = None,
    wait: Wait = None,
    as_json: Json = False,
) -> None:
    """Time a model of your own on a device, as a whole or operation by operation.

    The model is exported and lowered for XNNPACK in fp32. With --layers, each operation that the
    runtime executes is timed by itself, in the layout that it has inside the model, and listed by
    the model's own module names; what does not run in XNNPACK is named with what to do about it.

    Example: netadapt time my_net.py:Net --input 1,3,224,224 --layers
    """
    from netadapt import device_list
    from netadapt.checked import validated
    from netadapt.devices import HOST, DeviceSettings, make_device
    from netadapt.models import load_model, read_shape
    from netadapt.profiler.lowering import ProgramCache
    from netadapt.profiler.lowering.xnnpack import XnnpackFp32
    from netadapt.profiler.model_timing import time_model
    from netadapt.profiler.profile import ProfileSettings, sentinel_program

    counts = _counts(threads)
    options = {"id": device, "threads": max(counts), "cpus": parse_cpus(cpus), "wait_s": wait}
    given = {name: value for name, value in options.items() if value is not None}
    settings = validated(DeviceSettings, given, "device")
    shown = progress()
    if settings.id == HOST:
        device_list.build_first(shown)
    lowering = XnnpackFp32()
    with shown.step("Lowering the model"):
        loaded = load_model(model, [read_shape(text) for text in inputs or []], lowering)
        program, graph = loaded.program, None
        if loaded.exported is not None:
            program, graph = lowering.to_program_and_graph(loaded.exported)
    assert program is not None
    if layers and graph is None:
        raise typer.BadParameter("a .pte does not say what it executes; name what it was made of")
    measured = make_device(settings)
    sentinel = sentinel_program(ProgramCache(), lowering)
    found = []
    for count in counts:
        spec = ProfileSettings().spec(threads=count, cpus=settings.pinned, networks=True)
        spec = dataclasses.replace(spec, sentinel=sentinel)
        with shown.step(f"Timing {'the model' if not layers else 'its operations'}") as update:
            found.append(
                time_model(measured, program, graph if layers else None, spec, on_progress=update)
            )
    if as_json:
        print_json(_record(loaded, graph, measured.info().model, found))
    else:
        _tell(loaded, graph, measured.info().model, found)


def _counts(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) >= 1 for word in words):
        raise typer.BadParameter(f"threads are numbers from 1 on, got {text!r}; e.g. --threads 1,4")
    return list(dict.fromkeys(map(int, words)))


def _tell(model: Model, graph: ModelGraph | None, device: str, found: list[ModelTiming]) -> None:
    from netadapt.model_tree import lines, outside_lines

    facts = [model.name]
    if graph is not None:
        facts.append(f"{graph.macs / 1e6:.1f} M multiply-accumulates")
    if model.parameters is not None:
        facts.append(f"{model.parameters:,} parameters")
    typer.echo(f"{', '.join(facts)}; on {device}")
    for timing in found:
        threads = f"{timing.threads} thread{'' if timing.threads == 1 else 's'}"
        doubt = "" if timing.quality == "ok" else f", {timing.quality}: take it with care"
        typer.echo(
            f"{threads}: {timing.ms:.4f} ms, two runs apart by {abs(timing.repeat_dev):.1%}{doubt}"
        )
        if timing.nodes:
            for line in lines(timing):
                typer.echo(line)
            typer.echo(
                f"{timing.sum_ms:9.4f} in sum, {timing.sum_ms / timing.ms - 1:+.1%} against the "
                "whole"
            )
    if graph is not None:
        calls = len(graph.calls)
        typer.echo(
            f"{len(graph.nodes)} operations in {calls} call{'' if calls == 1 else 's'} of XNNPACK, "
            f"{len(graph.outside)} outside of it"
        )
        for line in outside_lines(graph.outside):
            typer.echo(f"  {line}")


def _record(
    model: Model, graph: ModelGraph | None, device: str, found: list[ModelTiming]
) -> dict[str, Any]:
    return {
        "model": model.name,
        "device": device,
        "parameters": model.parameters,
        "macs": None if graph is None else graph.macs,
        "calls": None if graph is None else len(graph.calls),
        "outside": [] if graph is None else [dataclasses.asdict(each) for each in graph.outside],
        "timings": [
            {
                "threads": timing.threads,
                "ms": timing.ms,
                "repeat_dev": timing.repeat_dev,
                "quality": timing.quality,
                "sum_ms": timing.sum_ms if timing.nodes else None,
                "nodes": [
                    {
                        "module": each.node.module,
                        "operation": each.node.described,
                        "ms": each.ms,
                        "macs": each.node.macs,
                        "quality": each.quality,
                    }
                    for each in timing.nodes
                ],
            }
            for timing in found
        ],
    }
