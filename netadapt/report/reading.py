"""From a run's folder, finished or not, to the records of its report."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from netadapt import __version__
from netadapt.config import RunConfig
from netadapt.errors import RunFolderError
from netadapt.predictor.errors import MissingKernelTypeError
from netadapt.predictor.predictor import LatencyPredictor, MemoisedPredictor
from netadapt.report import measured, predicted
from netadapt.report.beside import check_comparable, other_run
from netadapt.report.intervals import Z_95, Estimate
from netadapt.report.published import read_published
from netadapt.report.records import (
    Budget,
    Candidate,
    Drawing,
    Duration,
    Fact,
    Kind,
    LossCurve,
    MapExamples,
    OtherRun,
    PathStep,
    Probe,
    RunReport,
    SearchReport,
    TrainedNetwork,
)
from netadapt.runs.budgets import Budget as SearchBudget
from netadapt.runs.budgets import budgets_of
from netadapt.runs.conclusion import source_commit
from netadapt.runs.examples import read_examples
from netadapt.runs.folder import RunFolder
from netadapt.runs.learning import learning_file, read_learning
from netadapt.runs.masking_log import read_masking
from netadapt.runs.parts import Parts
from netadapt.runs.result import NetworkResult, RunResult, SearchOutcome
from netadapt.runs.sessions import read_sessions
from netadapt.runs.training_log import read_metrics
from netadapt.search.metrics import Constraint, LatencyMetric
from netadapt.search.space import Arch, Space
from netadapt.search.trials import Iteration, accepted_path, read_iterations

if TYPE_CHECKING:
    from netadapt.search.task import Task

logger = logging.getLogger(__name__)


def read_run(
    folder: RunFolder, reference: Path | None = None, beside: Sequence[RunFolder] = ()
) -> RunReport:
    """The report of the run in `folder`, with what is there of it.

    Parameters
    ----------
    reference: a latency table with published networks to put beside the run's own.
    beside: finished runs whose networks compare with this one's.

    Raises `RunFolderError` for a folder without a run, and what its files' readers raise.
    """
    config = folder.read_config()
    parts = Parts(config)
    space, task = parts.space, parts.task
    result = RunResult.load(folder.result) if folder.result.exists() else None
    others = tuple(_read_beside(config, result, folder, other) for other in beside)
    predictor = LatencyPredictor.load(folder.predictor) if folder.predictor.exists() else None
    table = measured.read_table(
        folder.table, None if predictor is None else predictor.data_.provenance
    )
    view = None if predictor is None else predictor.memoised()
    knowing = view if view is not None and _knows(view, space) else None
    logs = {label: _iterations(folder, label) for label in _labels(config, result)}
    counted = parts.counted_constraints()
    metric, unit = _search_metric(config, counted)
    by_loss = config.search.evaluation.score == "loss"
    # A search maximises its scores: a loss has its sign turned there
    sign = -1.0 if by_loss or not task.higher_is_better else 1.0
    searches = tuple(
        replace(search, masking=read_masking(folder.search(search.label).masking))
        for search in _searches(
            config, space, result, logs, counted, metric, _reference_ms(folder), sign
        )
    )
    archs = _archs(space, result, logs)
    return RunReport(
        name=config.run.name,
        finished=result is not None,
        about=_about(config, result, table),
        score_name=task.metric_name,
        score_is_share=task.metric_name == "accuracy",
        higher_is_better=task.higher_is_better,
        searched_by="loss" if by_loss else task.metric_name,
        search_metric=metric,
        search_unit=unit,
        searches=searches,
        networks=_networks(result),
        predicted_measured=predicted.pairs(space, knowing, table, searches, logs, result),
        drawings=tuple(_drawing(space, label, arch) for label, arch in archs.items()),
        wholes=predicted.wholes(space, knowing, archs, _measured_ms(result)),
        blocks=predicted.blocks(space, knowing, archs),
        kernel_types=predicted.kernel_types(space, knowing, archs),
        latency_map=predicted.latency_map(space, knowing),
        predictor=() if predictor is None else predicted.errors(predictor.report_),
        learning=read_learning(learning_file(folder.table)),
        losses=_losses(folder),
        conditions=table.conditions,
        settings=tuple(Fact(key, str(value)) for key, value in config.flat().items()),
        durations=tuple(Duration(step, s) for step, s in folder.durations_s().items()),
        published=() if reference is None else read_published(reference, table.provenance, task),
        this=_as_other(folder, config, result, result) if beside and result else None,
        beside=others,
        examples=_examples(folder, task, result),
    )


def _examples(folder: RunFolder, task: Task, result: RunResult | None) -> tuple[MapExamples, ...]:
    labels = [] if result is None else [search.label for search in result.searches]
    kept = read_examples(folder, labels)
    if kept is None or task.output_map is None:
        return ()
    of, unit = task.output_map.name, task.output_map.unit
    return tuple(
        MapExamples(label, of, unit, kept.pictures, kept.truth, kept.reference, found)
        for label, found in kept.found.items()
    )


def _read_beside(
    config: RunConfig, result: RunResult | None, folder: RunFolder, other: RunFolder
) -> OtherRun:
    theirs = other.read_config()
    check_comparable(config, theirs, other)
    for each in (folder, other):
        if not each.result.exists():
            raise RunFolderError(
                f"runs stand beside each other when both are finished, {each.path} is not; "
                "resume it: netadapt search"
            )
    found = RunResult.load(other.result)
    assert result is not None
    if found.reference.arch != result.reference.arch:
        raise RunFolderError(
            f"runs stand beside each other where their spaces have the same reference, "
            f"{other.path} has another; search it again in this run's space"
        )
    return _as_other(other, theirs, found, result)


def _as_other(folder: RunFolder, config: RunConfig, result: RunResult, this: RunResult) -> OtherRun:
    reference, *_ = _networks(this)
    return other_run(folder, config, _networks(result), reference)


def _reference_ms(folder: RunFolder) -> float | None:
    """What the run counts as the reference's latency, once it has timed it."""
    sessions = read_sessions(folder.sessions)
    return next((s.reference_ms for s in sessions if s.purpose == "reference"), None)


