"""The steps that make a latency table and a predictor of it, and what `netadapt profile` does."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from netadapt.predictor.predictor import LatencyPredictor
from netadapt.profiler.lowering import ProgramCache, lower_networks, lower_subjects
from netadapt.profiler.profile import SENTINEL, Profiler, ProfileSummary
from netadapt.profiler.table import LatencyTable, Provenance
from netadapt.runs.context import phases
from netadapt.runs.network_timer import NetworkTimer, untrained
from netadapt.runs.profile_plan import ProfilePlan, plan_profile, sample_run

if TYPE_CHECKING:
    from netadapt.console import Progress
    from netadapt.predictor.prior import Prior
    from netadapt.runs.context import Context
    from netadapt.runs.folder import RunFolder
    from netadapt.runs.parts import Parts

logger = logging.getLogger(__name__)


class Profile:
    """Time a sample of the space's kernels and networks into the run's table."""

    name = "profile"

    def done(self, folder: RunFolder) -> bool:
        """Once a predictor was fitted the table is only added to."""
        return folder.predictor.exists()

    def do(self, context: Context) -> None:
        profile_planned(plan_profile(context.parts), context.folder.table, context.progress)


class Fit:
    """Fit the predictor to the rows of the run's device."""

    name = "fit"

    def done(self, folder: RunFolder) -> bool:
        return folder.predictor.exists()

    def do(self, context: Context) -> None:
        folder = context.folder
        with context.progress.step("Fitting the predictor"):
            fit_predictor(folder.table, folder.predictor, context.parts.provenance)


def profile_planned(plan: ProfilePlan, table: Path, progress: Progress) -> ProfileSummary:
    """Measure what is planned, for each number of threads, into the table at `table`.

    Rows that it holds under the same conditions are not measured again.
    """
    progress.say(str(plan.forecast(table)))
    summaries = [_profile(plan, parts, table, progress) for parts in plan.runs]
    return ProfileSummary(
        sum(summary.present for summary in summaries),
        sum(summary.measured for summary in summaries),
        sum(summary.flagged for summary in summaries),
        tuple(failure for summary in summaries for failure in summary.failures),
    )


def _profile(plan: ProfilePlan, parts: Parts, table: Path, progress: Progress) -> ProfileSummary:
    sample = plan.sample
    with LatencyTable(table) as rows:
        profiler = Profiler(parts.device, rows, settings=parts.config.profile, spec=parts.spec())
        with phases(progress, "kernels") as on_progress:
            single = profiler.kernels(sample.subjects, on_progress)
        timer = NetworkTimer(parts, rows)
        with phases(progress, "networks") as on_progress:
            whole = timer.archs(sample.archs, on_progress)
    for failure in single.failures:
        logger.warning("%s is left out: %s", failure.program, failure.message)
    return ProfileSummary(
        single.present + whole.present,
        single.measured + whole.measured,
        single.flagged + whole.flagged,
        (*single.failures, *whole.failures),
    )


def lower_space(parts: Parts, progress: Progress) -> None:
    """Lower all that a profile measures into the cache; what fails shows when it is timed."""
    sample = sample_run(parts)
    cache, lowering, workers = ProgramCache(), parts.lowering, parts.config.profile.workers
    with phases(progress, "kernels") as on_progress:
        lower_subjects(
            [SENTINEL, *sample.subjects],
            cache,
            lowering=lowering,
            workers=workers,
            on_progress=functools.partial(on_progress, "lower"),
        )
    networks = [untrained(sample.space, arch) for arch in sample.archs]
    with progress.step("Lowering networks"):
        lower_networks(networks, cache, lowering=lowering, workers=workers)


def fit_predictor(
    table: Path, path: Path, provenance: Provenance | None = None, prior: Prior | None = None
) -> LatencyPredictor:
    """Fit a predictor to the table at `table`, to rows of `provenance`, and save it at `path`.

    `prior`: another device's predictor, for a table with few rows.

    Raises `TableError` for a table that cannot be read, `PredictorError` for one that says too
    little, or holds rows of several provenances when none is given.
    """
    with LatencyTable(table, must_exist=True) as rows:
        predictor = LatencyPredictor(prior=prior).fit(rows, provenance=provenance)
    predictor.save(path)
    return predictor
