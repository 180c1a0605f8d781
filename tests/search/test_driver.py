"""The driver: what it logs, how it resumes, and that a kill changes nothing."""

from __future__ import annotations

import gzip
import json
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from netadapt.search.driver import SearchProgress, SearchResult, open_log, run_search
from netadapt.search.errors import MetricError, TrialLogError
from netadapt.search.landing import LoopSettings, Search
from netadapt.search.metrics import Constraint, FunctionMetric
from netadapt.search.searchers.coordinate_descent import Schedule
from netadapt.search.searchers.mcd import McdSettings, MultiLayerCoordinateDescent
from netadapt.search.space import Arch, Space
from netadapt.search.trials import TrialLog, accepted_path, read_iterations
from tests.contracts.searcher import latency, score, timeless, true_ms
from tests.killed import Child, Say

SPACE = Space.load("digits")
FORMER = Path(__file__).with_name("trials_of_0_1.jsonl.gz")
REFERENCE_MS = true_ms(SPACE.reference())


def search(seed: int = 0, share: float = 0.6, top_k: int = 1) -> Search:
    settings = McdSettings(candidates=6, layers=6, schedule=Schedule(0.1))
    return Search(
        MultiLayerCoordinateDescent(SPACE, settings),
        [Constraint(latency(0.05), share * REFERENCE_MS)],
        seed=seed,
        loop=LoopSettings("top_k", top_k),
    )


class Workshop:
    """Evaluates and measures for real, and counts how often it was asked for what."""

    def __init__(self, top_k: int = 1) -> None:
        self.top_k = top_k
        self.evaluated: list[Arch] = []
        self.measured: list[Arch] = []
        self.confirmed: list[Arch] = []

    def evaluate(self, archs: Sequence[Arch]) -> list[float]:
        self.evaluated += archs
        return [score(arch) for arch in archs]

    def measure(self, archs: Sequence[Arch]) -> list[float]:
        self.measured += archs
        return [1.07 * true_ms(arch) for arch in archs]

    def confirm(self, arch: Arch) -> tuple[float, float]:
        self.confirmed.append(arch)
        return 1.069 * true_ms(arch), 1.072 * true_ms(arch)

    def run(self, path: Path, seed: int = 0) -> SearchResult:
        one = search(seed, top_k=self.top_k)
        with open_log(path, one) as log:
            return run_search(one, self.evaluate, self.measure, log, confirm=self.confirm)


@pytest.fixture(scope="module", params=[1, 3], ids=["accepted", "top_k"])
def finished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, SearchResult, Workshop]:
    path = tmp_path_factory.mktemp("search") / "trials.jsonl"
    workshop = Workshop(request.param)
    return path, workshop.run(path), workshop


def test_the_log_holds_the_whole_search(finished: tuple[Path, SearchResult, Workshop]) -> None:
    path, result, workshop = finished
    iterations = read_iterations(path)
    assert [i.number for i in iterations] == list(range(result.iterations + 1))
    trials = [trial for i in iterations for trial in i.trials]
    assert {t.arch for t in trials} == {arch.to_json() for arch in workshop.evaluated}
    assert result.evaluations == len(workshop.evaluated) == len(set(workshop.evaluated))
    assert all(t.score == score(SPACE.arch_from_json(t.arch)) for t in trials)
    measured = [m.arch for i in iterations for m in i.measured]
    assert measured == [arch.to_json() for arch in workshop.measured]
    assert len(measured) == len(set(measured))
    for iteration in iterations:
        assert iteration.accepted is not None
        assert iteration.accepted.arch in {m.arch for m in iteration.measured}
        best = sorted((t.score for t in iteration.trials), reverse=True)[: workshop.top_k]
        scores = {t.arch: t.score for t in iteration.trials}
        assert sorted((scores[m.arch] for m in iteration.measured), reverse=True) == best
    assert len(accepted_path(iterations)) == len(iterations)
    last = iterations[-1]
    assert last.accepted is not None
    assert last.accepted.measured_ms == result.measured_ms
    assert last.confirmed is not None
    assert last.confirmed.both_ms == result.confirmed_ms
    assert last.confirmed.arch == result.arch.to_json() == workshop.confirmed[-1].to_json()
    assert all(i.guard > 0 for i in iterations)
    assert all(i.targets["latency"] > 0 for i in iterations)


