"""The command line: each command parses, calls one function and prints.

Results go to standard output, with `--json` as one JSON document; progress and errors go to
standard error. Exit codes: 0 done, 1 a defect of this program, 2 bad input or surroundings, 130
broken off. Heavy imports happen inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shlex
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netadapt import __version__
from netadapt.console import configure_logging, progress
from netadapt.runner_commands import runner_app
from netadapt.text import milliseconds, one_line, quantity
from netadapt.virtual_phone_command import virtual_phone

if TYPE_CHECKING:
    from netadapt.config import RunConfig
    from netadapt.folder import RunFolder

BAD_INPUT, DEFECT, BROKEN_OFF = 2, 1, 130

# The class all complaints about arguments derive from: typer bundles it under a private name.
_UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    name="netadapt",
    help="Fit neural networks to a phone: time kernels, predict latency, search a network that "
    "meets a budget.\n\nExample: netadapt demo",
    no_args_is_help=False,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
table_app = typer.Typer(help="Look into a latency table.", rich_markup_mode=None)
app.add_typer(table_app, name="table")
app.add_typer(runner_app, name="runner")
app.command("virtual-phone")(virtual_phone)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Run = Annotated[
    Path | None,
    typer.Argument(
        metavar="RUN",
        help="A run's TOML file, or the folder of a run to go on with; not given, the demo's run.",
    ),
]
Folder = Annotated[
    Path | None, typer.Option(help="Where results go, instead of the run's own folder.")
]
Cpus = Annotated[
    str | None,
    typer.Option(help="Cores to pin to, such as 2,3; or a phone's big or little ones."),
]
Wait = Annotated[
    float | None,
    typer.Option(min=0, metavar="SECONDS", help="How long a lost phone is waited for."),
]
TableFile = Annotated[Path, typer.Argument(metavar="TABLE", help="A latency table (.sqlite).")]


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
) -> None:
    configure_logging(verbose)
    if version:
        typer.echo(__version__)
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
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
        _print_json([as_record(device) for device in found])
    else:
        for device in found:
            typer.echo(str(device))
    if no_phones:
        sys.stderr.write(f"netadapt: no phones: {one_line(no_phones)}\n")


@app.command()
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
    config = _config(
        run,
        {
            "space": {"name": space},
            "device": {
                "id": wanted[0] if wanted else None,
                "threads": counts[0] if counts else None,
                "cpus": _cpus(cpus),
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
        _print_json({"table": str(target), **dataclasses.asdict(summary)})
        return
    typer.echo(
        f"{target}: {summary.measured} measured ({summary.flagged} flagged), "
        f"{summary.present} there before, {len(summary.failures)} failed"
    )


@table_app.command("show")
def table_show(
    table: TableFile,
    kind: Annotated[
        str | None, typer.Option("--type", help="Rows of one type, e.g. depthwise_conv or network.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows to print at most.")] = 40,
    as_json: Json = False,
) -> None:
    """Print a latency table: its conditions and its rows.

    Example: netadapt table show runs/demo/latency.sqlite --type depthwise_conv
    """
    from profiler.table import LatencyTable

    with LatencyTable(table, must_exist=True) as rows:
        provenances = rows.provenances()
        chosen = [row for row in rows.rows() if kind is None or row.type == kind]
    if as_json:
        _print_json([_row_record(row) for row in chosen])
        return
    for provenance in provenances:
        typer.echo(f"# {provenance}")
    typer.echo(f"{'us':>12} {'repeat':>8} {'quality':<9} kernel")
    for row in chosen[:limit]:
        name = row.key if row.copies == 1 else f"{row.key} x{row.copies}"
        typer.echo(f"{row.latency_us:12.2f} {100 * row.repeat_dev:+7.2f}% {row.quality:<9} {name}")
    if len(chosen) > limit:
        typer.echo(f"# {len(chosen) - limit} more rows; see all with --limit {len(chosen)}")


@table_app.command("export")
def table_export(
    table: TableFile,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A .csv or .parquet file.")],
    as_json: Json = False,
) -> None:
    """Write a latency table as CSV or Parquet.

    Example: netadapt table export runs/demo/latency.sqlite latency.csv
    """
    from profiler.table import LatencyTable

    with LatencyTable(table, must_exist=True) as rows:
        rows.export(out)
        count = len(rows)
    if as_json:
        _print_json({"out": str(out), "rows": count})
    else:
        typer.echo(f"{out}: {count} rows")


@app.command()
def fit(
    table: TableFile,
    out: Annotated[
        Path | None,
        typer.Option(help="Where the predictor goes; not given, beside the table."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Rows of this device, where the table has several.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Rows of this many threads, where the table has several.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fit a latency predictor to a table and say how good it is.

    Example: netadapt fit runs/demo/latency.sqlite
    """
    from netadapt import pipeline
    from netadapt.folder import RunFolder

    target = out or RunFolder(table.parent).predictor
    with progress().step("Fitting the predictor"):
        provenance = pipeline.choose_provenance(table, device, threads)
        predictor = pipeline.fit_predictor(table, target, provenance)
    if as_json:
        _print_json({"predictor": str(target), **predictor.report_.to_dict()})
        return
    figures = predictor.report_
    typer.echo(f"{'held out':<22} {'rows':>5} {'+-5 %':>7} {'+-10 %':>7} {'MAPE':>7} {'noise':>7}")
    for name, errors in (
        *figures.by_type,
        ("all kernels", figures.kernels),
        ("networks", figures.networks),
    ):
        if errors is not None:
            typer.echo(
                f"{name:<22} {errors.count:5} {errors.within_5pct:7.0%} {errors.within_10pct:7.0%} "
                f"{errors.mape_pct:6.1f}% {errors.repeat_median_pct:6.1f}%"
            )
    typer.echo(str(target))


