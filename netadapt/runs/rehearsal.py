"""What a step of a training takes on this computer: a few steps, too small to change anything."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable

from netadapt.search.training import TrainingProgress, TrainingSettings

_TIMED_STEPS = 3


def rehearsed(settings: TrainingSettings) -> TrainingSettings:
    """A few steps of a training, too small to change or to break anything."""
    return dataclasses.replace(
        settings, steps=_TIMED_STEPS, warmup_steps=0, norm_batches=0, learning_rate=1e-9
    )


def last_step_s(train: Callable[[Callable[[TrainingProgress], None]], None]) -> float:
    """Seconds of the fastest step but the first, which sets things up.

    `train` is given what is to be called after each step.
    """
    ends: list[float] = []
    train(lambda _: ends.append(time.perf_counter()))
    return min(after - before for before, after in itertools.pairwise(ends))
