"""A training's state on the disk: weights, optimiser, how far it is, and of which training."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from netadapt.android_runner.files import write_atomically
from netadapt.search.errors import CheckpointError

if TYPE_CHECKING:
    from netadapt.search.task import Task
    from netadapt.search.training.average import WeightAverage
    from netadapt.search.training.settings import TrainingSettings
    from netadapt.search.training.step import Step

FORMER: Mapping[str, Any] = {
    "schedule": "cosine",
    "step": None,
    "decay": 0.97,
    "decay_steps": 1000,
    "accumulate": 1,
    "ema": 0.0,
    "precision": "fp32",
    "compile": False,
}
"""What 0.1 did not write down: its learning rate fell along a cosine, it knew no averages, no
other precision and no compiler; its step is not compared."""


@dataclass(frozen=True, slots=True)
class Done:
    """How far a training is: steps, and the seconds that they took."""

    step: int
    seconds: float


def fingerprint(task: Task, settings: TrainingSettings, step: Step, seed: int) -> dict[str, Any]:
    """What must agree for a checkpoint to be resumed.

    How often it is written need not, nor what is done when the training is over. Lengths are those
    in steps.
    """
    recipe = asdict(replace(settings, checkpoint_every_steps=1, norm_batches=0))
    recipe = {key: value for key, value in recipe.items() if not key.endswith("epochs")}
    names = {"task": task.name, "task_seed": task.seed, "seed": seed, "step": step.describe()}
    return names | recipe


def save(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    fingerprint: Mapping[str, Any],
    done: Done,
    average: WeightAverage | None = None,
) -> None:
    """Write a checkpoint, whole or not at all."""
    buffer = io.BytesIO()
    state = {
        "fingerprint": dict(fingerprint),
        "step": done.step,
        "seconds": done.seconds,
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": None if average is None else average.state,
    }
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def resume(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    fingerprint: Mapping[str, Any],
    average: WeightAverage | None = None,
) -> Done:
    """Load the checkpoint at `path` into module, optimiser and average.

    Raises `CheckpointError` for a file that is none, or is of another training or network.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = {**FORMER, **state["fingerprint"]}
        done = Done(int(state["step"]), float(state.get("seconds", 0.0)))  # 0.1 didn't keep them
        weights, averages = state["module"], state["optimizer"]
    except Exception as error:  # torch.load raises whatever the broken part of the file led to
        raise CheckpointError(
            f"a checkpoint is a file that this program wrote, cannot read {path} "
            f"({type(error).__name__}); delete it to train anew"
        ) from error
    expected = dict(fingerprint)
    if found["step"] is None:
        del found["step"], expected["step"]
    changed = sorted(k for k in expected if k not in found or found[k] != expected[k])
    if changed:
        raise CheckpointError(
            f"a checkpoint is resumed with the settings it began with, {path} differs in "
            f"{', '.join(changed)}; restore them, or delete it to train anew"
        )
    try:
        module.load_state_dict(weights)
        optimizer.load_state_dict(averages)
        if average is not None:
            average.resume(state["average"])
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"a checkpoint is resumed with the network it began with, {path} holds another; "
            "delete it to train anew"
        ) from error
    return done


def content_digest(module: nn.Module) -> str:
    """Of a module's parameters and statistics; equal for equal weights, however they are stored."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().contiguous().cpu()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
