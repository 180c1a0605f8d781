"""Training: one loop, and steps (batch to loss) that it goes through.

`settings` and `step` are light; torch comes with what trains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netadapt.android_runner.exports import exports

if TYPE_CHECKING:
    from netadapt.search.training.distillation import DistillationStep
    from netadapt.search.training.loop import ProgressCallback, TrainingProgress, train
    from netadapt.search.training.ordered_dropout import OrderedDropoutStep
    from netadapt.search.training.plain import PlainStep
    from netadapt.search.training.sandwich import SandwichStep
    from netadapt.search.training.settings import (
        DistillationSettings,
        OrderedDropoutSettings,
        SandwichSettings,
        TrainingSettings,
    )
    from netadapt.search.training.step import STEPS, Step, StepInput, SupernetStep
    from netadapt.search.training.train import reestimate_norms, train_network, train_supernet

__all__ = [
    "STEPS",
    "DistillationSettings",
    "DistillationStep",
    "OrderedDropoutSettings",
    "OrderedDropoutStep",
    "PlainStep",
    "ProgressCallback",
    "SandwichSettings",
    "SandwichStep",
    "Step",
    "StepInput",
    "SupernetStep",
    "TrainingProgress",
    "TrainingSettings",
    "reestimate_norms",
    "train",
    "train_network",
    "train_supernet",
]

_HOMES = {
    "STEPS": "netadapt.search.training.step",
    "DistillationSettings": "netadapt.search.training.settings",
    "DistillationStep": "netadapt.search.training.distillation",
    "OrderedDropoutSettings": "netadapt.search.training.settings",
    "OrderedDropoutStep": "netadapt.search.training.ordered_dropout",
    "PlainStep": "netadapt.search.training.plain",
    "ProgressCallback": "netadapt.search.training.loop",
    "SandwichSettings": "netadapt.search.training.settings",
    "SandwichStep": "netadapt.search.training.sandwich",
    "Step": "netadapt.search.training.step",
    "StepInput": "netadapt.search.training.step",
    "SupernetStep": "netadapt.search.training.step",
    "TrainingProgress": "netadapt.search.training.loop",
    "TrainingSettings": "netadapt.search.training.settings",
    "reestimate_norms": "netadapt.search.training.train",
    "train": "netadapt.search.training.loop",
    "train_network": "netadapt.search.training.train",
    "train_supernet": "netadapt.search.training.train",
}
__getattr__ = exports(__name__, _HOMES)
