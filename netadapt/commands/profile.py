"""``netadapt profile``: kernels and networks into a latency table."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netadapt.commands.options import (
    DEVICE,
    Cpus,
    DryRun,
    Json,
    Wait,
    kept_in,
    parse_cpus,
    print_json,
    read_run,
)
from netadapt.console import progress

if TYPE_CHECKING:
    from netadapt.config import RunConfig
    from netadapt.runs.profile_plan import Forecast


def profile(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN",
            help="A run's TOML file or folder; not given, the table is made by itself, called "
            "after the space and the device.",
        ),
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="The table to fill, instead of the usual one.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where the table goes, instead of the run's own folder or this one."),
    ] = None,
    space: Annotated[str | None, typer.Option(help="A space's name or TOML file.")] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            help=f"A device: {DEVICE}. Give it several times to profile several at once, each into "
            "a table of its own."
        ),
    ] = None,
    kernels: Annotated[
        int | None,
        typer.Option(
            help="Single kernels to measure. The reference's and the corners of every type are "
            "always measured, so that a small number is exceeded."
        ),
    ] = None,
    networks: Annotated[int | None, typer.Option(help="Whole networks to measure.")] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option(help="Threads of the runtime. Several times: all of them into the table."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="PERCENT",
            help="Go on with what the predictor doubts most, until half of the kernels that were "
            "not measured are known to so many per cent, such as 5%.",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="How kernels become programs: xnnpack-fp32, or xnnpack_native-fp32, in the "
            "layout that they have inside a network and `netadapt time` measures them in."
        ),
    ] = None,
    cpus: Cpus = None,
    wait: Wait = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Time kernels and networks into a latency table.

    A sample of the space is measured, every kind of kernel and every corner among it. What the
    table holds under the same conditions is not measured again, so an interrupted run
    resumes when it is started again. The table of a run is in its folder; without a run it is
    SPACE-DEVICE.sqlite in the current folder.

    Example: netadapt profile --space digits --table digits.sqlite --kernels 200
    """
    from netadapt.config import RunConfig

    if table is not None and folder is not None:
        raise typer.BadParameter("a table's path says its folder; leave --table or --folder out")
    wish = _share(until)
    wanted = list(dict.fromkeys(device or []))
    counts = list(dict.fromkeys(threads or []))
    options: dict[str, dict[str, object]] = {
        **(kept_in(folder) if run is not None else {}),
        "space": {"name": space},
        "device": {
            "id": wanted[0] if wanted else None,
            "threads": counts[0] if counts else None,
            "cpus": parse_cpus(cpus),
            "wait_s": wait,
        },
        "sample": {"kernels": kernels, "networks": networks},
        "profile": {"recipe": recipe},
    }
    config = read_run(run, options, otherwise=RunConfig())
    place = _Place(config if run is not None else None, table, folder or Path())
    if len(wanted) > 1:
        if dry_run:
            raise typer.BadParameter("--dry-run is of one device; name one --device")
        if wish is not None:
            raise typer.BadParameter("--until is of one device; name one --device")
        _profile_several(config, wanted, place, counts, as_json)
        return
    from netadapt import device_list
    from netadapt.devices import HOST
    from netadapt.runs.parts import Parts
    from netadapt.runs.profile_plan import plan_profile
    from netadapt.runs.profiling import profile_planned

    if config.device.id == HOST:
        device_list.build_first(progress())
    parts = Parts(config)
    plan = plan_profile(parts, counts)
    target = place.table(parts.space.name, parts.device.info().id)
    if dry_run:
        _tell(target, plan.forecast(target), as_json)
        return
    rounds = []
    with place.made():
        summary = profile_planned(plan, target, progress())
        if wish is not None:
            from netadapt.runs.learning import profile_until

            for run_parts in plan.runs:
                rounds += profile_until(run_parts, plan.sample.pool, target, wish, progress())
    if as_json:
        learnt = {} if wish is None else {"rounds": [dataclasses.asdict(r) for r in rounds]}
        print_json({"table": str(target), **dataclasses.asdict(summary), **learnt})
        return
    for each in rounds:
        typer.echo(str(each))
    typer.echo(
        f"{target}: {summary.measured} measured ({summary.flagged} flagged), "
        f"{summary.present} there before, {len(summary.failures)} failed"
    )


def _share(percent: str | None) -> float | None:
    """`5%`, or `5`, as 0.05."""
    if percent is None:
        return None
    try:
        share = float(percent.strip().removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise typer.BadParameter(f"--until takes per cent above 0, got {percent!r}; e.g. 5%")
    return share


@dataclass(frozen=True, slots=True)
class _Place:
    """Where tables go. `run`: the run whose folder is meant, or None."""

    run: RunConfig | None
    given: Path | None
    folder: Path

    def table(self, space: str, device: str) -> Path:
        """The one table, of a device."""
        from netadapt.runs.folder import RunFolder, name_part

        if self.given is not None:
            return self.given
        if self.run is not None:
            return RunFolder(self.run.folder).table
        return self.folder / f"{name_part(space)}-{name_part(device)}.sqlite"

    def tables(self, space: str, devices: Sequence[str]) -> dict[str, Path] | None:
        """One for each of several devices; None where each has a run folder of its own."""
        from netadapt.runs.folder import name_part

        if self.given is not None:
            stem, end = self.given.stem, self.given.suffix
            return {d: self.given.with_name(f"{stem}-{name_part(d)}{end}") for d in devices}
        return None if self.run is not None else {d: self.table(space, d) for d in devices}

    @contextmanager
    def made(self) -> Iterator[None]:
        """The folder, once everything else is known to be right; a run's is ours alone within."""
        from netadapt.runs.folder import RunFolder

        with contextlib.ExitStack() as stack:
            if self.given is None and self.run is not None:
                folder = RunFolder(self.run.folder)
                stack.enter_context(folder.locked())
                folder.claim(self.run)
            elif self.given is None:
                self.folder.mkdir(parents=True, exist_ok=True)
            yield


def _tell(table: Path, forecast: Forecast, as_json: bool) -> None:
    if as_json:
        facts = {"programs": forecast.programs, **dataclasses.asdict(forecast)}
        print_json({"table": str(table), **facts})
    else:
        typer.echo(f"{table}: {forecast}")


def _profile_several(
    config: RunConfig, wanted: list[str], place: _Place, counts: list[int], as_json: bool
) -> None:
    from netadapt.errors import SomeDevicesFailedError
    from netadapt.runs.parts import Parts
    from netadapt.several import profile_each

    tables = place.tables(Parts(config).space.name, wanted)
    with contextlib.nullcontext() if tables is None else place.made():
        outcomes = profile_each(config, wanted, tables, counts, progress())
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