def _knows(predictor: MemoisedPredictor, space: Space) -> bool:
    """Whether it has learnt every type of kernel that the space's reference has."""
    try:
        predictor.predict(space.kernels(space.reference()))
    except MissingKernelTypeError as error:
        logger.warning("networks' predicted latencies are left out of the report: %s", error)
        return False
    return True


def _labels(config: RunConfig, result: RunResult | None) -> tuple[str, ...]:
    if result is not None:
        return tuple(search.label for search in result.searches)
    return tuple(budget.label for budget in budgets_of(config.search.constraints))


def _iterations(folder: RunFolder, label: str) -> tuple[Iteration, ...]:
    trials = folder.search(label).trials
    return read_iterations(trials) if trials.exists() else ()


def _named(kind: str, label: str, several: bool) -> str:
    """What the page calls a network of a search: its budget only where there are others."""
    return f"{kind} {label}" if several else kind


def _archs(
    space: Space, result: RunResult | None, logs: Mapping[str, Sequence[Iteration]]
) -> dict[str, Arch]:
    """The reference beside the found networks, or beside those that the searches kept last."""
    several = len(logs) > 1
    if result is not None:
        others = {
            _named("found", s.label, several): space.arch_from_json(s.found.arch)
            for s in result.searches
        }
    else:
        paths = {label: accepted_path(iterations) for label, iterations in logs.items()}
        others = {
            _named("kept so far", label, several): space.arch_from_json(path[-1].arch)
            for label, path in paths.items()
            if path
        }
    return {"reference": space.reference()} | others if others else {}


def _measured_ms(result: RunResult | None) -> dict[str, float]:
    """Of the networks that `_archs` names, where they have been trained and timed."""
    return {n.label: n.measured_ms for n in _networks(result)}


