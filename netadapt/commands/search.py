"""``netadapt search`` and ``netadapt demo``: a whole run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from netadapt.commands.options import (
    Cpus,
    DryRun,
    Folder,
    Json,
    Run,
    Wait,
    kept_in,
    parse_cpus,
    print_json,
    read_run,
)
from netadapt.commands.report import write_report
from netadapt.console import progress
from netadapt.text import LatencyUnit, quantity

if TYPE_CHECKING:
    from netadapt.config import RunConfig


def search(
    run: Run = None,
    folder: Folder = None,
    device: Annotated[
        str | None, typer.Option(help="A device's id: host, phone (the only one) or a serial.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of the runtime.")] = None,
    cpus: Cpus = None,
    wait: Wait = None,
    loop: Annotated[
        str | None,
        typer.Option(
            help="What the device measures during the search: predictor (nothing), accepted (the "
            "network each iteration keeps) or top_k (the best candidates of each iteration)."
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Candidates to measure in each iteration of loop top_k.")
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Search a network that meets a budget.

    This is the whole run: time kernels, fit the predictor, train the super-network, search, train
    the found network and those it is compared with, time them, report. Steps that the run's folder
    holds already are not done again.

    Example: netadapt search my-run.toml --loop top_k
    """
    options: dict[str, dict[str, object]] = {
        **kept_in(folder),
        "device": {"id": device, "threads": threads, "cpus": parse_cpus(cpus), "wait_s": wait},
        "search": {"loop": loop, "top_k": top_k},
    }
    config = read_run(run, options)
    _tell_plan(config, as_json) if dry_run else run_search(config, as_json)


def demo(folder: Folder = None, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Do a whole run on handwritten digits.

    This machine is the device; it takes about ten minutes on two cores.

    Example: netadapt demo --folder runs/demo
    """
    config = read_run(None, kept_in(folder))
    _tell_plan(config, as_json) if dry_run else run_search(config, as_json)


def _tell_plan(config: RunConfig, as_json: bool) -> None:
    from netadapt.folder import RunFolder
    from netadapt.run_plan import plan_run

    with progress().step("Planning"):
        forecast = plan_run(config, RunFolder(config.folder))
    if as_json:
        print_json({"folder": str(config.folder), **dataclasses.asdict(forecast)})
        return
    for line in forecast.lines():
        typer.echo(f"{config.folder}: {line}")


def run_search(config: RunConfig, as_json: bool) -> None:
    from netadapt import pipeline
    from netadapt.folder import RunFolder

    folder = RunFolder(config.folder)
    shown = progress()
    result = pipeline.run(config, folder, shown)
    page = write_report(folder, None)
    if as_json:
        print_json(result.model_dump(mode="json"))
        return
    typer.echo(f"{'':<12} {result.metric:>10} {'measured':>10} {'MACs':>8} {'params':>8}")
    several = len(result.searches) > 1
    networks = {"reference": result.reference}
    for one in result.searches:
        which = f" {one.label}" if several else ""
        networks[f"found{which}"] = one.found
        if one.scaled is not None:
            networks[f"scaled{which}"] = one.scaled
    budgets = [one.budget_ms for one in result.searches if one.budget_ms is not None]
    unit = LatencyUnit.of([*(n.measured_ms for n in networks.values()), *budgets])
    for label, network in networks.items():
        typer.echo(
            f"{label:<12} {network.accuracy:10.4f} {unit.text(network.measured_ms):>10} "
            f"{quantity(network.macs):>8} {quantity(network.params):>8}"
        )
    for one in result.searches:
        if one.budget_ms is not None:
            label = f"budget {one.label}" if several else "budget"
            typer.echo(f"{label:<12} {'':>10} {unit.text(one.budget_ms):>10}")
    typer.echo(f"report       {page}")
