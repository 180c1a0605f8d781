"""A run from the first timed kernel to its result, all in its folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from netadapt.android_runner.files import write_atomically
from netadapt.errors import RunFolderError
from netadapt.runs.conclusion import Conclude, Ship
from netadapt.runs.context import Context
from netadapt.runs.finals import JudgeFinals, TrainFinals
from netadapt.runs.finding import Find, Prepare
from netadapt.runs.parts import Parts, check_budget
from netadapt.runs.profiling import Fit, Profile
from netadapt.runs.result import RunResult
from netadapt.runs.scaled import ChooseScaled
from netadapt.runs.steps import Step, perform
from netadapt.runs.strategy import Strategy, make_strategy

if TYPE_CHECKING:
    from netadapt.console import Progress
    from netadapt.runs.folder import RunFolder

logger = logging.getLogger(__name__)


class TimeReference:
    """How long the space's reference network takes; every latency budget is checked with it."""

    name = "time the reference"

    def done(self, folder: RunFolder) -> bool:
        return False  # once timed it is read from the run's sessions

    def do(self, context: Context) -> None:
        with context.progress.step("Timing the reference"):
            reference_ms = context.reference_ms
        for budget in context.new_budgets:
            check_budget(context.search(budget.in_ms(reference_ms)))
        context.folder.keep_budgets(context.config)


def steps(context: Context, strategy: Strategy) -> Iterator[Step]:
    """What a run does, in order."""
    yield Profile()
    yield Fit()
    yield TimeReference()
    yield Prepare(strategy)
    for budget in context.new_budgets:
        yield Find(strategy, budget)
        if context.config.final.scaled:
            yield ChooseScaled(budget)
    yield TrainFinals(strategy)
    yield JudgeFinals()
    yield Ship()
    yield Conclude()


def run(parts: Parts, folder: RunFolder, progress: Progress, *, adding: bool = False) -> RunResult:
    """Do the whole run in `folder`, or what is left of it.

    Parameters
    ----------
    parts: of what the run is made.
    adding: budgets that the folder's run does not have are added to it: searched for in the
        super-network that is there, or will be.

    Raises `RunFolderError` when the folder is another run's, and what the steps raise; the same
    call resumes it.
    """
    parts.check_fit()
    if counted := parts.counted_constraints():
        check_budget(parts.search(counted))
    if not folder.result.exists():
        # One that is not there, or lacks the cores, raises before files are made.
        parts.device.cpus(parts.spec())
        _ = parts.lowering, parts.compute, parts.supernet_training, parts.final_training
        parts.check_compiler()
    with folder.locked():
        parts = parts.with_config(folder.claim(parts.config, adding=adding))
        before = RunResult.load(folder.result) if folder.result.exists() else None
        with Context(parts, folder, progress, before) as context:
            if before is not None and not context.new_budgets:
                return before
            keep_torch_threads(folder.environment)
            chosen = parts.config.search.strategy
            perform(steps(context, make_strategy(chosen.name, chosen.settings)), context)
        return RunResult.load(folder.result)


def keep_torch_threads(path: Path) -> int:
    """Give torch as many threads as the run at `path` began with, and say how many.

    Sums are ordered by threads, so weights and scores are another run's with other threads. Raises
    `RunFolderError` for a file that is none of ours.
    """
    threads = torch.get_num_threads()
    if not path.exists():
        write_atomically(path, f"{json.dumps({'torch_threads': threads})}\n".encode())
        return threads
    try:
        kept = json.loads(path.read_bytes())["torch_threads"]
    except (ValueError, RecursionError, KeyError, TypeError):
        kept = None
    if type(kept) is not int or not 1 <= kept <= 4096:
        raise RunFolderError(
            f"{path} holds the number of threads that torch began this run with, got "
            f"{kept!r}; restore the file, or run in another folder"
        )
    if kept != threads:
        logger.warning("torch resumes with %d thread(s), as this run began, not %d", kept, threads)
        torch.set_num_threads(kept)
    return kept
