"""A run from the first timed kernel to its result, step by step, all in its folder.

profile -> fit -> time the reference -> train the super-network -> search -> choose the scaled
networks -> train found, reference and scaled -> lower and time them -> result.

Every step keeps what it does as it goes and skips what is there already, so a run that was killed
goes on when the same run is started again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import statistics
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from netadapt import __version__, assembly
from netadapt.android_runner.device import Device
from netadapt.android_runner.files import write_atomically
from netadapt.budgets import Budget, budgets_of
from netadapt.bundle import save_bundle
from netadapt.config import RunConfig
from netadapt.console import Progress, Update
from netadapt.errors import RunFolderError
from netadapt.folder import TRAINED, RunFolder, SearchFolder
from netadapt.network_timer import NetworkTimer
from netadapt.plan import ProfilePlan, plan_profile, sample_run
from netadapt.predictor.predictor import LatencyPredictor
from netadapt.profiler.lowering import ProgramCache, lower_networks, lower_subjects
from netadapt.profiler.profile import SENTINEL, OnProgress, Profiler, ProfileSummary, provenance_of
from netadapt.profiler.table import LatencyTable, Provenance
from netadapt.result import DeviceResult, NetworkResult, RunResult, SearchOutcome
from netadapt.search.driver import Progress as SearchProgress
from netadapt.search.driver import SearchResult, open_log, run_search
from netadapt.search.errors import ArchError
from netadapt.search.evaluation import Evaluator, evaluate_network
from netadapt.search.metrics import Constraint, LatencyMetric
from netadapt.search.network import build_network
from netadapt.search.searchers.base import Searcher
from netadapt.search.space import Arch, Space
from netadapt.search.supernet import SuperNetwork, calibrate, extract
from netadapt.search.training import TrainingProgress, train_network, train_supernet
from netadapt.text import milliseconds
from netadapt.training_log import TrainingLog

logger = logging.getLogger(__name__)

MULTIPLIERS = tuple(round(0.01 * i, 2) for i in range(5, 201))
"""Width multipliers that scaled networks are looked for among."""

SCALED_START = 0.93
"""Scaled networks predicted below this share of the found latency are not measured."""


@dataclass(frozen=True, slots=True)
class Family:
    """The reference scaled in width, with its own kernel sizes or one for all blocks."""

    label: str
    kernel_size: int | None


FAMILIES = (Family("own", None), Family("3", 3), Family("5", 5))


@dataclass(frozen=True, slots=True)
class FinalNetwork:
    """A network to be trained to its end; what it is scaled by is None for the found one.

    label: tells it from all others of the run. checkpoint: of its training.
    """

    label: str
    arch: Arch
    checkpoint: Path
    kernel_sizes: str | None = None
    multiplier: float | None = None


def profile_space(config: RunConfig, table: Path, progress: Progress) -> ProfileSummary:
    """`profile_planned` for what the run's configuration asks for."""
    return profile_planned(plan_profile(config), table, progress)


def profile_planned(plan: ProfilePlan, table: Path, progress: Progress) -> ProfileSummary:
    """Measure what is planned, for each number of threads, into the table at `table`.

    Rows that it holds under the same conditions are not measured again.
    """
    progress.say(str(plan.forecast(table)))
    summaries = [_profile_run(plan, run, table, progress) for run in plan.runs]
    return ProfileSummary(
        sum(summary.present for summary in summaries),
        sum(summary.measured for summary in summaries),
        sum(summary.flagged for summary in summaries),
        tuple(failure for summary in summaries for failure in summary.failures),
    )


def _profile_run(
    plan: ProfilePlan, config: RunConfig, table: Path, progress: Progress
) -> ProfileSummary:
    sample = plan.sample
    with LatencyTable(table) as rows:
        settings, spec = assembly.profile_settings(config), assembly.run_spec(config)
        profiler = Profiler(plan.device, rows, settings=settings, spec=spec)
        with _phases(progress, "kernels") as on_progress:
            single = profiler.kernels(sample.subjects, on_progress)
        timer = NetworkTimer(config, sample.space, rows)
        with _phases(progress, "networks") as on_progress:
            whole = timer.archs(sample.archs, on_progress)
    for failure in single.failures:
        logger.warning("%s is left out: %s", failure.program, failure.message)
    return ProfileSummary(
        single.present + whole.present,
        single.measured + whole.measured,
        single.flagged + whole.flagged,
        (*single.failures, *whole.failures),
    )


