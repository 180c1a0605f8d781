"""``netadapt profile``: kernels and networks into a latency table."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netadapt.commands.options import Cpus, Json, Run, Wait, parse_cpus, print_json, read_run
from netadapt.console import progress

if TYPE_CHECKING:
    from netadapt.config import RunConfig


def profile(
    run: Run = None,
    table: Annotated[
        Path | None, typer.Option(help="The table to fill, instead of the run folder's.")
    ] = None,
    space: Annotated[str | None, typer.Option(help="A space's name or TOML file.")] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="A device's id: host, phone (the only one) or a serial. Give it several times "
            "to profile several at once, each into a table of its own."
        ),
    ] = None,
    kernels: Annotated[int | None, typer.Option(help="Single kernels to measure.")] = None,
    networks: Annotated[int | None, typer.Option(help="Whole networks to measure.")] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option(help="Threads of the runtime. Several times: all of them into the table."),
    ] = None,
    cpus: Cpus = None,
    wait: Wait = None,
    as_json: Json = False,
) -> None:
    """Time kernels and networks into a latency table.

    A sample of the space is measured, every kind of kernel and every corner among it. What the
    table holds under the same conditions is not measured again, so a run that was broken off goes
    on when it is started again.

    Example: netadapt profile --space digits --table digits.sqlite --kernels 200
    """
    wanted = list(dict.fromkeys(device or []))
    counts = list(dict.fromkeys(threads or []))
    config = read_run(
        run,
        {
            "space": {"name": space},
            "device": {
                "id": wanted[0] if wanted else None,
                "threads": counts[0] if counts else None,
                "cpus": parse_cpus(cpus),
                "wait_s": wait,
            },
            "profile": {"kernels": kernels, "networks": networks},
        },
    )
    if len(wanted) > 1:
        _profile_several(config, wanted, table, counts, as_json)
        return
    from netadapt import pipeline
    from netadapt.folder import RunFolder

    folder = RunFolder(config.folder)
    if table is None:
        folder.claim(config)
    target = table or folder.table
    summary = pipeline.profile_threads(config, counts, target, progress())
    if as_json:
        print_json({"table": str(target), **dataclasses.asdict(summary)})
        return
    typer.echo(
        f"{target}: {summary.measured} measured ({summary.flagged} flagged), "
        f"{summary.present} there before, {len(summary.failures)} failed"
    )


def _profile_several(
    config: RunConfig, wanted: list[str], table: Path | None, counts: list[int], as_json: bool
) -> None:
    from netadapt.errors import SomeDevicesFailedError
    from netadapt.several import profile_each

    outcomes = profile_each(config, wanted, table, counts, progress())
    if as_json:
        print_json([dataclasses.asdict(outcome) for outcome in outcomes])
    else:
        for outcome in outcomes:
            done = outcome.summary or {}
            typer.echo(
                f"{outcome.device}: {outcome.error}"
                if outcome.error
                else f"{outcome.device}: {done['table']}, {done['measured']} measured "
                f"({done['flagged']} flagged), {done['present']} there before, "
                f"{len(done['failures'])} failed"
            )
    if failed := [outcome.device for outcome in outcomes if outcome.error]:
        raise SomeDevicesFailedError(
            f"all devices must be measured, {', '.join(failed)} of {len(outcomes)} were not; run "
            "the same command again when they are ready"
        )
