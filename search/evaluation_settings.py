"""What an evaluation can be set to. No torch here: a run file is read without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt, Interval

from netadapt.android_runner.bounds import check_bounds
from netadapt.search.errors import InvalidSettingError


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """How sub-networks are judged.

    Parameters
    ----------
    calibration_images: training images that batch-norm statistics are re-estimated on.
    validation_images: the first images of the split that are used; None: all.
    batch_size: images a forward pass of the judged network.
    memory_mb: validation images are kept in memory up to this size, and made anew for each arch
        beyond it.

    Raises `InvalidSettingError`.
    """

    calibration_images: Annotated[int, Interval(ge=2, le=1_000_000)] = 256
    validation_images: Annotated[int, Interval(ge=1, le=1_000_000)] | None = None
    batch_size: Annotated[int, Interval(ge=1, le=65_536)] = 128
    memory_mb: Annotated[float, Gt(0)] = 1024.0

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)
