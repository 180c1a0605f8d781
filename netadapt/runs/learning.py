"""Profiling until the predictor is sure enough: what it doubts most is measured next."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from netadapt.android_runner.files import cut_torn_line
from netadapt.errors import RunFolderError
from netadapt.predictor.choosing import doubts, most_doubtful
from netadapt.predictor.predictor import LatencyPredictor
from netadapt.predictor.report import LearningRound
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


def learning_file(table: Path) -> Path:
    """Where the rounds of a table's profiling are kept, a JSON line each."""
    return table.with_suffix(".learning.jsonl")


def read_learning(path: Path) -> tuple[LearningRound, ...]:
    """The rounds by rows, of one count of rows the last; none where there is no file.

    Raises `RunFolderError` for a file that is none of such rounds; a torn last line is left out.
    """
    if not path.exists():
        return ()
    found: dict[int, LearningRound] = {}
    *lines, _ = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            rows, doubt, mape_pct = (values[name] for name in ("rows", "doubt", "mape_pct"))
            found[int(rows)] = LearningRound(int(rows), float(doubt), float(mape_pct))
        except (ValueError, KeyError, TypeError) as error:
            raise RunFolderError(
                f"a line of {path} holds rows, doubt and mape_pct, line {number} does not; remove "
                "the file, the table is whole without it"
            ) from error
    return tuple(found[rows] for rows in sorted(found))


def profile_until(
    parts: Parts,
    pool: Sequence[Kernel],
    table: Path,
    wish: float,
    progress: Progress,
) -> list[LearningRound]:
    """Measure kernels of `pool` into the table until half of the others are known to +-`wish`.

    The table has a first sample already. Ends as well where nothing is left to measure, or where
    the rest cannot be lowered or run. Returns how the predictor was before each round and at last,
    which `learning_file` keeps for the report.
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
            cut_torn_line(learning_file(table))
            with learning_file(table).open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps(asdict(rounds[-1]))}\n")
            chosen = most_doubtful(predictor, left, AT_A_TIME)
            if doubt <= wish or not chosen or len(rounds) > MOST_ROUNDS:
                return rounds
            with phases(progress, "doubtful kernels") as on_progress:
                summary = profiler.kernels([Subject(k) for k in chosen], on_progress)
            names = {failure.program for failure in summary.failures}
            failed |= {kernel for kernel in chosen if kernel.key in names}
            for failure in summary.failures:
                logger.warning("%s is left out: %s", failure.program, failure.message)
