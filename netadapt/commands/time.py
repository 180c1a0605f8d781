"""``netadapt time``: how long any model takes, and which of its layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netadapt.commands.options import (
    DEVICE,
    Cpus,
    Inputs,
    Json,
    ModelName,
    Rewrites,
    Wait,
    open_device,
    print_json,
)
from netadapt.console import progress
from netadapt.text import faster
from netadapt.text import threads as said

if TYPE_CHECKING:
    from netadapt.models import Model
    from netadapt.profiler.graph import Outside
    from netadapt.profiler.model_timing import ModelTiming


def time(
    model: ModelName,
    inputs: Inputs = None,
    rewrite: Rewrites = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Every operation by itself, too, by the model's names.")
    ] = False,
    device: Annotated[str, typer.Option(help=f"A device: {DEVICE}.")] = "host",
    threads: Annotated[
        str, typer.Option(metavar="N,N", help="Threads of the runtime, such as 1,4.")
    ] = "1",
    table: Annotated[
        Path | None,
        typer.Option(
            help="A latency table (.sqlite) that the rows go to, and come from next time."
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="A page (.html) with pictures of where the milliseconds go; times the layers, too."
        ),
    ] = None,
    cpus: Cpus = None,
    wait: Wait = None,
    as_json: Json = False,
) -> None:
    """Time a model of your own on a device, as a whole or operation by operation.

    The model is exported and lowered for XNNPACK in fp32. With --layers, each kernel that the
    runtime executes is timed by itself, in the layout that it has inside the model, and listed by
    the model's own module names; what does not run in XNNPACK is named with what to do about it.
    Where an exact rewrite changes something, the model is timed with it as well.

    Examples: netadapt time my_net.py:Net --input 1,3,224,224 --layers
    netadapt time timm:mobilenetv3_large_100 --device phone --table pixel.sqlite --report page.html
    """
    from netadapt.models import lower_model, read_shape, rewrite_model
    from netadapt.profiler.lowering import ProgramCache
    from netadapt.profiler.lowering.xnnpack import XnnpackFp32
    from netadapt.profiler.model_timing import ModelTimer
    from netadapt.profiler.table import LatencyTable
    from netadapt.runs.context import phases

    counts = _counts(threads)
    if report is not None and not report.absolute().parent.is_dir():
        raise typer.BadParameter(
            f"a page goes into a folder that is there, got {report}; create {report.parent}"
        )
    shown = progress()
    measured, pinned = open_device(device, max(counts), cpus, wait, shown)
    cache, lowering = ProgramCache(), XnnpackFp32()
    with shown.step("Lowering the model"):
        shapes = [read_shape(text) for text in inputs or []]
        lowered = lower_model(model, shapes, cache, lowering, rewrite or ())
    other = None
    if lowered.rewrites:
        with shown.step("Lowering the model rewritten"):
            other = rewrite_model(lowered, cache, lowering)
    parts = lowered.parts if layers or report is not None else ()
    found, others = [], []
    with LatencyTable(table) as rows:
        for count in counts:
            timer = ModelTimer(measured, rows, cache, threads=count, cpus=pinned)
            with phases(shown, "the model") as update:
                found.append(timer.time(lowered.name, lowered.program, parts, update))
            if other is not None:
                with phases(shown, "the model rewritten") as update:
                    others.append(timer.time(other.name, other.program, (), update))
    if report is not None:
        from netadapt.report.model_page import ModelReport, write_model_page

        page = ModelReport(lowered, measured.info(), tuple(found), tuple(others))
        write_model_page(page, report)
    if as_json:
        print_json(_record(lowered, measured.info().model, found, others))
    else:
        _tell(lowered, measured.info().model, found)
        for before, after in zip(found, others, strict=False):
            typer.echo(
                f"with {' '.join(f'--rewrite {name}' for name in lowered.rewrites)}: "
                f"{after.ms:.4f} ms, {faster(before.ms, after.ms)}, the same outputs"
            )


def _counts(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) >= 1 for word in words):
        raise typer.BadParameter(f"threads are numbers from 1 on, got {text!r}; e.g. --threads 1,4")
    return list(dict.fromkeys(map(int, words)))


def _tell(model: Model, device: str, found: list[ModelTiming]) -> None:
    from netadapt.model_tree import Leaf, lines, outside_lines

    typer.echo(f"{model.facts}; on {device}")
    for timing in found:
        doubt = "" if timing.quality == "ok" else f", {timing.quality}: take it with care"
        typer.echo(
            f"{said(timing.threads)}: {timing.ms:.4f} ms, two runs apart by "
            f"{abs(timing.repeat_dev):.1%}{doubt}"
        )
        if timing.parts:
            for line in lines([Leaf(each.part, each.ms, each.doubt) for each in timing.parts]):
                typer.echo(line)
            untimed = sum(each.ms is None for each in timing.parts)
            typer.echo(
                f"{timing.sum_ms:9.4f} in sum, {timing.sum_ms / timing.ms - 1:+.1%} against the "
                f"whole{f'; {untimed} could not be timed' if untimed else ''}"
            )
    if (graph := model.graph) is not None:
        calls = len(graph.calls)
        typer.echo(
            f"{len(graph.nodes)} operations in {calls} call{'' if calls == 1 else 's'} of XNNPACK, "
            f"{len(graph.outside)} outside of it"
        )
        for line in outside_lines(graph.outside):
            typer.echo(f"  {line}")


def _record(
    model: Model, device: str, found: list[ModelTiming], rewritten: list[ModelTiming]
) -> dict[str, Any]:
    graph = model.graph
    return {
        "model": model.name,
        "device": device,
        "parameters": model.parameters,
        "macs": None if graph is None else graph.macs,
        "calls": None if graph is None else len(graph.calls),
        "rewrites": {
            "names": model.rewrites,
            "ms": [timing.ms for timing in rewritten],
        },
        "outside": [] if graph is None else [_of_outside(each) for each in graph.outside],
        "timings": [
            {
                "threads": timing.threads,
                "ms": timing.ms,
                "repeat_dev": timing.repeat_dev,
                "quality": timing.quality,
                "sum_ms": timing.sum_ms if timing.parts else None,
                "kernels": [
                    {
                        "module": each.part.module,
                        "key": each.part.kernel.key,
                        "operation": each.part.described,
                        "ms": each.ms,
                        "macs": each.part.macs,
                        "doubt": each.doubt,
                    }
                    for each in timing.parts
                ],
            }
            for timing in found
        ],
    }


def _of_outside(operator: Outside) -> dict[str, str]:
    return {"op": operator.op, "module": operator.module, "where": operator.where}