def _device(config: RunConfig) -> Device:
    """The run's device. One that is not there, or lacks the cores, raises before files are made."""
    device = assembly.make_device(config.device)
    device.cpus(assembly.run_spec(config))
    return device


def lower_space(config: RunConfig, progress: Progress) -> None:
    """Lower all that `profile_space` measures into the cache; what fails shows when it is timed."""
    sample = sample_run(config)
    cache, workers = ProgramCache(), config.profile.workers
    with _phases(progress, "kernels") as on_progress:
        lower_subjects(
            [SENTINEL, *sample.subjects],
            cache,
            lowering=assembly.run_lowering(config),
            workers=workers,
            on_progress=functools.partial(on_progress, "lower"),
        )
    networks = [
        build_network(sample.space, arch, generator=torch.Generator().manual_seed(0))
        for arch in sample.archs
    ]
    with progress.step("Lowering networks"):
        lower_networks(
            networks,
            sample.space.input_shape,
            cache,
            lowering=assembly.run_lowering(config),
            workers=workers,
        )


def fit_predictor(
    table: Path, path: Path, provenance: Provenance | None = None
) -> LatencyPredictor:
    """Fit a predictor to the table at `table`, to rows of `provenance`, and save it at `path`.

    Raises `TableError` for a table that cannot be read, `PredictorError` for one that says too
    little, or holds rows of several provenances when none is given.
    """
    with LatencyTable(table, must_exist=True) as rows:
        predictor = LatencyPredictor().fit(rows, provenance=provenance)
    predictor.save(path)
    return predictor


def latency_metric(space: Space, predictor: LatencyPredictor) -> LatencyMetric:
    """What a search counts as latency; its guard uses an interval that networks vouch for.

    Without a network measured whole the interval is as wide as the prior, and a guard on it would
    give most of the budget away.
    """
    vouched = predictor.correction_.samples > 0
    if not vouched:
        logger.warning(
            "no network was measured whole, so nothing tells how far the sum of kernels is off: "
            "the guard inside the budget is off; profile some with --networks 8"
        )
    view = predictor.memoised()
    return LatencyMetric(
        space,
        view.predict_networks,
        interval=view.predict_networks_interval if vouched else None,
    )


def run(
    config: RunConfig, folder: RunFolder, progress: Progress, *, adding: bool = False
) -> RunResult:
    """Do the whole run in `folder`, or what is left of it.

    Parameters
    ----------
    adding: budgets that the folder's run does not have are added to it: searched for in the
        super-network that is there, or will be.

    Raises `RunFolderError` when the folder is another run's, and what the steps raise; the same
    call goes on from there.
    """
    space = assembly.make_space(config)
    assembly.check_fit(space, assembly.make_task(config))
    counted = assembly.counted_constraints(config, space)
    if counted:
        _check_budget(assembly.make_searcher(config, space, counted))
    if not folder.result.exists():
        _device(config)
    with folder.locked():
        return _steps(config, folder, progress, adding=adding)


def _steps(config: RunConfig, folder: RunFolder, progress: Progress, *, adding: bool) -> RunResult:
    config = folder.claim(config, adding=adding)
    before = RunResult.load(folder.result) if folder.result.exists() else None
    if before is not None:
        done = {search.label for search in before.searches}
        if all(budget.label in done for budget in budgets_of(config.search.constraints)):
            return before
    keep_torch_threads(folder.environment)
    if not folder.predictor.exists():
        with folder.timed("profile"):
            profile_space(config, folder.table, progress)
        with folder.timed("fit"), progress.step("Fitting the predictor"):
            device = assembly.make_device(config.device)
            spec, lowering = assembly.run_spec(config), assembly.run_lowering(config)
            provenance = provenance_of(device, spec, lowering)
            fit_predictor(folder.table, folder.predictor, provenance)
    with LatencyTable(folder.table) as table:
        return _Run(config, folder, table, progress).result(before)


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
        logger.warning(
            "torch goes on with %d thread(s), as this run began, not with %d", kept, threads
        )
        torch.set_num_threads(kept)
    return kept