def test_resume_does_nothing_again(
    finished: tuple[Path, SearchResult, Workshop], tmp_path: Path
) -> None:
    path, result, original = finished
    whole = path.read_bytes()
    for cut in (*random.Random(0).sample(range(len(whole)), 12), len(whole)):
        copy = tmp_path / f"{cut}.jsonl"
        copy.write_bytes(whole[:cut])
        recorded = whole[:cut].rpartition(b"\n")[0].decode()
        workshop = Workshop(original.top_k)
        resumed = workshop.run(copy)
        assert (resumed.arch, resumed.score) == (result.arch, result.score)
        assert resumed.confirmed_ms == result.confirmed_ms
        assert timeless(copy.read_text()) == timeless(whole.decode())
        before = [json.loads(line) for line in recorded.splitlines()]
        known = {line["arch"] for line in before if line["kind"] == "trial"}
        again = known & {arch.to_json() for arch in workshop.evaluated}
        assert len(again) < 4, "more than the part of a batch that the log has"
        assert not again or cut < len(whole)
        timed = {line["arch"] for line in before if line["kind"] == "measured"}
        assert not timed & {arch.to_json() for arch in workshop.measured}
        assert len(timed) + len(workshop.measured) == len(original.measured)
        again = sum(line["kind"] == "confirmed" for line in before)
        assert again + len(workshop.confirmed) == len(original.confirmed)


class GoneError(Exception):
    """Stands for a device that went away for good."""


def test_a_lost_device_pauses_the_search_and_loses_nothing(
    finished: tuple[Path, SearchResult, Workshop], tmp_path: Path
) -> None:
    path, result, original = finished
    log = tmp_path / "trials.jsonl"

    class Loose(Workshop):
        """Its device is lost whenever it has measured two more networks."""

        def measure(self, archs: Sequence[Arch]) -> list[float]:
            if len(self.measured) >= 2:
                raise GoneError
            return super().measure(archs)

    pauses = 0
    while True:
        workshop = Loose(original.top_k)
        try:
            resumed = workshop.run(log)
            break
        except GoneError:
            assert workshop.measured, "a resumed search continues where the device was lost"
            pauses += 1
    assert pauses >= 3
    assert resumed.arch == result.arch
    assert timeless(log.read_text()) == timeless(path.read_text())


class Slow(Workshop):
    """Takes its time, so that there is some to kill it in."""

    def evaluate(self, archs: Sequence[Arch]) -> list[float]:
        time.sleep(0.005)
        return super().evaluate(archs)


def run_slowly(say: Say, log: Path, top_k: int) -> None:
    """A search in a process of its own."""
    say("begun")
    Slow(top_k).run(log)


def test_a_killed_search_ends_as_one_that_was_not(
    finished: tuple[Path, SearchResult, Workshop], tmp_path: Path
) -> None:
    path, result, original = finished
    log = tmp_path / "trials.jsonl"
    rng = random.Random(1)
    kills = 0
    while kills < 4:
        child = Child(run_slowly, log, original.top_k)
        assert child.told() == "begun"
        # Kill at the moment the log has grown by a random number of lines.
        aim = rng.randint(5, 40) + (log.read_bytes().count(b"\n") if log.exists() else 0)
        while child.running and not (log.exists() and log.read_bytes().count(b"\n") >= aim):
            time.sleep(0.001)
        child.kill()
        if child.finished:
            break
        kills += 1
    assert kills, "the search ended before it could be killed"
    assert Workshop(original.top_k).run(log).arch == result.arch
    assert timeless(log.read_text()) == timeless(path.read_text())


def test_a_log_of_another_search_is_refused(
    finished: tuple[Path, SearchResult, Workshop], tmp_path: Path
) -> None:
    path, _, original = finished
    before = path.read_bytes()
    with pytest.raises(TrialLogError, match="another configuration") as caught:
        Workshop(original.top_k).run(path, seed=1)
    assert "\n" not in str(caught.value)
    with pytest.raises(TrialLogError, match="another configuration"):
        open_log(path, search(), "other weights")
    assert path.read_bytes() == before


def test_a_log_that_the_proposals_do_not_match_is_refused(
    finished: tuple[Path, SearchResult, Workshop], tmp_path: Path
) -> None:
    path, _, original = finished
    lines = path.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if '"trial"' in line and '"iteration": 1' in line)
    record = json.loads(lines[at])
    record["arch"] = SPACE.reference().to_json()
    lines[at] = json.dumps(record)
    changed = tmp_path / "trials.jsonl"
    changed.write_text("\n".join(lines) + "\n")
    with pytest.raises(TrialLogError, match="proposes something else"):
        Workshop(original.top_k).run(changed)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("not json\n", "line 1 is not JSON"),
        ("[1]\n", "line 1 is not an object"),
        ('{"kind": "trial"}\n', "no header line"),
        ('{"kind": "header", "version": 99, "fingerprint": ""}\n', "version 2, got 99"),
    ],
)
def test_a_file_that_is_no_log_is_one_clear_error(tmp_path: Path, content: str, what: str) -> None:
    path = tmp_path / "trials.jsonl"
    path.write_text(content)
    for read in (lambda: TrialLog(path, "x"), lambda: read_iterations(path)):
        with pytest.raises(TrialLogError, match=what) as caught:
            read()
        assert "\n" not in str(caught.value)
    assert path.read_text() == content


