"""``netadapt predict``: how long any model will take, by a fitted predictor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netadapt.commands.options import Inputs, Json, ModelName, Rewrites, print_json
from netadapt.console import progress

if TYPE_CHECKING:
    from netadapt.model_prediction import ModelPrediction
    from netadapt.models import Model


def predict(
    model: ModelName,
    predictor: Annotated[
        Path, typer.Option(help="A predictor that `netadapt fit` wrote, or the folder of a run.")
    ],
    inputs: Inputs = None,
    rewrite: Rewrites = None,
    as_json: Json = False,
) -> None:
    """Predict how long a model of your own takes, kernel by kernel; no device is asked.

    Kernels that the predictor's table measured are looked up, others of its types predicted, each
    with the interval that held-out kernels fell into. What is of no type of layer is known only
    where it was measured (`netadapt time --layers --table`), and named where it was not.

    Example: netadapt predict my_net.py:Net --input 1,3,224,224 --predictor runs/demo
    """
    from netadapt.model_prediction import predict_model
    from netadapt.models import lower_model, read_shape
    from netadapt.predictor.predictor import LatencyPredictor
    from netadapt.profiler.lowering import ProgramCache
    from netadapt.profiler.lowering.xnnpack import XnnpackFp32
    from netadapt.runs.folder import RunFolder

    shown = progress()
    with shown.step("Lowering the model"):
        shapes = [read_shape(text) for text in inputs or []]
        lowered = lower_model(model, shapes, ProgramCache(), XnnpackFp32(), rewrite or ())
    parts = lowered.parts
    with shown.step("Fitting the predictor"):
        path = RunFolder(predictor).predictor if predictor.is_dir() else predictor
        fitted = LatencyPredictor.load(path)
    found = predict_model(fitted, parts)
    device = fitted.data_.provenance.device.model
    if as_json:
        print_json(_record(lowered, device, found))
    else:
        _tell(lowered, device, found)


def _tell(model: Model, device: str, found: ModelPrediction) -> None:
    from netadapt.model_tree import Leaf, lines

    typer.echo(f"{model.facts}; on {device}, predicted")
    for line in lines([Leaf(each.part, each.ms, each.remark) for each in found.parts]):
        typer.echo(line)
    typer.echo(f"{found.sum_ms:9.4f} in sum")
    if found.whole_ms is not None:
        low, high = found.whole_interval_ms
        typer.echo(
            f"{found.whole_ms:9.4f} as a whole, {low:.4f} to {high:.4f} in {found.coverage:.0%} of "
            "networks like those that were measured whole"
        )
    if found.unknown:
        typer.echo(
            f"{len(found.unknown)} of {len(found.parts)} kernels are not known and not counted; "
            "measure them: netadapt time MODEL --layers --table TABLE, then netadapt fit TABLE"
        )


def _record(model: Model, device: str, found: ModelPrediction) -> dict[str, Any]:
    return {
        "model": model.name,
        "device": device,
        "parameters": model.parameters,
        "macs": None if model.graph is None else model.graph.macs,
        "coverage": found.coverage,
        "sum_ms": found.sum_ms,
        "whole_ms": found.whole_ms,
        "whole_interval_ms": found.whole_interval_ms,
        "unknown": [each.part.kernel.key for each in found.unknown],
        "kernels": [
            {
                "module": each.part.module,
                "key": each.part.kernel.key,
                "operation": each.part.described,
                "ms": each.ms,
                "interval_ms": each.interval_ms,
                "remark": each.remark,
            }
            for each in found.parts
        ],
    }
