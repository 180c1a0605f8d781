"""The driver: evaluates and measures what a search asks for, logs it, and resumes from the log.

A search is a generator and cannot be stored. To resume, it is made anew and sent what the log
holds; nothing in the log is evaluated or measured again, and the first request beyond it is where
the work continues.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from netadapt.search.errors import MetricError, TrialLogError
from netadapt.search.requests import Accept, Answer, Confirm, Evaluate, Measure
from netadapt.search.trials import (
    Accepted,
    Confirmed,
    Finished,
    Measured,
    Proposal,
    Record,
    Scored,
    Trial,
    TrialLog,
)

if TYPE_CHECKING:
    from netadapt.search.landing import Search
    from netadapt.search.space import Arch

logger = logging.getLogger(__name__)

RecordT = TypeVar("RecordT", Proposal, Scored, Measured, Accepted, Confirmed, Finished)

EvaluateArchs = Callable[[Sequence["Arch"]], Sequence[float]]
"""Archs to scores, higher is better; the same archs together score the same."""
MeasureArchs = Callable[[Sequence["Arch"]], Sequence[float]]
"""Archs to the measured milliseconds of their whole networks."""
ConfirmArch = Callable[["Arch"], tuple[float, float]]
"""An arch to the milliseconds of its network, timed twice by itself."""


@dataclass(frozen=True, slots=True)
class SearchProgress:
    """Where a search stands; all seconds are wall time, those of replayed steps included.

    `iterations_left` counts those after the current one and is an estimate.
    """

    iteration: int
    iterations_left: int
    candidates: int
    candidates_scored: int
    scored: int
    elapsed_s: float
    iteration_s: float
    best_score: float | None
    measured_ms: float | None

    @property
    def remaining_s(self) -> float | None:
        """Estimated seconds to go, None before the first full iteration has shown its cost."""
        if self.iteration < 1 or not self.candidates_scored:
            return None
        this = self.iteration_s / self.candidates_scored * self.candidates
        return max(this - self.iteration_s, 0.0) + this * self.iterations_left


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found.

    Parameters
    ----------
    measured_ms: in the iteration that accepted it; None where nobody measures in the loop.
    confirmed_ms: timed again by itself, twice; None where nobody confirms.
    lead: by how much the loss of the next best candidate of the same iteration is above its own on
        the same images, and the standard error of that; None where it was not looked at.
    """

    arch: Arch
    score: float
    predicted: Mapping[str, float]
    measured_ms: float | None
    confirmed_ms: tuple[float, float] | None
    evaluations: int
    iterations: int
    seconds: float
    lead: tuple[float, float] | None = None


def fingerprint(search: Search, configuration: str = "") -> str:
    """A digest of all that decides a search; `configuration` is what does beside the search."""
    return hashlib.sha256(f"{search.describe()}\n{configuration}".encode()).hexdigest()


def open_log(path: Path, search: Search, configuration: str = "") -> TrialLog:
    """The search's log at `path`, new or continued.

    `configuration` says what else the scores and times depend on (weights, data, device). Raises
    `TrialLogError` for a log of another search.
    """
    return TrialLog(path, fingerprint(search, configuration))


def run_search(
    search: Search,
    evaluate: EvaluateArchs,
    measure: MeasureArchs | None = None,
    log: TrialLog | None = None,
    on_progress: Callable[[SearchProgress], None] | None = None,
    *,
    confirm: ConfirmArch | None = None,
    on_accept: Callable[[Arch], None] | None = None,
    batch_size: int = 4,
) -> SearchResult:
    """Run a search to its end, or resume the one that `log` holds.

    Parameters
    ----------
    evaluate: how archs are scored, e.g. an `Evaluator` or an `AccuracyTable`.
    measure: how networks are timed while the search runs; None, or a search whose loop is
        "predictor": they are not.
    log: where every step is kept; None: nowhere, and an interrupted search starts anew.
    confirm: how what is found is timed again; None: it is not.
    on_accept: told of the arch that an iteration settled on, those of the log included.
    batch_size: archs handed to `evaluate` at once, the same whenever it goes on: they may be scored
        beside each other. A kill loses at most this many.

    Raises `ImpossibleBudgetError` for a budget out of reach, `TrialLogError` when the search asks
    for other than what the log holds, `MetricError` for a score that is not a number, and whatever
    the three functions raise: a device that is lost ends the call, not the search. What was logged
    stays, and the same call resumes from there.
    """
    measure = measure if search.loop.measures else None
    run = _Run(search, evaluate, measure, confirm, log, on_progress, on_accept, batch_size)
    return run.result()


