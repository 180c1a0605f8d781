"""What every searcher proposed, measured and found before the parts around them were rebuilt.

`same_answers.json` holds a digest of each search's whole course: every arch in the order in which
it was proposed, measured, accepted and confirmed. Scores and latencies are made up and arithmetic,
but for one search, the demo's, whose latency a predictor learnt from a table of made-up rows.

A change that is meant to change a search's course records it anew, and its message says why:

    python -m tests.search.test_same_answers
"""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.search_quality import MadeUpScore, roofline_ms
from netadapt import assembly
from netadapt.config import demo_config
from netadapt.predictor.predictor import LatencyPredictor
from netadapt.runs.latency import latency_metric
from netadapt.runs.profile_plan import sample_space
from netadapt.search.driver import open_log, run_search
from netadapt.search.metrics import Constraint, KernelSum, LatencyMetric
from netadapt.search.searchers.base import Loop, Searcher
from netadapt.search.searchers.coordinate_descent import GeometricSchedule, Schedule
from netadapt.search.searchers.mcd import McdSettings, MultiLayerCoordinateDescent
from netadapt.search.searchers.random_search import RandomSearch, RandomSettings
from netadapt.search.searchers.single_layer import SingleLayerCoordinateDescent, SingleLayerSettings
from netadapt.search.space import Arch, Space
from tests.predictor import made_up_device

FORMER = Path(__file__).with_name("same_answers.json")
SEEDS = range(5)
BUDGET_SHARE = 0.5
SLOWER = 1.07
"""What the device takes of a prediction."""

Make = Callable[[Space, Sequence[Constraint], int, Loop], Searcher]


def _mcd(space: Space, wanted: Sequence[Constraint], seed: int, loop: Loop) -> Searcher:
    settings = McdSettings(candidates=6, layers=6, schedule=Schedule(0.1))
    return MultiLayerCoordinateDescent(space, wanted, settings, seed=seed, loop=loop)


def _geometric(space: Space, wanted: Sequence[Constraint], seed: int, loop: Loop) -> Searcher:
    settings = McdSettings(candidates=6, schedule=GeometricSchedule(0.4, 0.15))
    return MultiLayerCoordinateDescent(space, wanted, settings, seed=seed, loop=loop)


def _single(space: Space, wanted: Sequence[Constraint], seed: int, loop: Loop) -> Searcher:
    settings = SingleLayerSettings(Schedule(0.2, iterations=6))
    return SingleLayerCoordinateDescent(space, wanted, settings, seed=seed, loop=loop)


def _random(space: Space, wanted: Sequence[Constraint], seed: int, loop: Loop) -> Searcher:
    settings = RandomSettings(evaluations=24, round_size=8)
    return RandomSearch(space, wanted, settings, seed=seed, loop=loop)


SEARCHERS: dict[str, Make] = {
    "mcd": _mcd,
    "mcd_geometric": _geometric,
    "single_layer": _single,
    "random": _random,
}
LOOPS = {"predictor": None, "accepted": Loop(1), "top_k": Loop(3)}
CASES = [f"{name} {loop} {seed}" for name in SEARCHERS for loop in LOOPS for seed in SEEDS]
DEMO = "demo"

_network_ms = KernelSum(roofline_ms)


def course(case: str) -> str:
    """The digest of the search called `case`."""
    if case == DEMO:
        return _demos_course()
    name, loop, seed = case.split()
    space = Space.load("digits")

    def true_ms(arch: Arch) -> float:
        return float(_network_ms([space.kernels(arch)])[0])

    latency = LatencyMetric(
        space, _network_ms, interval=lambda n: np.outer(_network_ms(n), [1 / 1.05, 1.05])
    )
    wanted = [Constraint(latency, BUDGET_SHARE * true_ms(space.reference()))]
    searcher = SEARCHERS[name](space, wanted, int(seed), LOOPS[loop] or Loop())
    return _digest(searcher, MadeUpScore(space, int(seed)), true_ms, LOOPS[loop] is not None)


def _demos_course() -> str:
    config = demo_config()
    space = assembly.make_space(config)
    rng = np.random.default_rng(0)
    archs, subjects = sample_space(space, config.profile.kernels, config.profile.chains, rng)
    with made_up_device.table(
        made_up_device.rows(
            rng,
            [subject.kernel for subject in subjects if subject.copies == 1],
            list({subject.kernel: None for subject in subjects if subject.copies > 1}),
            [space.kernels(arch) for arch in archs[: config.profile.networks]],
        )
    ) as table:
        predictor = LatencyPredictor().fit(table)

    def true_ms(arch: Arch) -> float:
        return made_up_device.network_us(space.kernels(arch)) / 1e3

    budget_ms = BUDGET_SHARE * true_ms(space.reference())
    wanted = [Constraint(latency_metric(space, predictor), budget_ms)]
    searcher = assembly.make_searcher(config, space, wanted)
    return _digest(searcher, MadeUpScore(space, 0), true_ms, measures=True)


def _digest(
    searcher: Searcher, score: MadeUpScore, true_ms: Callable[[Arch], float], measures: bool
) -> str:
    digest = hashlib.sha256()

    def note(step: str, archs: Sequence[Arch]) -> None:
        for arch in archs:
            digest.update(f"{step} {arch.to_json()}\n".encode())

    def evaluate(archs: Sequence[Arch]) -> list[float]:
        note("scored", archs)
        return score(archs)

    def measure(archs: Sequence[Arch]) -> list[float]:
        note("measured", archs)
        return [SLOWER * true_ms(arch) for arch in archs]

    def confirm(arch: Arch) -> tuple[float, float]:
        note("confirmed", [arch])
        return SLOWER * true_ms(arch), 1.001 * SLOWER * true_ms(arch)

    with (
        tempfile.TemporaryDirectory() as folder,
        open_log(Path(folder) / "trials.jsonl", searcher) as log,
    ):
        found = run_search(searcher, evaluate, measure if measures else None, log, confirm=confirm)
    note("found", [found.arch])
    return digest.hexdigest()


@functools.cache
def former() -> dict[str, str]:
    recorded: dict[str, str] = json.loads(FORMER.read_text())
    return recorded


@pytest.mark.parametrize("case", [*CASES, DEMO])
def test_a_search_takes_its_former_course(case: str) -> None:
    assert course(case) == former()[case]


if __name__ == "__main__":
    FORMER.write_text(json.dumps({case: course(case) for case in [*CASES, DEMO]}, indent=1) + "\n")
