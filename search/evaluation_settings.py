"""What an evaluation can be set to. No torch here: a run file is read without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, Interval

from netadapt.android_runner.bounds import check_bounds
from netadapt.search.errors import InvalidSettingError


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """How sub-networks are judged.

    Parameters
    ----------
    score: what a search goes by. "loss": the task's mean loss, which tells candidates apart that
        differ by a few images' right answers; on the demo's super-network the accuracy of 1,000
        images said 59 % of what it should about the last candidates, their loss 93 %. "metric": the
        task's metric (assumption: the papers rank by accuracy, on 10,000 images).
    calibration_images: training images that batch-norm statistics are re-estimated on.
    validation_images: the first images of the split that are used; None: all.
    batch_size: images a forward pass of the judged network.
    race_images: networks that are scored together race: all are judged on so many images, the
        better half on twice as many, and so on; the best on all (`netadapt.search.race`). 0, or
        `score = "metric"`: everybody is judged on all images.
    memory_mb: validation images are kept in memory up to this size, and made anew for each
        group of networks that is scored beyond it.

    Raises `InvalidSettingError`.
    """

    score: Literal["loss", "metric"] = "loss"
    calibration_images: Annotated[int, Interval(ge=2, le=1_000_000)] = 256
    validation_images: Annotated[int, Interval(ge=1, le=1_000_000)] | None = None
    batch_size: Annotated[int, Interval(ge=1, le=65_536)] = 128
    race_images: Annotated[int, Interval(ge=0, le=1_000_000)] = 256
    memory_mb: Annotated[float, Gt(0)] = 1024.0

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)