class _Run:
    def __init__(
        self,
        search: Search,
        evaluate: EvaluateArchs,
        measure: MeasureArchs | None,
        confirm: ConfirmArch | None,
        log: TrialLog | None,
        on_progress: Callable[[SearchProgress], None] | None,
        on_accept: Callable[[Arch], None] | None,
        batch_size: int,
    ) -> None:
        self._search = search
        self._evaluate = evaluate
        self._measure = measure
        self._confirm = confirm
        self._log = log
        self._replay: list[Record] = [] if log is None else list(reversed(log.records))
        self._on_progress = on_progress
        self._on_accept = on_accept
        self._batch_size = batch_size
        self._trials: dict[Arch, Trial] = {}
        self._measured: dict[Arch, float] = {}
        self._confirmed: dict[Arch, tuple[float, float]] = {}
        self._request = Evaluate(0, (), (), {}, 0, 0.0)
        self._candidates_scored = 0
        self._iteration_s = 0.0
        self._elapsed_s = 0.0
        self._best: float | None = None
        self._last_ms: float | None = None

    def result(self) -> SearchResult:
        requests = self._search.requests()
        answer: Answer = None
        while True:
            begin = time.perf_counter()
            try:
                request = requests.send(answer)
            except StopIteration as stop:
                return self._finish(stop.value)
            match request:
                case Evaluate():
                    answer = self._answer_evaluate(request, time.perf_counter() - begin)
                case Measure():
                    answer = self._answer_measure(request)
                case Accept():
                    self._answer_accept(request)
                    answer = None
                case Confirm():
                    answer = self._answer_confirm(request)

    def _answer_evaluate(self, request: Evaluate, propose_s: float) -> tuple[Trial, ...]:
        self._request = request
        self._candidates_scored = 0
        self._iteration_s = 0.0
        count = len(request.candidates)
        proposal = self._recorded(Proposal)
        if proposal is None:
            proposal = Proposal(request.iteration, count, request.targets, request.guard, propose_s)
            self._keep(proposal)
        elif (proposal.iteration, proposal.candidates) != (request.iteration, count):
            self._mismatch(f"iteration {proposal.iteration} of {proposal.candidates} candidates")
        self._spend(proposal.seconds)
        trials: list[Trial] = []
        for begin in range(0, count, self._batch_size):
            trials += self._batch(request, begin)
            self._candidates_scored = len(trials)
            self._report()
        self._best = max(trial.score for trial in trials)
        return tuple(trials)

    def _batch(self, request: Evaluate, begin: int) -> list[Trial]:
        """Candidates from number `begin` on, from the log, or scored and logged.

        Scores may depend on whom an arch was scored with, so a batch of which the log has a part
        is scored as a whole once more.
        """
        end = begin + self._batch_size
        archs = request.candidates[begin:end]
        recorded: list[Scored] = []
        while len(recorded) < len(archs) and (scored := self._recorded(Scored)) is not None:
            if scored.arch != archs[len(recorded)].to_json():
                self._mismatch(scored.arch)
            self._spend(scored.seconds)
            recorded.append(scored)
        scores = {arch: scored.score for arch, scored in zip(archs, recorded, strict=False)}
        seconds = 0.0
        if len(recorded) < len(archs):
            unseen = list(dict.fromkeys(a for a in archs if a not in self._trials))
            start = time.perf_counter()
            fresh = dict(zip(unseen, self._evaluate(unseen), strict=True)) if unseen else {}
            seconds = (time.perf_counter() - start) / max(len(unseen), 1)
            scores = {a: fresh[a] if a in fresh else self._trials[a].score for a in archs} | scores
        batch = []
        for place, (arch, predicted) in enumerate(
            zip(archs, request.predicted[begin:end], strict=True)
        ):
            score = float(scores[arch])
            if not math.isfinite(score):
                raise MetricError(
                    f"a score is a finite number, got {score} for {arch.to_json()}; "
                    "check the evaluation"
                )
            cost = 0.0 if arch in self._trials else seconds
            self._trials[arch] = trial = Trial(arch, score, predicted)
            if place >= len(recorded):
                self._keep(Scored(request.iteration, arch.to_json(), score, predicted, cost))
                self._spend(cost)
            batch.append(trial)
        return batch

    def _answer_measure(self, request: Measure) -> tuple[float, ...] | None:
        if self._measure is None:
            return None
        # A network that an earlier iteration measured is the same network.
        unseen = [arch for arch in dict.fromkeys(request.archs) if arch not in self._measured]
        while unseen and (measured := self._recorded(Measured)) is not None:
            if measured.arch != unseen[0].to_json():
                self._mismatch(measured.arch)
            self._learn(unseen.pop(0), measured)
        if unseen:
            begin = time.perf_counter()
            measured_ms = [float(ms) for ms in self._measure(unseen)]
            seconds = (time.perf_counter() - begin) / len(unseen)
            for arch, ms in zip(unseen, measured_ms, strict=True):
                measured = Measured(request.iteration, arch.to_json(), ms, seconds)
                self._keep(measured)
                self._learn(arch, measured)
        return tuple(self._measured[arch] for arch in request.archs)

    def _learn(self, arch: Arch, measured: Measured) -> None:
        self._measured[arch] = self._last_ms = measured.measured_ms
        self._spend(measured.seconds)
        self._report()

    def _answer_accept(self, request: Accept) -> None:
        ms = self._measured.get(request.arch)
        accepted = self._recorded(Accepted)
        if accepted is None:
            self._keep(Accepted(request.iteration, request.arch.to_json(), ms))
            logger.info(
                "iteration %d: score %.4f, measured %s ms",
                request.iteration,
                self._trials[request.arch].score,
                "-" if ms is None else f"{ms:.3f}",
            )
        elif accepted.arch != request.arch.to_json():
            self._mismatch(accepted.arch)
        self._last_ms = ms
        if self._on_accept is not None:
            self._on_accept(request.arch)
        self._report()

    def _answer_confirm(self, request: Confirm) -> tuple[float, ...] | None:
        if self._confirm is None:
            return None
        confirmed = self._recorded(Confirmed)
        if confirmed is None:
            begin = time.perf_counter()
            first_ms, second_ms = self._confirm(request.arch)
            seconds = time.perf_counter() - begin
            confirmed = Confirmed(
                request.iteration, request.arch.to_json(), first_ms, second_ms, seconds
            )
            self._keep(confirmed)
        elif confirmed.arch != request.arch.to_json():
            self._mismatch(confirmed.arch)
        self._spend(confirmed.seconds)
        self._confirmed[request.arch] = confirmed.both_ms
        return confirmed.both_ms

    def _finish(self, arch: Arch) -> SearchResult:
        finished = self._recorded(Finished)
        if finished is None:
            self._keep(Finished(arch.to_json(), self._elapsed_s))
        elif finished.arch != arch.to_json():
            self._mismatch(finished.arch)
        trial = self._trials[arch]
        return SearchResult(
            arch,
            trial.score,
            trial.predicted,
            self._measured.get(arch),
            self._confirmed.get(arch),
            len(self._trials),
            self._request.iteration,
            self._elapsed_s,
        )

    def _keep(self, record: Record) -> None:
        if self._log is not None:
            self._log.append(record)

    def _recorded(self, kind: type[RecordT]) -> RecordT | None:
        """The next record of the log, None when the log is used up."""
        if not self._replay:
            return None
        record: Record = self._replay.pop()
        if not isinstance(record, kind):
            self._mismatch(f"a {record.kind!r} record")
        return record

    def _mismatch(self, found: str) -> NoReturn:
        assert self._log is not None  # else nothing is replayed
        raise TrialLogError(
            f"a search resumes from its own log only, but {self._log.path} holds {found} where "
            "this search proposes something else; the predictor, the weights or the version "
            "changed since: remove the log to search anew"
        )

    def _spend(self, seconds: float) -> None:
        self._iteration_s += seconds
        self._elapsed_s += seconds

    def _report(self) -> None:
        if self._on_progress is not None:
            self._on_progress(
                SearchProgress(
                    self._request.iteration,
                    self._request.iterations_left,
                    len(self._request.candidates),
                    self._candidates_scored,
                    len(self._trials),
                    self._elapsed_s,
                    self._iteration_s,
                    self._best,
                    self._last_ms,
                )
            )
