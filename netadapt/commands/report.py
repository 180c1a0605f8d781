"""``netadapt report``: a run's page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netadapt.commands.options import Json, print_json
from netadapt.console import progress

if TYPE_CHECKING:
    from netadapt.runs.folder import RunFolder


def report(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A run's folder.")] = Path(
        "runs/demo"
    ),
    out: Annotated[
        Path | None, typer.Option(help="Where the page goes; not given, into the folder.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="A latency table (.sqlite) that `netadapt reference` filled under the run's "
            "conditions: its networks are put beside the run's own.",
        ),
    ] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="A finished run of the same device, task and final training, such as another "
            "strategy's: its networks are put beside this run's. May be given several times.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a run's report, one HTML page.

    The run may be unfinished; the page then says what is missing.

    Example: netadapt report runs/demo

    Example: netadapt report runs/demo --reference pixel.sqlite

    Example: netadapt report runs/mcd --beside runs/dmasking --out both.html
    """
    from netadapt.runs.folder import RunFolder
    from netadapt.tables import table_file

    table = None if reference is None else table_file(reference)
    target = write_report(RunFolder(folder), out, table, [RunFolder(f) for f in beside or ()])
    if as_json:
        print_json({"report": str(target)})
    else:
        typer.echo(str(target))


def write_report(
    folder: RunFolder,
    out: Path | None,
    reference: Path | None = None,
    beside: Sequence[RunFolder] = (),
) -> Path:
    """Write the report of the run in `folder` to `out`, or beside the run; the page's path.

    Parameters
    ----------
    reference, beside: as in `netadapt.report.reading.read_run`.
    """
    from netadapt.report.page import write_page
    from netadapt.report.reading import read_run

    target = out or folder.report
    with progress().step("Writing the report"):
        write_page(read_run(folder, reference, beside), target)
    return target
