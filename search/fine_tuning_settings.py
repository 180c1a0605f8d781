"""What a scorer that fine-tunes can be set to. No torch here: a run file is read without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt, Interval

from netadapt.android_runner.bounds import check_bounds
from netadapt.search.errors import InvalidSettingError


@dataclass(frozen=True, slots=True)
class FineTuningSettings:
    """How each candidate is fine-tuned before it is judged, as NetAdaptV1 does (numbers assumed).

    Optimizer, batch size and whatever is not here are those of the final training.

    Parameters
    ----------
    steps: of every candidate's short fine-tuning.
    learning_rate: throughout.
    norm_batches: that batch norms are re-estimated on in the end; 0 leaves the running averages.

    Raises `InvalidSettingError`.
    """

    steps: Annotated[int, Interval(ge=1, le=1_000_000)] = 20
    learning_rate: Annotated[float, Gt(0)] = 0.01
    norm_batches: Annotated[int, Interval(ge=0, le=1_000_000)] = 4

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)
