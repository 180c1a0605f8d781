"""Which searcher finds the best network for the same number of scored archs?

    python -m benchmarks.search_quality [--quick] [--iterations N] [--real RUN_DIR]

On the 224 space with a made-up score: every dimension has a concave gain, and every pair of
dimensions a random interaction; both parts have the same variance over random archs and are drawn
from the seed. Scores are given in standard deviations of random archs around their mean. Latency is
a deterministic roofline over the kernels (no machine is timed), the budget half of the reference's.
The single-layer search runs first; the others get exactly as many scored archs as it used.

`real` repeats the comparison on the super-network of a finished run of the digits, with the run's
own predictor, budget and schedule, from three seeds. What a searcher found is then judged on 6,000
images that no search selected on: on those it selected on, late candidates look too good.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.common import parser, print_result, say
from netadapt.profiler.kernels import DepthwiseConvKernel
from netadapt.search.driver import run_search
from netadapt.search.landing import Search
from netadapt.search.metrics import Constraint, LatencyMetric
from netadapt.search.searchers.base import Searcher
from netadapt.search.searchers.coordinate_descent import Schedule
from netadapt.search.searchers.mcd import McdSettings, MultiLayerCoordinateDescent
from netadapt.search.searchers.random_search import RandomSearch, RandomSettings
from netadapt.search.searchers.single_layer import (
    SingleLayerCoordinateDescent,
    SingleLayerSettings,
)
from netadapt.search.space import Arch, Space

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from netadapt.profiler.kernels import Kernel

SEARCHERS = ("mcd", "single_layer", "random")
SEEDS = 12
ITERATIONS = 20
"""Of the single-layer search, which sets the allowance: about 180 scored archs, what a few minutes
of a super-network's evaluations buy. The made-up score has no noise, so a finer single-layer search
becomes exact steepest descent: at 30 iterations it is level, at 60 (800 scored archs) it is ahead
of multi-layer descent, which then has many candidates fewer an iteration than the paper's 100."""
REAL_ITERATIONS = 20
"""Of the single-layer search where the run's own schedule says nothing of them."""
REAL_SEEDS = 3
JUDGED_IMAGES = 6_000

Score = Callable[[Sequence[Arch]], Sequence[float]]


def roofline_ms(kernels: Sequence[Kernel]) -> list[float]:
    """Milliseconds by arithmetic or by traffic, whichever is more, plus 1 us a kernel.

    The rates are those of one x86 core with XNNPACK in round figures, the slow 7x7 depthwise
    convolution included: it is what makes kernel sizes matter.
    """

    def ms(kernel: Kernel) -> float:
        macs_per_us = 40e3
        if isinstance(kernel, DepthwiseConvKernel):
            macs_per_us = 2.4e3 if kernel.kernel_size > 5 else 13e3
        elements = kernel.input_elements + kernel.output_elements + kernel.params
        return (1 + max(kernel.macs / macs_per_us, elements / 4e3)) / 1e3

    return [ms(kernel) for kernel in kernels]


