"""The driver: what it logs, how it resumes, and that a kill changes nothing."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from search.driver import Progress, SearchResult, open_log, run_search
from search.errors import MetricError, TrialLogError
from search.metrics import Constraint, FunctionMetric, LatencyMetric
from search.searchers.base import Searcher
from search.searchers.coordinate_descent import Schedule
from search.searchers.mcd import McdSettings, MultiLayerCoordinateDescent
from search.space import Arch, Space
from search.trials import TrialLog, accepted_path, read_iterations
from tests.search.test_searchers import kernel_ms, score

SPACE = Space.load("digits")
REFERENCE_MS = float(LatencyMetric.from_kernels(SPACE, kernel_ms)([SPACE.reference()])[0])


def searcher(seed: int = 0, share: float = 0.6) -> Searcher:
    latency = LatencyMetric.from_kernels(SPACE, kernel_ms)
    return MultiLayerCoordinateDescent(
        SPACE,
        [Constraint(latency, share * REFERENCE_MS)],
        McdSettings(candidates=6, layers=6, schedule=Schedule(0.1)),
        seed=seed,
    )


class Workshop:
    """Evaluates and measures for real, and counts how often it was asked for what."""

    def __init__(self) -> None:
        self.evaluated: list[Arch] = []
        self.measured: list[Arch] = []

    def evaluate(self, archs: Sequence[Arch]) -> list[float]:
        self.evaluated += archs
        return [score(arch) for arch in archs]

    def measure(self, arch: Arch) -> float:
        self.measured.append(arch)
        return 1.07 * float(LatencyMetric.from_kernels(SPACE, kernel_ms)([arch])[0])

    def run(self, path: Path, seed: int = 0) -> SearchResult:
        one = searcher(seed)
        with open_log(path, one) as log:
            return run_search(one, self.evaluate, self.measure, log)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SearchResult, Workshop]:
    path = tmp_path_factory.mktemp("search") / "trials.jsonl"
    workshop = Workshop()
    return path, workshop.run(path), workshop


def timeless(text: str) -> list[object]:
    """The log's lines without their wall times."""
    lines = [json.loads(line) for line in text.splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def test_the_log_holds_the_whole_search(finished: tuple[Path, SearchResult, Workshop]) -> None:
    path, result, workshop = finished
    iterations = read_iterations(path)
    assert [i.number for i in iterations] == list(range(result.iterations + 1))
    trials = [trial for i in iterations for trial in i.trials]
    assert {t.arch for t in trials} == {arch.to_json() for arch in workshop.evaluated}
    assert result.evaluations == len(workshop.evaluated) == len(set(workshop.evaluated))
    assert all(t.score == score(Arch.from_json(t.arch)) for t in trials)
    accepted = [i.accepted for i in iterations if i.accepted]
    assert [a.arch for a in accepted] == [arch.to_json() for arch in workshop.measured]
    assert len(accepted_path(iterations)) == len(iterations)
    assert accepted[-1].measured_ms == result.measured_ms
    assert all(i.targets["latency"] > 0 for i in iterations)


def test_resume_does_nothing_again(
    finished: tuple[Path, SearchResult, Workshop], tmp_path: Path
) -> None:
    path, result, _ = finished
    whole = path.read_bytes()
    for cut in (*random.Random(0).sample(range(len(whole)), 12), len(whole)):
        copy = tmp_path / f"{cut}.jsonl"
        copy.write_bytes(whole[:cut])
        recorded = whole[:cut].rpartition(b"\n")[0].decode()
        workshop = Workshop()
        resumed = workshop.run(copy)
        assert (resumed.arch, resumed.score) == (result.arch, result.score)
        assert timeless(copy.read_text()) == timeless(whole.decode())
        before = [json.loads(line) for line in recorded.splitlines()]
        known = {line["arch"] for line in before if line["kind"] == "trial"}
        assert not known & {arch.to_json() for arch in workshop.evaluated}
        timed = [line["arch"] for line in before if line["kind"] == "accepted"]
        assert not set(timed) & {arch.to_json() for arch in workshop.measured}


SCRIPT = """
import sys, time
from pathlib import Path
from tests.search.test_driver import Workshop

class Slow(Workshop):
    def evaluate(self, archs):
        time.sleep(0.005)
        return super().evaluate(archs)

print("begun", flush=True)
print(Slow().run(Path(sys.argv[1])).arch.to_json())
"""


def test_a_killed_search_ends_as_one_that_was_not(
    finished: tuple[Path, SearchResult, Workshop], tmp_path: Path
) -> None:
    path, result, _ = finished
    log = tmp_path / "trials.jsonl"
    rng = random.Random(1)
    kills = 0
    while kills < 4:
        child = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(log)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        # Kill at the moment the log has grown by a random number of lines.
        aim = rng.randint(5, 40) + (log.read_bytes().count(b"\n") if log.exists() else 0)
        while child.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") >= aim):
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        if child.returncode == 0:
            break
        kills += 1
    assert kills, "the search ended before it could be killed"
    assert Workshop().run(log).arch == result.arch
    assert timeless(log.read_text()) == timeless(path.read_text())


def test_a_log_of_another_search_is_refused(
    finished: tuple[Path, SearchResult, Workshop], tmp_path: Path
) -> None:
    path, _, _ = finished
    before = path.read_bytes()
    with pytest.raises(TrialLogError, match="another configuration") as caught:
        Workshop().run(path, seed=1)
    assert "\n" not in str(caught.value)
    with pytest.raises(TrialLogError, match="another configuration"):
        open_log(path, searcher(), "other weights")
    assert path.read_bytes() == before


def test_a_log_that_the_proposals_do_not_match_is_refused(
    finished: tuple[Path, SearchResult, Workshop], tmp_path: Path
) -> None:
    lines = finished[0].read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if '"trial"' in line and '"iteration": 1' in line)
    record = json.loads(lines[at])
    record["arch"] = SPACE.reference().to_json()
    lines[at] = json.dumps(record)
    path = tmp_path / "trials.jsonl"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(TrialLogError, match="proposes something else"):
        Workshop().run(path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("not json\n", "line 1 is not JSON"),
        ("[1]\n", "line 1 is not an object"),
        ('{"kind": "trial"}\n', "no header line"),
        ('{"kind": "header", "version": 99, "fingerprint": ""}\n', "version 1, got 99"),
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
    seen: list[Progress] = []
    one = searcher()
    with open_log(tmp_path / "trials.jsonl", one) as log:
        result = run_search(one, Workshop().evaluate, None, log, seen.append)
    assert result.measured_ms is None
    assert seen[-1].scored == result.evaluations
    assert seen[-1].iterations_left == 0
    assert all(p.candidates_scored <= p.candidates for p in seen)
    assert [p.elapsed_s for p in seen] == sorted(p.elapsed_s for p in seen)
    estimates = [p.remaining_s for p in seen if p.remaining_s is not None]
    assert estimates
    assert all(estimate >= 0 for estimate in estimates)


def test_a_score_that_is_no_number_is_refused(tmp_path: Path) -> None:
    one = searcher()
    with (
        open_log(tmp_path / "trials.jsonl", one) as log,
        pytest.raises(MetricError, match="finite number, got nan"),
    ):
        run_search(one, lambda archs: [float("nan")] * len(archs), None, log)


def test_any_callable_can_be_the_constraint(tmp_path: Path) -> None:
    depth = FunctionMetric("depth", "blocks", SPACE.depth)
    one = MultiLayerCoordinateDescent(
        SPACE, [Constraint(depth, 5.0)], McdSettings(candidates=5, layers=4), seed=0
    )
    with open_log(tmp_path / "trials.jsonl", one) as log:
        result = run_search(one, Workshop().evaluate, lambda arch: 1.0, log)
    assert 4.5 <= SPACE.depth(result.arch) <= 5.0