def _networks(result: RunResult | None) -> tuple[TrainedNetwork, ...]:
    if result is None:
        return ()
    several = len(result.searches) > 1
    found = [_trained("reference", "reference", None, result.reference)]
    for search in result.searches:
        label = _named("found", search.label, several)
        found.append(_trained(label, "found", search.label, search.found))
        for network in search.scaled_variants:
            name = f"scaled {network.multiplier:g} x, {_kernels_text(network.kernel_sizes)}"
            found.append(
                _trained(
                    f"{name}, for {search.label}" if several else name,
                    "scaled",
                    search.label,
                    network,
                    chosen=network == search.scaled,
                )
            )
    return tuple(found)


def _trained(
    label: str, kind: Kind, search: str | None, network: NetworkResult, *, chosen: bool = True
) -> TrainedNetwork:
    return TrainedNetwork(
        label=label,
        kind=kind,
        search=search,
        score=network.test_metric,
        images=network.test_images,
        predicted_ms=network.predicted_ms,
        measured_ms=network.measured_ms,
        measured_spread=network.measured_spread,
        latency_ratio=network.latency_ratio,
        macs=network.macs,
        params=network.params,
        depth=network.depth,
        chosen=chosen,
        others=network.test_others,
    )


def _kernels_text(kernel_sizes: str | None) -> str:
    return "own kernels" if kernel_sizes == "own" else f"all {kernel_sizes}x{kernel_sizes}"


def _searches(
    config: RunConfig,
    space: Space,
    result: RunResult | None,
    logs: Mapping[str, Sequence[Iteration]],
    counted: Sequence[Constraint],
    metric: str,
    reference_ms: float | None,
    sign: float,
) -> tuple[SearchReport, ...]:
    outcomes = {s.label: s for s in result.searches} if result is not None else {}
    given = {b.label: b for b in budgets_of(config.search.constraints)}
    return tuple(
        SearchReport(
            label=label,
            given=_given_text(given.get(label), outcomes.get(label)),
            budgets=(
                _budgets_met(outcomes[label], space, counted, iterations)
                if label in outcomes
                else _budgets_given(given[label], counted, reference_ms)
            ),
            candidates=tuple(
                Candidate(i.number, sign * t.score, t.predicted[metric])
                for i in iterations
                for t in i.trials
            ),
            path=_path(iterations, metric, sign),
            probes=_probes(iterations),
            found_alone_ms=_alone_ms(outcomes.get(label), iterations),
            lead=_lead(outcomes.get(label)),
        )
        for label, iterations in logs.items()
    )


def _lead(outcome: SearchOutcome | None) -> Estimate | None:
    if outcome is None or outcome.search_lead is None:
        return None
    value, error = outcome.search_lead
    return Estimate(value, value - Z_95 * error, value + Z_95 * error)


def _given_text(budget: SearchBudget | None, outcome: SearchOutcome | None) -> str:
    share = outcome.latency_share if outcome is not None else budget and budget.latency_share
    if share:
        return f"{100 * share:g} % of the reference's latency"
    latency_ms = outcome.budget_ms if outcome is not None else budget and budget.latency_ms
    return f"{latency_ms:g} ms" if latency_ms else "without a latency"


def _budgets_met(
    outcome: SearchOutcome,
    space: Space,
    counted: Sequence[Constraint],
    iterations: Sequence[Iteration],
) -> tuple[Budget, ...]:
    """Metrics that were given as objects are in no file; the search's log has what they said."""
    arch = space.arch_from_json(outcome.found.arch)
    logged = {trial.arch: trial.predicted for i in iterations for trial in i.trials}
    said = logged.get(outcome.found.arch, {})
    metrics = {constraint.metric.name: constraint.metric for constraint in counted}
    budgets = []
    for name, limit in outcome.constraints.items():
        if name == LatencyMetric.name:
            budgets.append(Budget(name, LatencyMetric.unit, limit, outcome.found.measured_ms))
        elif name in metrics:
            (reached,) = metrics[name]([arch])
            budgets.append(Budget(name, metrics[name].unit, limit, reached))
        else:
            budgets.append(Budget(name, "", limit, said.get(name)))
    return tuple(budgets)


