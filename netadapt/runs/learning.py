"""Profiling until the predictor is sure enough: what it doubts most is measured next."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from netadapt.predictor.choosing import doubts, most_doubtful
from netadapt.predictor.predictor import LatencyPredictor
from netadapt.profiler.lowering import Subject
from netadapt.profiler.profile import Profiler
from netadapt.profiler.table import LatencyTable
from netadapt.runs.context import phases

if TYPE_CHECKING:
    from netadapt.console import Progress
    from netadapt.profiler.kernels import Kernel
    from netadapt.runs.parts import Parts

logger = logging.getLogger(__name__)

AT_A_TIME = 48
"""Kernels measured before the predictor is asked again."""

MOST_ROUNDS = 40


@dataclass(frozen=True, slots=True)
class LearningRound:
    """What the predictor was like at one time.

    Parameters
    ----------
    rows : int
        Kernels that it had learnt from.
    doubt : float
        Median over the kernels of the space that were not measured: half-width of the interval, as
        a share of the prediction.
    mape_pct : float
        Mean absolute error on held-out rows.
    """

    rows: int
    doubt: float
    mape_pct: float

    def __str__(self) -> str:
        return (
            f"{self.rows} kernels: half of the unmeasured ones are known to +-{self.doubt:.1%}, "
            f"held-out error {self.mape_pct:.1f} %"
        )


def profile_until(
    parts: Parts,
    pool: Sequence[Kernel],
    table: Path,
    wish: float,
    progress: Progress,
) -> list[LearningRound]:
    """Measure kernels of `pool` into the table until half of the others are known to +-`wish`.

    The table has a first sample already. Ends as well where nothing is left to measure, or where
    the rest cannot be lowered or run. Returns how the predictor was before each round and at last.
    """
    rounds: list[LearningRound] = []
    with LatencyTable(table) as rows:
        profiler = Profiler(parts.device, rows, settings=parts.config.profile, spec=parts.spec())
        failed: set[Kernel] = set()
        while True:
            predictor = LatencyPredictor().fit(rows, provenance=profiler.provenance)
            left = [k for k in pool if k not in predictor.own_ms_ and k not in failed]
            known = [k for k in left if predictor.knows(k)]
            doubt = float(np.median(doubts(predictor, known))) if known else 0.0
            figures = predictor.report_.kernels
            rounds.append(LearningRound(len(predictor.own_ms_), doubt, figures.mape_pct))
            progress.say(str(rounds[-1]))
            chosen = most_doubtful(predictor, left, AT_A_TIME)
            if doubt <= wish or not chosen or len(rounds) > MOST_ROUNDS:
                return rounds
            with phases(progress, "doubtful kernels") as on_progress:
                summary = profiler.kernels([Subject(k) for k in chosen], on_progress)
            names = {failure.program for failure in summary.failures}
            failed |= {kernel for kernel in chosen if kernel.key in names}
            for failure in summary.failures:
                logger.warning("%s is left out: %s", failure.program, failure.message)