def content_digest(module: nn.Module) -> str:
    """Of a module's parameters and statistics; equal for equal weights, however they are stored."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().contiguous().cpu()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Found:
    """What a search found for one budget; `finals` are the found network and the scaled ones."""

    budget: Budget
    budget_ms: float | None
    folder: SearchFolder
    result: SearchResult
    finals: tuple[FinalNetwork, ...]


class _Run:
    """What needs the predictor: from the budgets to the result."""

    def __init__(
        self, config: RunConfig, folder: RunFolder, table: LatencyTable, progress: Progress
    ) -> None:
        self.config = config
        self.folder = folder
        self.progress = progress
        self.space = assembly.make_space(config)
        self.task = assembly.make_task(config)
        self.predictor = LatencyPredictor.load(folder.predictor)
        self.timer = NetworkTimer(config, self.space, table, sessions=folder.sessions)
        self.supernet = SuperNetwork(
            self.space, generator=torch.Generator().manual_seed(config.run.seed)
        )

    def result(self, before: RunResult | None = None) -> RunResult:
        """The run's result; searches that `before` has are left as they are."""
        reference = self.space.reference()
        with self.folder.timed("time the reference"), self.progress.step("Timing the reference"):
            reference_ms, _ = self.timer.reference()
        done = {} if before is None else {search.label: search for search in before.searches}
        budgets = budgets_of(self.config.search.constraints)
        new = [budget for budget in budgets if budget.label not in done]
        for budget in new:
            _check_budget(self._searcher(budget.in_ms(reference_ms)))
        self.folder.keep_budgets(self.config)
        with self.folder.timed("train the super-network"):
            self._train_supernet()
        found = [self._find(budget, budget.in_ms(reference_ms)) for budget in new]
        first = FinalNetwork(
            "reference", reference, self.folder.training / "reference.pt", "own", 1.0
        )
        finals = [first, *(final for one in found for final in one.finals)]
        with self.folder.timed("final training"):
            trained = {final.label: self._train(final) for final in finals}
        with self.folder.timed("time final networks"):
            networks = self._judge(finals, trained)
        for one in found:
            final, text = one.finals[0], self.folder.space.read_text()
            save_bundle(one.folder, self.space, text, final.arch, trained[final.label], self.task)
            done[one.budget.label] = self._outcome(one, networks)
        result = RunResult(
            name=self.config.run.name,
            metric=self.task.metric_name,
            higher_is_better=self.task.higher_is_better,
            reference=networks["reference"] if before is None else before.reference,
            searches=tuple(done[budget.label] for budget in budgets),
            seed=self.config.run.seed,
            task_seed=self.task.seed,
            torch_threads=torch.get_num_threads(),
            netadapt_version=__version__,
            commit=source_commit(),
            device=_device_result(self.timer.provenance),
            durations_s=self.folder.durations_s(),
        )
        result.save(self.folder.result)
        return result

    def _find(self, budget: Budget, budget_ms: float | None) -> _Found:
        """Search for one budget, and choose the networks that what it finds is compared with."""
        folder = self.folder.search(budget.label)
        folder.path.mkdir(parents=True, exist_ok=True)
        with self.folder.timed("search"):
            found = self._search(folder, budget, budget_ms)
        assert found.confirmed_ms is not None  # a search that is confirmed confirms its result
        found_ms = statistics.mean(found.confirmed_ms)
        self.progress.say(
            f"found {budget.label}: {' and '.join(map(milliseconds, found.confirmed_ms))}"
            + ("" if budget_ms is None else f", of {milliseconds(budget_ms)}")
            + f", score {found.score:.4f}"
        )
        with self.folder.timed("time scaled networks"):
            scaled = self._scaled(folder, budget, found_ms)
        final = FinalNetwork(f"found {budget.label}", found.arch, folder.training / "found.pt")
        return _Found(budget, budget_ms, folder, found, (final, *scaled))

    def _outcome(self, one: _Found, networks: Mapping[str, NetworkResult]) -> SearchOutcome:
        found, *variants = (networks[final.label] for final in one.finals)
        sign = 1 if self.task.higher_is_better else -1
        assert one.result.confirmed_ms is not None
        return SearchOutcome(
            label=one.budget.label,
            budget_ms=one.budget_ms,
            latency_share=one.budget.latency_share,
            constraints={
                c.metric.name: c.budget for c in self._searcher(one.budget_ms).constraints
            },
            found=found,
            scaled=max(variants, key=lambda n: sign * n.accuracy, default=None),
            scaled_variants=tuple(variants),
            search_score=one.result.score,
            found_alone_ms=one.result.confirmed_ms,
            evaluations=one.result.evaluations,
            iterations=one.result.iterations,
        )

    def _searcher(self, budget_ms: float | None) -> Searcher:
        latency = latency_metric(self.space, self.predictor)
        constraints = assembly.counted_constraints(self.config, self.space)
        if budget_ms is not None:
            constraints.insert(0, Constraint(latency, budget_ms))
        return assembly.make_searcher(self.config, self.space, constraints)

    def _train_supernet(self) -> None:
        settings = assembly.training_settings(self.config.supernet, self.config.run.seed)
        with self._training("supernet", "the super-network") as on_progress:
            train_supernet(
                self.supernet,
                self.task,
                settings,
                assembly.make_sampler(self.config, self.space),
                checkpoint=self.folder.supernet,
                on_progress=on_progress,
            )
        self.supernet.eval()

    def _search(
        self, folder: SearchFolder, budget: Budget, budget_ms: float | None
    ) -> SearchResult:
        section = self.config.search
        evaluator = Evaluator(
            self.supernet,
            self.task,
            calibration_images=section.calibration_images,
            validation_images=section.validation_images,
        )
        searcher = self._searcher(budget_ms)
        with (
            open_log(folder.trials, searcher, self._search_inputs()) as log,
            self.progress.step(f"Searching {budget.label}") as update,
        ):

            def on_progress(p: SearchProgress) -> None:
                done = max(p.iteration - 1, 0) * p.candidates + p.candidates_scored
                update(done, (p.iteration + p.iterations_left) * p.candidates)

            measure = None if section.loop == "predictor" else self.timer.measured
            return run_search(
                searcher, evaluator, measure, log, on_progress, confirm=self.timer.twice
            )

    def _search_inputs(self) -> str:
        """What a search's scores and times depend on beside its own settings."""
        predictor = hashlib.sha256(self.folder.predictor.read_bytes()).hexdigest()
        supernet = content_digest(self.supernet)
        conditions = (str(self.timer.provenance), str(self.config.decisive()), str(self.space))
        return "\n".join((predictor, supernet, *conditions))

    def _scaled(self, folder: SearchFolder, budget: Budget, found_ms: float) -> list[FinalNetwork]:
        """Of each family the smallest multiplier not below the found latency, if there is one."""
        chosen: dict[Family, FinalNetwork] = {}
        with self.progress.step("Timing scaled networks") as update:
            left = {
                family: self._ascending(folder, budget, found_ms, family) for family in FAMILIES
            }
            while left:
                update(len(FAMILIES) - len(left), len(FAMILIES))
                # One of each family at a time, so that they are lowered side by side
                turn = {family: next(candidates, None) for family, candidates in left.items()}
                wanted = [final.arch for final in turn.values() if final]
                ms = dict(zip(wanted, self.timer.measured(wanted), strict=True)) if wanted else {}
                for family, final in turn.items():
                    if final is None:
                        logger.warning(
                            "no width of the reference with kernel sizes %s takes %s",
                            family.label,
                            milliseconds(found_ms),
                        )
                    elif ms[final.arch] >= found_ms:
                        chosen[family] = final
                    else:
                        continue
                    del left[family]
            update(len(FAMILIES), len(FAMILIES))
        return [chosen[family] for family in FAMILIES if family in chosen]

    def _ascending(
        self, folder: SearchFolder, budget: Budget, found_ms: float, family: Family
    ) -> Iterator[FinalNetwork]:
        """The family's networks by width, from a little below the found latency on.

        Each is timed by the time the next one is asked for.
        """
        archs: dict[Arch, float] = {}
        for multiplier in MULTIPLIERS:
            try:
                archs.setdefault(self.space.scaled(multiplier, family.kernel_size), multiplier)
            except ArchError:
                continue  # wider than the space
        predicted = self.predictor.predict_networks([self.space.kernels(a) for a in archs])
        off = 1.0  # by how much the last one measured other than predicted
        for (arch, multiplier), ms in zip(archs.items(), predicted, strict=True):
            if off * ms >= SCALED_START * found_ms:
                label = f"scaled {family.label} {budget.label}"
                checkpoint = folder.training / f"scaled-{family.label}.pt"
                yield FinalNetwork(label, arch, checkpoint, family.label, multiplier)
                off = self.timer.measured([arch])[0] / ms

    def _train(self, final: FinalNetwork) -> nn.Module:
        section, seed = self.config.final, self.config.run.seed
        if section.weights == "supernet":
            images = self.task.calibration_images(self.config.search.calibration_images)
            network = extract(
                self.supernet, final.arch, calibrate(self.supernet, final.arch, images)
            )
        else:
            start = torch.Generator().manual_seed(seed)
            network = build_network(self.space, final.arch, generator=start)
        final.checkpoint.parent.mkdir(exist_ok=True)
        with self._training(final.label, final.label) as on_progress:
            train_network(
                network,
                self.task,
                assembly.training_settings(section, seed),
                checkpoint=final.checkpoint,
                on_progress=on_progress,
            )
        return network

    @contextmanager
    def _training(self, phase: str, what: str) -> Iterator[Callable[[TrainingProgress], None]]:
        """What a training reports to: a step of the run's progress, and the training log."""
        folder = self.folder
        with (
            self.progress.step(f"Training {what}") as update,
            TrainingLog(folder.metrics, phase, tensorboard=folder.tensorboard) as log,
        ):

            def on_progress(p: TrainingProgress) -> None:
                update(p.step, p.steps)
                log(p)

            yield on_progress

    def _judge(
        self, finals: Sequence[FinalNetwork], trained: Mapping[str, nn.Module]
    ) -> dict[str, NetworkResult]:
        """Accuracy on the test split and the latency of the trained programs, timed together.

        The first of `finals` is the reference, which the others are timed as shares of.
        """
        named = {f"{TRAINED}{final.label}": trained[final.label] for final in finals}
        with _phases(self.progress, "final networks") as on_progress:
            timed = self.timer.together(named, f"{TRAINED}{finals[0].label}", on_progress)
        reference_ms, reference_spread = self.timer.reference()
        predicted = self.predictor.predict_networks([self.space.kernels(f.arch) for f in finals])
        test = self.task.test()
        images = len(test.images) if self.task.metric_name == "accuracy" else None
        return {
            final.label: NetworkResult(
                accuracy=evaluate_network(trained[final.label], self.task, test),
                accuracy_images=images,
                predicted_ms=float(ms),
                measured_ms=timing.ratio * reference_ms,
                measured_spread=reference_spread if final is finals[0] else timing.spread,
                latency_ratio=timing.ratio,
                macs=self.space.macs(final.arch),
                params=self.space.params(final.arch),
                planned_memory_bytes=self.space.planned_memory_bytes(final.arch),
                depth=self.space.depth(final.arch),
                arch=final.arch.to_json(),
                kernel_sizes=final.kernel_sizes,
                multiplier=final.multiplier,
            )
            for final, ms, timing in zip(finals, predicted, timed.values(), strict=True)
        }


