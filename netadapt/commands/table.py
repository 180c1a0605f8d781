"""``netadapt table``: look into a latency table."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netadapt.commands.options import Json, ProvenanceNumber, TableFile, print_json
from netadapt.text import one_line

if TYPE_CHECKING:
    from netadapt.profiler.table import Provenance, Row, TypeSummary

table_app = typer.Typer(
    help="Look into a latency table.\n\nExample: netadapt table show runs/demo",
    rich_markup_mode=None,
)

DEFAULT_ROWS = 40
MAX_LABEL = 60
"""Characters of a network's name; an arch as JSON has some hundred."""


@table_app.command()
def show(
    table: TableFile,
    kind: Annotated[
        str | None, typer.Option("--type", help="Rows of one type, e.g. depthwise_conv or network.")
    ] = None,
    provenance: ProvenanceNumber = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help=f"Rows to print at most; not given, {DEFAULT_ROWS}, as JSON all of them."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print a latency table: its conditions, numbered, what it has of each type, and its rows.

    Rows come by provenance, type and latency; the number before a row is its provenance's.

    Example: netadapt table show runs/demo --type depthwise_conv
    """
    from netadapt.profiler.table import LatencyTable
    from netadapt.tables import check_type, provenance_number, table_file

    with LatencyTable(table_file(table), must_exist=True) as latencies:
        chosen = provenance_number(latencies, provenance)
        check_type(latencies, kind)
        numbers = {p: number for number, p in enumerate(latencies.provenances(), 1)}
        rows = latencies.stream(
            chosen,
            type_name=kind,
            order="type",
            limit=limit if as_json else limit or DEFAULT_ROWS,
        )
        if as_json:
            print_json([_record(row, numbers) for row in rows])
            return
        for one in numbers:
            if chosen in (None, one):
                typer.echo(f"# {numbers[one]}: {one_line(str(one))}")
        left = 0
        for summary in latencies.summaries(chosen):
            if kind in (None, summary.type):
                typer.echo(f"# {_summary(summary, numbers)}")
                left += summary.rows
        typer.echo(f"{'':>2} {'us':>12} {'repeat':>8} {'quality':<9} kernel")
        total = left
        for row in rows:
            number, repeat_pct = numbers[row.provenance], 100 * row.repeat_dev
            typer.echo(
                f"{number:>2} {row.latency_us:12.2f} {repeat_pct:+7.2f}% {row.quality:<9} "
                f"{_name(row)}"
            )
            left -= 1
    if left:
        typer.echo(f"# {left} more rows; see all with --limit {total}")


@table_app.command()
def export(
    table: TableFile,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A .csv or .parquet file.")],
    provenance: ProvenanceNumber = None,
    samples: Annotated[
        bool,
        typer.Option("--samples", help="Also the raw samples, and other figures of each round."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a latency table as CSV or Parquet, a kernel's fields in columns of their own.

    Example: netadapt table export runs/demo latency.csv
    """
    from netadapt.profiler.table import LatencyTable
    from netadapt.tables import provenance_number, table_file

    with LatencyTable(table_file(table), must_exist=True) as latencies:
        chosen = provenance_number(latencies, provenance)
        count = latencies.export(out, chosen, samples=samples)
    if as_json:
        print_json({"out": str(out), "rows": count})
    else:
        typer.echo(f"{out}: {count} rows")


@table_app.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Of .csv, .parquet or .yaml."),
    ],
    mapping: Annotated[
        Path, typer.Option(help="A .toml: whose latencies they are, and what the columns mean.")
    ],
    table: Annotated[Path, typer.Option(help="The latency table (.sqlite) that the rows go to.")],
    as_json: Json = False,
) -> None:
    """Make rows of latencies that somebody else published, as those of a device of their own.

    The mapping names the device and the source, which stand in every row, and for columns the
    kernels of a line: docs/table.md has examples. layout = "once_for_all" reads Once-for-all's
    tables of blocks as they are. Rows of two devices never mix; `netadapt fit TABLE` learns from
    them, also where a row measured several kernels together.

    Example: netadapt table import 224.yaml 192.yaml --mapping note10.toml --table note10.sqlite
    """
    from netadapt.profiler.errors import TableError
    from netadapt.profiler.published.latency import rows_of
    from netadapt.profiler.published.mapping import read_mapping
    from netadapt.profiler.published.reading import read_file
    from netadapt.profiler.table import LatencyTable

    meaning = read_mapping(mapping)
    latencies, left_out = [], 0
    for file in files:
        found, others = read_file(file, meaning)
        latencies += found
        left_out += others
    if not latencies:
        raise TableError(
            f"an import has at least one latency, got none ({left_out} lines that no rule of "
            f"{mapping} is for); correct its `when`, or name another file"
        )
    rows = rows_of(latencies, meaning.provenance)
    with LatencyTable(table) as kept:
        kept.add(rows)
    sums = sum(row.kernels is not None for row in rows)
    if as_json:
        record = {"table": str(table), "lines": len(latencies), "rows": len(rows)}
        print_json(record | {"of_several_kernels": sums, "left_out": left_out})
        return
    typer.echo(
        f"{table}: {len(rows)} rows of {len(latencies)} lines, {sums} of several kernels together"
        + (f"; no rule of the mapping is for {left_out} other lines" if left_out else "")
    )
    typer.echo(f"next: netadapt fit {table}")


def _summary(summary: TypeSummary, numbers: dict[Provenance, int]) -> str:
    flagged = f", {summary.flagged} flagged" if summary.flagged else ""
    return (
        f"{numbers[summary.provenance]}: {one_line(summary.type)}, {summary.rows} rows, "
        f"{summary.fastest_us:.4g} to {summary.slowest_us:.4g} us{flagged}"
    )


def _name(row: Row) -> str:
    if row.kernels is None:
        return one_line(row.name)
    count = f"{len(row.kernels)} kernels" if row.kernels else "kernels not known"
    label = one_line(row.label or "")
    if len(label) > MAX_LABEL:
        label = f"{label[: MAX_LABEL - 3]}..."
    return f"{one_line(row.key)}, {count} {label}".rstrip()


def _record(row: Row, numbers: dict[Provenance, int]) -> dict[str, Any]:
    from netadapt.profiler.provenance import flat

    record = dataclasses.asdict(row) | {"provenance": dict(flat(row.provenance))}
    del record["rounds_us"]
    return {"type": row.type, "provenance_number": numbers[row.provenance], **record}
