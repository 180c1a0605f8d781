"""`metrics.jsonl`: how the trainings of a run went, one JSON object a line.

A line is `{"phase": "supernet", "step": 8, "steps": 800, "loss": 2.3, "learning_rate": 0.02,
"seconds": 1.7}`, about 100 of them a phase. A training that was killed resumes from its last
checkpoint, so steps may come again: the last line of a phase's step counts.

Where TensorBoard is installed (`pip install netadapt[tensorboard]`), the same curves are written
for it as well: `tensorboard --logdir RUN/tensorboard`.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from netadapt.search.training import TrainingProgress

logger = logging.getLogger(__name__)

POINTS = 100
"""Lines of a phase, about: a curve on a page shows no more."""


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """Where a training stood after `step` of `steps` steps.

    Parameters
    ----------
    phase: "supernet", or the label of the network that was trained to its end.
    loss: mean over the steps since the point before (of those since it was resumed, if it was).
    learning_rate: of the last of these steps.
    seconds: spent on the phase's training so far, that which was lost to a kill left out.
    """

    phase: str
    step: int
    steps: int
    loss: float
    learning_rate: float
    seconds: float


class TrainingLog:
    """Writes the points of one phase; call it with the training's progress after each step.

    with TrainingLog(path, "supernet", tensorboard=folder) as log:
        train_supernet(..., on_progress=log)
    """

    def __init__(self, path: Path, phase: str, *, tensorboard: Path | None = None) -> None:
        """Write to `path`; the file begins with the first point.

        Parameters
        ----------
        tensorboard: where its files go, a folder for each phase, if it is installed.
        """
        self._path = path
        self._phase = phase
        self._tensorboard = tensorboard and tensorboard / phase.replace(", ", "-")
        self._writer: SummaryWriter | None = None
        self._begun = False
        self._losses: list[float] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def __call__(self, progress: TrainingProgress) -> None:
        """Take a training's progress in; every so often it becomes a line."""
        self._losses.append(progress.loss)
        if not _due(progress.step, progress.steps):
            return
        point = MetricPoint(
            self._phase,
            progress.step,
            progress.steps,
            sum(self._losses) / len(self._losses),
            progress.learning_rate,
            progress.seconds,
        )
        self._losses.clear()
        if not self._begun:
            self._begin(progress.step)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(asdict(point))}\n")
        if self._writer is not None:
            self._writer.add_scalar("loss", point.loss, point.step)
            self._writer.add_scalar("learning rate", point.learning_rate, point.step)
            self._writer.add_scalar("seconds", point.seconds, point.step)
            self._writer.flush()

    def _begin(self, step: int) -> None:
        self._begun = True
        _end_last_line(self._path)
        if self._tensorboard is not None:
            # Points of a training that was killed behind its last checkpoint are taken back.
            self._writer = _summary_writer(self._tensorboard, purge_step=step)


def read_metrics(path: Path) -> tuple[MetricPoint, ...]:
    """The points at `path`, phases in the order they came first, steps ascending in each.

    None where there is no such file; lines that are no points (the last one of a run that was
    killed may be torn) are left out.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ()
    points: dict[str, dict[int, MetricPoint]] = {}
    for line in lines:
        point = _point(line)
        if point is not None:
            points.setdefault(point.phase, {})[point.step] = point
    return tuple(steps[step] for steps in points.values() for step in sorted(steps))


def _due(step: int, steps: int) -> bool:
    """Whether the `step`-th of `steps` steps, counted from 1, gets a line."""
    return step in (1, steps) or step * POINTS // steps != (step - 1) * POINTS // steps


def _point(line: str) -> MetricPoint | None:
    try:
        record = json.loads(line)
        point = MetricPoint(
            record["phase"],
            record["step"],
            record["steps"],
            float(record["loss"]),
            float(record["learning_rate"]),
            float(record["seconds"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    numbers = (point.loss, point.learning_rate, point.seconds)
    whole = type(point.step) is int and type(point.steps) is int
    if not (isinstance(point.phase, str) and whole and all(map(math.isfinite, numbers))):
        return None
    return point if 1 <= point.step <= point.steps else None


def _end_last_line(path: Path) -> None:
    """See that what is appended begins a line of its own, whatever a kill has left."""
    try:
        with path.open("rb+") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
    except FileNotFoundError:
        return


def _summary_writer(folder: Path, purge_step: int) -> Any:  # a SummaryWriter, or None
    if importlib.util.find_spec("tensorboard") is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:  # installed in part, or too old for this torch
        logger.warning("TensorBoard is installed but does not start (%s): not written", error)
        return None
    return SummaryWriter(str(folder), purge_step=purge_step)
