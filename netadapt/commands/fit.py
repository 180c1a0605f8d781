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
    prior: Annotated[
        Path | None,
        typer.Option(
            help="A table of another device: its latencies' shape, for a table with few rows."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fit a latency predictor to a table and say how good it is.

    With --prior the ratio to another device's latencies is learnt; what that gained is said.

    Example: netadapt fit runs/demo, or netadapt fit new_phone.sqlite --prior pixel.sqlite
    """
    from netadapt.predictor.predictor import LatencyPredictor
    from netadapt.profiler.table import LatencyTable
    from netadapt.runs.folder import RunFolder
    from netadapt.runs.profiling import fit_predictor
    from netadapt.tables import choose_provenance, table_file

    source = table_file(table)
    target = out or RunFolder(source.parent).predictor
    with progress().step("Fitting the predictor"):
        chosen = choose_provenance(source, number=provenance, device=device, threads=threads)
        other, alone = None, None
        if prior is not None:
            shape = table_file(prior)
            with LatencyTable(shape, must_exist=True) as rows:
                other = LatencyPredictor().fit(rows).as_prior()
            with LatencyTable(source, must_exist=True) as rows:
                alone = LatencyPredictor().fit(rows, provenance=chosen).report_.kernels
        predictor = fit_predictor(source, target, chosen, other)
    if as_json:
        gained = {} if alone is None else {"mape_pct_without_prior": alone.mape_pct}
        print_json({"predictor": str(target), **predictor.report_.to_dict(), **gained})
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
    if alone is not None:
        typer.echo(
            f"with the shape of {prior}: mean error {figures.kernels.mape_pct:.1f} %, without it "
            f"{alone.mape_pct:.1f} %"
            + ("" if figures.kernels.mape_pct < alone.mape_pct else "; leave --prior out")
        )
    typer.echo(str(target))