@app.command()
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
    as_json: Json = False,
) -> None:
    """Search a network that meets a budget.

    This is the whole run: time kernels, fit the predictor, train the super-network, search, train
    the found network and those it is compared with, time them, report. Steps that the run's folder
    holds already are not done again.

    Example: netadapt search my-run.toml --loop top_k
    """
    options: dict[str, dict[str, object]] = {
        **_kept_in(folder),
        "device": {"id": device, "threads": threads, "cpus": _cpus(cpus), "wait_s": wait},
        "search": {"loop": loop, "top_k": top_k},
    }
    _search(_config(run, options), as_json)


@app.command()
def demo(folder: Folder = None, as_json: Json = False) -> None:
    """Do a whole run on handwritten digits.

    This machine is the device; it takes about ten minutes on two cores.

    Example: netadapt demo --folder runs/demo
    """
    _search(_config(None, _kept_in(folder)), as_json)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A run's folder.")] = Path(
        "runs/demo"
    ),
    out: Annotated[
        Path | None, typer.Option(help="Where the page goes; not given, into the folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a run's report, one HTML page.

    The run may be unfinished; the page then says what is missing.

    Example: netadapt report runs/demo
    """
    from netadapt.folder import RunFolder

    target = _write_report(RunFolder(folder), out)
    if as_json:
        _print_json({"report": str(target)})
    else:
        typer.echo(str(target))


def main(arguments: Sequence[str] | None = None) -> None:
    """The program: runs a command and leaves with its exit code."""
    sys.exit(_guarded(sys.argv[1:] if arguments is None else list(arguments)))


def _guarded(arguments: list[str]) -> int:
    """Run a command; whatever it raises becomes one line and an exit code."""
    try:
        # Without its standalone mode, typer raises what it would print, and returns exit codes.
        if app(arguments, prog_name="netadapt", standalone_mode=False) == BROKEN_OFF:
            return _broken_off(arguments)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return _broken_off(arguments)
    except (BrokenPipeError, SystemExit):  # typer makes the second of the first
        # Whoever read our output has enough; Python must not complain at the exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _explain(error, arguments)
    return 0


def _broken_off(arguments: list[str]) -> int:
    return _fail(BROKEN_OFF, f"broken off; {_go_on_with(arguments)}")


def _go_on_with(arguments: list[str]) -> str:
    return f"go on where it stopped with: {shlex.join(['netadapt', *arguments])}"


def _explain(error: Exception, arguments: list[str]) -> int:
    """One line about `error` on standard error; its exit code."""
    from android_runner.errors import DeviceLostError

    if isinstance(error, DeviceLostError):
        # All that was measured is kept, so this is a pause.
        return _fail(BAD_INPUT, f"{error}; when it is back, {_go_on_with(arguments)}")
    if isinstance(error, _UsageError):
        command = getattr(error.ctx, "command_path", "netadapt") if error.ctx else "netadapt"
        return _fail(BAD_INPUT, f"{error.format_message().rstrip('.')}; see `{command} --help`")
    if isinstance(error, _expected()):
        return _fail(BAD_INPUT, str(error))
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        remedy = "free some space" if error.errno == errno.ENOSPC else "check the path"
        return _fail(BAD_INPUT, f"{error.strerror or error}{where}; {remedy} and run again")
    if os.environ.get("NETADAPT_DEBUG"):
        traceback.print_exception(error)
    return _fail(
        DEFECT,
        f"a defect of netadapt: {type(error).__name__}: {error}; please report it with the "
        "traceback that NETADAPT_DEBUG=1 shows",
    )


def _expected() -> tuple[type[Exception], ...]:
    """The roots of what our packages raise on purpose."""
    from android_runner.errors import RunnerError
    from netadapt.errors import NetadaptError
    from predictor.errors import PredictorError
    from profiler.errors import ProfilerError
    from search.errors import SearchError

    return (NetadaptError, SearchError, PredictorError, ProfilerError, RunnerError)


def _fail(code: int, message: str) -> int:
    sys.stderr.write(f"netadapt: {one_line(message)}\n")
    return code


def _config(run: Path | None, options: Mapping[str, Mapping[str, object]]) -> RunConfig:
    """The run's configuration; `options`, by section and key, replace its own where not None."""
    from netadapt.config import demo_config, parse_config, read_config
    from netadapt.folder import RunFolder

    if run is None:
        config = demo_config()
    elif run.is_dir():
        config = RunFolder(run).read_config().with_run(folder=str(run))
    else:
        config = read_config(run)
    document = config.model_dump()
    for name, given in options.items():
        document[name] |= {key: value for key, value in given.items() if value is not None}
    return parse_config(document, "the options")


def _cpus(text: str | None) -> object:
    """`2,3` as a list; a name, and what is neither, as it is."""
    if text is None or not all(part.strip().isdecimal() for part in text.split(",")):
        return text
    return [int(part) for part in text.split(",")]


def _profile_several(
    config: RunConfig, wanted: list[str], table: Path | None, counts: list[int], as_json: bool
) -> None:
    from netadapt.errors import SomeDevicesFailedError
    from netadapt.several import profile_each

    outcomes = profile_each(config, wanted, table, counts, progress())
    if as_json:
        _print_json([dataclasses.asdict(outcome) for outcome in outcomes])
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


def _kept_in(folder: Path | None) -> dict[str, dict[str, object]]:
    return {"run": {"folder": None if folder is None else str(folder)}}


def _search(config: RunConfig, as_json: bool) -> None:
    from netadapt import pipeline
    from netadapt.folder import RunFolder

    folder = RunFolder(config.folder)
    shown = progress()
    result = pipeline.run(config, folder, shown)
    page = _write_report(folder, None)
    if as_json:
        _print_json(result.model_dump(mode="json"))
        return
    typer.echo(f"{'':<12} {result.metric:>10} {'measured':>10} {'MACs':>8} {'params':>8}")
    for label in ("reference", "found", "scaled"):
        network = getattr(result, label)
        if network is not None:
            typer.echo(
                f"{label:<12} {network.accuracy:10.4f} {milliseconds(network.measured_ms):>10} "
                f"{quantity(network.macs):>8} {quantity(network.params):>8}"
            )
    if result.budget_ms is not None:
        typer.echo(f"{'budget':<12} {'':>10} {milliseconds(result.budget_ms):>10}")
    typer.echo(f"report       {page}")


def _write_report(folder: RunFolder, out: Path | None) -> Path:
    from netadapt.report.page import write_page
    from netadapt.report.reading import read_run

    target = out or folder.report
    with progress().step("Writing the report"):
        write_page(read_run(folder), target)
    return target


def _row_record(row: Any) -> dict[str, Any]:
    record = dataclasses.asdict(row)
    del record["rounds_us"]
    return {"type": row.type, **record}


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))
