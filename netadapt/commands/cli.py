"""The program `netadapt`: its commands, and what becomes of their errors.

Results go to standard output, with `--json` as one JSON document; progress and errors go to
standard error. Exit codes: 0 done, 1 a defect of this program, 2 bad input or surroundings, 130
interrupted (143 by SIGTERM, 129 by a terminal that was closed). Heavy imports happen inside the
commands, so that `--help` answers at once.
"""

from __future__ import annotations

import errno
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from netadapt import __version__, signals
from netadapt.commands.data import data_app
from netadapt.commands.devices import devices
from netadapt.commands.fit import fit
from netadapt.commands.init import init
from netadapt.commands.predict import predict
from netadapt.commands.profile import profile
from netadapt.commands.reference import reference
from netadapt.commands.report import report
from netadapt.commands.runner import runner_app
from netadapt.commands.search import demo, search
from netadapt.commands.spaces import spaces
from netadapt.commands.table import table_app
from netadapt.commands.time import time
from netadapt.commands.virtual_phone import virtual_phone
from netadapt.console import configure_logging
from netadapt.text import one_line

BAD_INPUT, DEFECT, INTERRUPTED = 2, 1, 130

# The class all complaints about arguments derive from: typer bundles it under a private name.
_UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    name="netadapt",
    help="Fit neural networks to a phone: time kernels, predict latency, search a network that "
    "meets a budget.\n\nExample: netadapt demo",
    no_args_is_help=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
for _command in (
    demo,
    time,
    predict,
    reference,
    devices,
    spaces,
    init,
    profile,
    fit,
    search,
    report,
):
    app.command()(_command)
app.command("virtual-phone")(virtual_phone)
app.add_typer(data_app, name="data")
app.add_typer(table_app, name="table")
app.add_typer(runner_app, name="runner")


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


def main(arguments: Sequence[str] | None = None) -> None:
    """The program: runs a command and leaves with its exit code."""
    sys.exit(_guarded(sys.argv[1:] if arguments is None else list(arguments)))


def _guarded(arguments: list[str]) -> int:
    """Run a command; whatever it raises becomes one line and an exit code."""
    try:
        # Without its standalone mode, typer raises what it would print, and returns exit codes.
        if app(arguments, prog_name="netadapt", standalone_mode=False) == INTERRUPTED:
            return _interrupted(arguments)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(arguments)
    except (BrokenPipeError, SystemExit) as left:  # typer makes the second of the first
        if isinstance(left, SystemExit) and not left.code:
            return 0  # shell completion leaves like this
        # Whoever read our output has enough; Python must not complain at the exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _explain(error, arguments)
    return 0


def _interrupted(arguments: list[str]) -> int:
    return _fail(signals.exit_code(), f"interrupted; {_resume_with(arguments)}")


def _resume_with(arguments: list[str]) -> str:
    return f"resume with: {shlex.join(['netadapt', *arguments])}"


def _explain(error: Exception, arguments: list[str]) -> int:
    """One line about `error` on standard error; its exit code."""
    if isinstance(error, ModuleNotFoundError):
        missing = (error.name or "").partition(".")[0]
        if missing not in ("", "netadapt"):
            return _fail(
                BAD_INPUT,
                f"netadapt needs the package {missing!r}, which is not installed; install "
                "netadapt again with all it needs",
            )
    from netadapt.android_runner.errors import DeviceLostError

    if isinstance(error, DeviceLostError):
        # All that was measured is kept, so this is a pause.
        return _fail(BAD_INPUT, f"{error}; when it is back, {_resume_with(arguments)}")
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
    from netadapt.android_runner.errors import RunnerError
    from netadapt.errors import NetadaptError
    from netadapt.predictor.errors import PredictorError
    from netadapt.profiler.errors import ProfilerError
    from netadapt.search.errors import SearchError

    return (NetadaptError, SearchError, PredictorError, ProfilerError, RunnerError)


def _fail(code: int, message: str) -> int:
    sys.stderr.write(f"netadapt: {one_line(message)}\n")
    return code