def _check_budget(searcher: Searcher) -> None:
    """Raises `ImpossibleBudgetError` now rather than after the training."""
    next(searcher.search())


def source_commit() -> str | None:
    """The commit of the sources this runs from, `+` behind it when they were changed since.

    None where they are not in a checkout of their own.
    """
    source = Path(__file__)

    def git(*arguments: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", "-C", str(source.parent), *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return answer.stdout.strip()

    if git("ls-files", "--error-unmatch", source.name) is None:
        return None
    changed = git("status", "--porcelain", "--untracked-files=no")
    return f"{git('rev-parse', 'HEAD')}{'+' if changed else ''}"


def _device_result(provenance: Provenance) -> DeviceResult:
    return DeviceResult(
        id=provenance.device.id,
        model=provenance.device.model,
        soc=provenance.device.soc,
        os=provenance.device.os,
        abi=provenance.device.abi,
        runtime_version=provenance.device.runtime_version,
        runner_sha256=provenance.device.runner_sha256,
        precision=provenance.recipe.precision,
        threads=provenance.threads,
        cpus=provenance.cpus,
    )


@contextmanager
def _phases(progress: Progress, what: str) -> Iterator[OnProgress]:
    """A progress step for each phase of a profiler, begun when the phase is."""
    titles = {"lower": f"Lowering {what}", "measure": f"Timing {what}"}
    with ExitStack() as stack:
        begun: dict[str, Update] = {}

        def on_progress(phase: str, done: int, total: int) -> None:
            if phase not in begun:
                stack.close()
                begun[phase] = stack.enter_context(progress.step(titles[phase]))
            begun[phase](done, total)

        yield on_progress
