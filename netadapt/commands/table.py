"""``netadapt table``: look into a latency table."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from netadapt.commands.options import Json, TableFile, print_json

table_app = typer.Typer(help="Look into a latency table.", rich_markup_mode=None)


@table_app.command()
def show(
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
        print_json([_row_record(row) for row in chosen])
        return
    for provenance in provenances:
        typer.echo(f"# {provenance}")
    typer.echo(f"{'us':>12} {'repeat':>8} {'quality':<9} kernel")
    for row in chosen[:limit]:
        name = row.key if row.copies == 1 else f"{row.key} x{row.copies}"
        typer.echo(f"{row.latency_us:12.2f} {100 * row.repeat_dev:+7.2f}% {row.quality:<9} {name}")
    if len(chosen) > limit:
        typer.echo(f"# {len(chosen) - limit} more rows; see all with --limit {len(chosen)}")


@table_app.command()
def export(
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
        print_json({"out": str(out), "rows": count})
    else:
        typer.echo(f"{out}: {count} rows")


def _row_record(row: Any) -> dict[str, Any]:
    record = dataclasses.asdict(row)
    del record["rounds_us"]
    return {"type": row.type, **record}
