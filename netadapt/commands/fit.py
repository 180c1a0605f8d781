"""``netadapt fit``: a predictor from a table, and how good it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netadapt.commands.options import Json, ProvenanceNumber, TableFile, print_json
from netadapt.console import progress


def fit(
    table: TableFile,
    provenance: ProvenanceNumber = None,
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

    Example: netadapt fit runs/demo
    """
    from netadapt.runs.folder import RunFolder
    from netadapt.runs.profiling import fit_predictor
    from netadapt.tables import choose_provenance, table_file

    source = table_file(table)
    target = out or RunFolder(source.parent).predictor
    with progress().step("Fitting the predictor"):
        chosen = choose_provenance(source, number=provenance, device=device, threads=threads)
        predictor = fit_predictor(source, target, chosen)
    if as_json:
        print_json({"predictor": str(target), **predictor.report_.to_dict()})
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