def _budgets_given(
    budget: SearchBudget, counted: Sequence[Constraint], reference_ms: float | None
) -> tuple[Budget, ...]:
    """What must be met; of an unfinished run what is known of it already."""
    limit_ms = budget.latency_ms if reference_ms is None else budget.in_ms(reference_ms)
    latency = [] if limit_ms is None else [(LatencyMetric.name, LatencyMetric.unit, limit_ms)]
    others = [(c.metric.name, c.metric.unit, c.budget) for c in counted]
    return tuple(Budget(*known, None) for known in (*latency, *others))


def _search_metric(config: RunConfig, counted: Sequence[Constraint]) -> tuple[str, str]:
    """Latency where it is constrained, else the first of the other constraints; and its unit."""
    given = config.search.constraints
    if given.latency_ms is not None or given.latency_share is not None:
        return LatencyMetric.name, LatencyMetric.unit
    metric = counted[0].metric
    return metric.name, metric.unit


def _path(iterations: Sequence[Iteration], metric: str, sign: float) -> tuple[PathStep, ...]:
    timed = {i.number: i.accepted.measured_ms for i in iterations if i.accepted is not None}
    return tuple(
        PathStep(
            t.iteration,
            sign * t.score,
            t.predicted[metric],
            timed[t.iteration] if metric == "latency" else None,
        )
        for t in accepted_path(iterations)
    )


def _probes(iterations: Sequence[Iteration]) -> tuple[Probe, ...]:
    """What was measured in the search, as it was predicted when it was proposed."""
    found = []
    for iteration in iterations:
        proposed = {t.arch: t.predicted for t in iteration.trials}
        kept = iteration.accepted.arch if iteration.accepted is not None else None
        found += [
            Probe(
                iteration.number,
                proposed[m.arch]["latency"],
                m.measured_ms,
                m.arch == kept,
                iteration.guard,
            )
            for m in iteration.measured
            if "latency" in proposed[m.arch]
        ]
    return tuple(found)


def _alone_ms(outcome: SearchOutcome | None, iterations: Sequence[Iteration]) -> tuple[float, ...]:
    """Of an unfinished search the last network that was timed by itself."""
    if outcome is not None:
        return outcome.found_alone_ms
    confirmed = [i.confirmed for i in iterations if i.confirmed is not None]
    return confirmed[-1].both_ms if confirmed else ()


def _drawing(space: Space, label: str, arch: Arch) -> Drawing:
    return Drawing(label, space.depth(arch), space.drawing(arch))


def _losses(folder: RunFolder) -> tuple[LossCurve, ...]:
    points = read_metrics(folder.metrics)
    return tuple(
        LossCurve(
            phase,
            tuple(p.step for p in points if p.phase == phase),
            tuple(p.loss for p in points if p.phase == phase),
        )
        for phase in dict.fromkeys(p.phase for p in points)
    )


def _about(
    config: RunConfig, result: RunResult | None, table: measured.Measured
) -> tuple[Fact, ...]:
    """Who made the run and this page, when, on what, and how to do it again."""
    here = _version(__version__, source_commit())
    made_by = here if result is None else _version(result.netadapt_version, result.commit)
    provenance = table.provenance
    facts = [Fact("Run by", made_by)]
    if provenance is not None:
        cores = (
            f"cpus {provenance.cpus}, {provenance.threads} thread(s), {provenance.recipe.precision}"
        )
        facts.append(Fact("Measured on", f"{provenance.device.model}, {cores}"))
    if table.rows:
        facts.append(Fact("Measured", table.period))
    again = "netadapt search run.toml --folder FOLDER, with the run.toml in this run's folder"
    seeds = f"{config.run.seed}"
    if result is not None:
        seeds += f" of the run, {result.task_seed} of the task's images"
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return (
        *facts,
        Fact("Seeds", seeds),
        Fact("To do it again", again),
        Fact("Page written", f"{now} by `netadapt report`, {here}"),
    )


def _version(version: str, commit: str | None) -> str:
    return f"netadapt {version}" + (f" (commit {commit[:12]})" if commit else "")