class MadeUpScore:
    """Separable concave gains plus random pairwise interactions of the same variance."""

    def __init__(self, space: Space, seed: int, samples: int = 1000) -> None:
        self._space = space
        rng = np.random.default_rng([seed, 1])
        count = len(space.dimensions)
        self._largest = np.array([dimension.values[-1] for dimension in space.dimensions])
        self._curvature = rng.uniform(1, 20, count)
        self._weight = rng.lognormal(0, 0.5, count)
        self._pairs = np.triu(rng.standard_normal((count, count)), 1)
        self._centre, self._spread = np.zeros(count), np.ones(count)
        gains = self._gains([space.random(rng) for _ in range(samples)])
        self._centre, self._spread = gains.mean(0), np.maximum(gains.std(0), 1e-9)
        separable, pairwise = self._parts(gains)
        self._scale = separable.std() / pairwise.std()
        total = separable + self._scale * pairwise
        self._mean, self._std = total.mean(), total.std()

    def __call__(self, archs: Sequence[Arch]) -> list[float]:
        """Standard deviations above the mean of random archs."""
        separable, pairwise = self._parts(self._gains(archs))
        total = separable + self._scale * pairwise
        return [float(x) for x in (total - self._mean) / self._std]

    def _gains(self, archs: Sequence[Arch]) -> NDArray[np.float64]:
        """Concave in each dimension, 0 for nothing and 1 for the largest, `(N, dimensions)`."""
        space = self._space
        values = [[space.value(arch, d) or 0 for d in space.dimensions] for arch in archs]
        share = np.array(values) / self._largest
        return np.asarray(np.log1p(self._curvature * share) / np.log1p(self._curvature))

    def _parts(self, gains: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        centred = (gains - self._centre) / self._spread
        pairwise = np.einsum("ni,ij,nj->n", centred, self._pairs, centred)
        return gains @ self._weight, pairwise


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a searcher came to: its score, how many archs were scored for it, its load."""

    arch: Arch
    score: float
    evaluations: int
    load: float


def drive(search: Search, score: Score) -> Outcome:
    """Run a search with nobody measuring; equal archs are scored once."""
    found = run_search(search, score)
    load = float(search.loads([found.arch])[0].max())
    return Outcome(found.arch, found.score, found.evaluations, load)


def compare(
    space: Space,
    constraints: Callable[[], Sequence[Constraint]],
    score: Score,
    seed: int,
    single_layer: SingleLayerSettings,
    mcd: McdSettings,
) -> dict[str, Outcome]:
    """All three searchers under equal evaluations: as many as the single-layer search takes."""

    def outcome(searcher: Searcher) -> Outcome:
        return drive(Search(searcher, constraints(), seed=seed), score)

    single = outcome(SingleLayerCoordinateDescent(space, single_layer))
    allowance = single.evaluations
    many = outcome(MultiLayerCoordinateDescent(space, replace(mcd, evaluations=allowance)))
    rand = outcome(RandomSearch(space, RandomSettings(evaluations=allowance)))
    return {"mcd": many, "single_layer": single, "random": rand}


def made_up(seed: int, iterations: int) -> dict[str, Outcome]:
    """One seed of the comparison on the 224 space."""
    space = Space.load("mobilenet_v3_large")
    latency = LatencyMetric.from_kernels(space, roofline_ms)
    budget = float(latency([space.reference()])[0]) / 2
    return compare(
        space,
        lambda: [Constraint(latency, budget)],
        MadeUpScore(space, seed),
        seed,
        SingleLayerSettings(Schedule(decay=0.96, iterations=iterations)),
        McdSettings(),
    )


def real(
    run: Path, seeds: int = REAL_SEEDS, judged_images: int = JUDGED_IMAGES
) -> dict[str, object]:
    """The comparison on a finished run's super-network, predictor, budget and schedule.

    Scores are accuracies of the super-network's weights on `judged_images` unseen images, latencies
    predicted; `selected` is the accuracy on the images that the searches went by.
    """
    import torch

    from netadapt.config import read_config
    from netadapt.predictor.predictor import LatencyPredictor
    from netadapt.runs.folder import RunFolder
    from netadapt.runs.parts import Parts
    from netadapt.runs.result import RunResult
    from netadapt.search.evaluation import Evaluator
    from netadapt.search.task import Samples
    from netadapt.search.tasks.digits import ClutteredDigits
    from netadapt.search.training import train_supernet

    folder = RunFolder(run)
    if not folder.result.exists():
        raise SystemExit(f"--real takes the folder of a finished run, {run} has no result.json")
    config = read_config(folder.config)
    budget_ms = RunResult.load(folder.result).searches[0].budget_ms
    if budget_ms is None:
        raise SystemExit(f"--real takes a run with a latency budget, {run} has none")
    parts = Parts(config)
    space, task = parts.space, parts.task
    supernet = space.supernetwork(generator=torch.Generator().manual_seed(config.run.seed))
    # The training is complete: this only reads its checkpoint.
    train_supernet(
        supernet,
        task,
        config.supernet.training,
        parts.step,
        seed=config.run.seed,
        checkpoint=folder.supernet,
    )
    supernet.eval()
    evaluation = config.search.evaluation
    evaluator = Evaluator(supernet, task, evaluation)
    selected_on = evaluation.validation_images or task.validation_images

    class Unseen(ClutteredDigits):
        """The same task; its validation images begin behind those that searches went by."""

        def validation(self, batch_size: int) -> Iterator[Samples]:
            left = selected_on
            for images, targets in super().validation(batch_size):
                if left < len(images):
                    yield Samples(images[left:], targets[left:])
                left = max(left - len(images), 0)

    more = replace(config.task.settings, validation_images=selected_on + judged_images)
    unseen = Unseen(more, seed=config.run.seed)
    judge = Evaluator(supernet, unseen, replace(evaluation, validation_images=None))
    predictor = LatencyPredictor.load(folder.predictor).memoised()
    latency = LatencyMetric(space, predictor.predict_networks)
    mcd = config.search.searcher.settings
    if not isinstance(mcd, McdSettings):
        raise SystemExit(f"--real takes a run of the searcher mcd, {run} has another")
    # One step at a time, the geometric schedule of the run if it has one
    schedule = mcd.schedule
    if isinstance(schedule, Schedule):
        schedule = Schedule(decay=0.96, iterations=REAL_ITERATIONS)
    single_layer = SingleLayerSettings(schedule)
    found = [
        compare(
            space,
            lambda: [Constraint(latency, budget_ms)],
            evaluator,
            config.run.seed + seed,
            single_layer,
            mcd,
        )
        for seed in range(seeds)
    ]
    judged = {name: judge([outcomes[name].arch for outcomes in found]) for name in SEARCHERS}
    return {name: round(statistics.mean(scores), 4) for name, scores in judged.items()} | {
        "each": {name: [round(score, 4) for score in scores] for name, scores in judged.items()},
        "selected": {
            name: round(statistics.mean(o[name].score for o in found), 4) for name in found[0]
        },
        "evaluations": {name: [o[name].evaluations for o in found] for name in SEARCHERS},
        "images": judged_images,
        "seeds": seeds,
        "budget_ms": budget_ms,
    }


def main() -> None:
    """Compare and print the figures."""
    arguments = parser(__doc__)
    arguments.add_argument("--real", type=Path, metavar="RUN_DIR", help="a finished run's folder")
    arguments.add_argument(
        "--iterations", type=int, default=ITERATIONS, help="of the single-layer search"
    )
    options = arguments.parse_args()
    seeds = range(2 if options.quick else SEEDS)
    outcomes = []
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        found_by_seed = pool.map(made_up, seeds, repeat(options.iterations))
        for seed, found in zip(seeds, found_by_seed, strict=True):
            outcomes.append(found)
            scores = ", ".join(f"{name} {o.score:.2f}" for name, o in found.items())
            say(f"seed {seed}: {scores} after {found['random'].evaluations} scored archs")
    loads = [o.load for found in outcomes for o in found.values()]
    print_result(
        {name: round(statistics.median(o[name].score for o in outcomes), 3) for name in SEARCHERS}
        | {
            "seeds": len(seeds),
            "evaluations": statistics.median(o["single_layer"].evaluations for o in outcomes),
            "scored": {
                name: statistics.median(o[name].evaluations for o in outcomes) for name in SEARCHERS
            },
            "wins": {
                name: sum(max(o, key=lambda n: o[n].score) == name for o in outcomes)
                for name in SEARCHERS
            },
            "largest_share_of_budget": round(max(loads), 4),
            "real": real(options.real) if options.real else None,
        }
    )


if __name__ == "__main__":
    main()