def test_unknown_records_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    with TrialLog(path, "x"):
        pass
    path.write_text(path.read_text() + '{"kind": "guess"}\n')
    with pytest.raises(TrialLogError, match="unknown record 'guess'"):
        TrialLog(path, "x")


def test_progress_counts_and_estimates(tmp_path: Path) -> None:
    seen: list[SearchProgress] = []
    one = search()
    with open_log(tmp_path / "trials.jsonl", one) as log:
        result = run_search(one, Workshop().evaluate, None, log, seen.append)
    assert result.measured_ms is None
    assert result.confirmed_ms is None
    assert seen[-1].scored == result.evaluations
    assert seen[-1].iterations_left == 0
    assert all(p.candidates_scored <= p.candidates for p in seen)
    assert [p.elapsed_s for p in seen] == sorted(p.elapsed_s for p in seen)
    estimates = [p.remaining_s for p in seen if p.remaining_s is not None]
    assert estimates
    assert all(estimate >= 0 for estimate in estimates)


def test_a_search_on_predictions_alone_has_its_result_timed(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    for _ in range(2):  # the second time from the log
        one, workshop = search(), Workshop()
        with open_log(path, one) as log:
            result = run_search(one, workshop.evaluate, None, log, confirm=workshop.confirm)
        assert result.measured_ms is None
        # 7 % above the prediction, which a measured search would not have accepted
        assert result.confirmed_ms == Workshop().confirm(result.arch)
    assert workshop.confirmed == []
    iterations = read_iterations(path)
    assert not any(iteration.measured for iteration in iterations)
    assert all(i.accepted and i.accepted.measured_ms is None for i in iterations)
    assert iterations[-1].confirmed is not None


def test_a_score_that_is_no_number_is_refused(tmp_path: Path) -> None:
    one = search()
    with (
        open_log(tmp_path / "trials.jsonl", one) as log,
        pytest.raises(MetricError, match="finite number, got nan"),
    ):
        run_search(one, lambda archs: [float("nan")] * len(archs), None, log)


def test_any_callable_can_be_the_constraint(tmp_path: Path) -> None:
    depth = FunctionMetric("depth", "blocks", SPACE.depth)
    searcher = MultiLayerCoordinateDescent(SPACE, McdSettings(candidates=5, layers=4))
    one = Search(searcher, [Constraint(depth, 5.0)], seed=0)
    with open_log(tmp_path / "trials.jsonl", one) as log:
        result = run_search(one, Workshop().evaluate, lambda archs: [1.0] * len(archs), log)
    assert 4.5 <= SPACE.depth(result.arch) <= 5.0


def test_a_search_needs_no_log(finished: tuple[Path, SearchResult, Workshop]) -> None:
    _, logged, workshop = finished
    one, again = search(top_k=workshop.top_k), Workshop(workshop.top_k)
    result = run_search(one, again.evaluate, again.measure, confirm=again.confirm)
    assert replace(result, seconds=logged.seconds) == logged
    assert again.evaluated == workshop.evaluated
    assert again.measured == workshop.measured


def test_a_loop_on_predictions_asks_nobody_to_measure() -> None:
    one, workshop = search(), Workshop()
    one.loop = LoopSettings("predictor")
    run_search(one, workshop.evaluate, workshop.measure)
    assert workshop.evaluated
    assert not workshop.measured


def test_a_log_of_the_first_version_is_resumed(tmp_path: Path) -> None:
    """Written by 0.1, the last third cut off; fingerprint and lines are still this search's."""
    path = tmp_path / "trials.jsonl"
    path.write_bytes(gzip.decompress(FORMER.read_bytes()))
    before = path.read_bytes()
    workshop = Workshop()
    result = workshop.run(path)
    assert path.read_bytes().startswith(before)
    recorded = {json.loads(line).get("arch") for line in before.splitlines()}
    assert not recorded & {arch.to_json() for arch in workshop.evaluated}
    assert workshop.evaluated
    anew = Workshop()
    assert (
        run_search(search(), anew.evaluate, anew.measure, confirm=anew.confirm).arch == result.arch
    )
