"""``netadapt search`` and ``netadapt demo``: a whole run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netadapt.commands.options import (
    DEVICE,
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
from netadapt.errors import ConfigError
from netadapt.text import LatencyUnit, quantity

if TYPE_CHECKING:
    from netadapt.config import RunConfig
    from netadapt.runs.parts import Parts


def search(
    run: Run = None,
    folder: Folder = None,
    device: Annotated[str | None, typer.Option(help=f"A device: {DEVICE}.")] = None,
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
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FOLDER",
            help="The folder of a run, finished or not, that gets the budgets of --budget as well.",
        ),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BUDGET",
            help="A budget to add to the run of --from: a share of the reference's latency, or "
            "milliseconds (12ms) where its others are. May be given several times.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Train for so many steps only, in every training: to try a run's whole line.",
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Search a network that meets a budget.

    This is the whole run: time kernels, fit the predictor, train the super-network, search, train
    the found network and those it is compared with, time them, report. Steps that the run's folder
    holds already are not done again. With --from and --budget, a budget is added to a run: only the
    search for it and the trainings of what it finds are done.

    Example: netadapt search my-run.toml --loop top_k

    Example: netadapt search my-run.toml --steps 3 --folder runs/trial

    Example: netadapt search --from runs/demo --budget 0.35

    Example: torchrun --nproc-per-node 4 -m netadapt search my-run.toml
    """
    options: dict[str, dict[str, object]] = {
        **kept_in(folder),
        "device": {"id": device, "threads": threads, "cpus": parse_cpus(cpus), "wait_s": wait},
        "search": {"loop": loop, "top_k": top_k},
    }
    if (source is None) == bool(budget) or (source and (run or folder or dry_run or steps)):
        raise ConfigError(
            "--from FOLDER and --budget BUDGET go together, without another run, --folder, --steps "
            "or --dry-run; try: netadapt search --from runs/demo --budget 0.35"
        )
    if source is not None:
        from netadapt.runs.folder import RunFolder

        RunFolder(source).read_config()  # so that what is no run's folder is not taken for a file
    config = read_run(source or run, options)
    if budget:
        config = config.with_budgets(budget)
    if steps is not None:
        config = config.with_steps(steps)
    if dry_run:
        _tell_plan(config, as_json)
    else:
        run_search(config, as_json, adding=bool(budget))


def demo(folder: Folder = None, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Do a whole run on handwritten digits.

    This machine is the device; it takes about six minutes on two cores.

    Example: netadapt demo --folder runs/demo
    """
    config = read_run(None, kept_in(folder))
    _tell_plan(config, as_json) if dry_run else run_search(config, as_json)


def _tell_plan(config: RunConfig, as_json: bool) -> None:
    from netadapt.runs.folder import RunFolder
    from netadapt.runs.forecast import plan_run
    from netadapt.runs.parts import Parts

    with progress().step("Planning"):
        forecast = plan_run(Parts(config), RunFolder(config.folder))
    if as_json:
        print_json({"folder": str(config.folder), **dataclasses.asdict(forecast)})
        return
    for line in forecast.lines():
        typer.echo(f"{config.folder}: {line}")


def run_search(config: RunConfig, as_json: bool, *, adding: bool = False) -> None:
    """Do a run, write its report, print what it found; `adding` as in `netadapt.runs.run`.

    Of processes that torchrun started, the first does it and the others help.
    """
    from netadapt.runs.parts import Parts
    from netadapt.search import ranks

    with ranks.joined() as own:
        parts = Parts(config)
        if own.number == 0:
            _run_and_tell(parts, as_json, adding=adding)
        else:
            ranks.follow(parts.task, parts.compute)


def _run_and_tell(parts: Parts, as_json: bool, *, adding: bool) -> None:
    from netadapt import device_list
    from netadapt.devices import HOST
    from netadapt.runs.folder import RunFolder
    from netadapt.runs.run import run

    config = parts.config
    folder = RunFolder(config.folder)
    shown = progress()
    if config.device.id == HOST:
        device_list.build_first(shown)
    result = run(parts, folder, shown, adding=adding)
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
            f"{label:<12} {network.test_metric:10.4f} {unit.text(network.measured_ms):>10} "
            f"{quantity(network.macs):>8} {quantity(network.params):>8}"
        )
    for one in result.searches:
        if one.budget_ms is not None:
            label = f"budget {one.label}" if several else "budget"
            typer.echo(f"{label:<12} {'':>10} {unit.text(one.budget_ms):>10}")
    typer.echo(f"report       {page}")
