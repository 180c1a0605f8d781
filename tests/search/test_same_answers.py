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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from benchmarks.search_quality import MadeUpScore, roofline_ms
from netadapt.config import demo_config
from netadapt.predictor.predictor import LatencyPredictor
from netadapt.runs.latency import latency_metric, remembered
from netadapt.runs.parts import Parts
from netadapt.runs.profile_plan import sample_space
from netadapt.search.driver import run_search
from netadapt.search.landing import LoopSettings, Search
from netadapt.search.metrics import Constraint, KernelSum, LatencyMetric
from netadapt.search.searchers.base import Searcher
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

SEARCHERS: dict[str, Callable[[Space], Searcher]] = {
    "mcd": lambda space: MultiLayerCoordinateDescent(
        space, McdSettings(candidates=6, layers=6, schedule=Schedule(0.1))
    ),
    "mcd_geometric": lambda space: MultiLayerCoordinateDescent(
        space, McdSettings(candidates=6, schedule=GeometricSchedule(0.4, 0.15))
    ),
    "single_layer": lambda space: SingleLayerCoordinateDescent(
        space, SingleLayerSettings(Schedule(0.2, iterations=6))
    ),
    "random": lambda space: RandomSearch(space, RandomSettings(evaluations=24, round_size=8)),
}
LOOPS: tuple[Literal["predictor", "accepted", "top_k"], ...] = ("predictor", "accepted", "top_k")
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
    settings = LoopSettings(next(known for known in LOOPS if known == loop))
    search = Search(SEARCHERS[name](space), wanted, seed=int(seed), loop=settings)
    return _digest(search, MadeUpScore(space, int(seed)), true_ms)


def _demos_course() -> str:
    config = demo_config()
    space = Parts(config).space
    rng = np.random.default_rng(0)
    archs, subjects = sample_space(space, config.sample.kernels, config.sample.chains, rng)
    with made_up_device.table(
        made_up_device.rows(
            rng,
            [subject.kernel for subject in subjects if subject.copies == 1],
            list({subject.kernel: None for subject in subjects if subject.copies > 1}),
            [space.kernels(arch) for arch in archs[: config.sample.networks]],
        )
    ) as table:
        predictor = LatencyPredictor().fit(table)

    def true_ms(arch: Arch) -> float:
        return made_up_device.network_us(space.kernels(arch)) / 1e3

    budget_ms = BUDGET_SHARE * true_ms(space.reference())
    wanted = [Constraint(latency_metric(space, remembered(predictor)), budget_ms)]
    search = Parts(config).search(wanted)
    return _digest(search, MadeUpScore(space, 0), true_ms)


def _digest(search: Search, score: MadeUpScore, true_ms: Callable[[Arch], float]) -> str:
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

    found = run_search(search, evaluate, measure, confirm=confirm)
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
