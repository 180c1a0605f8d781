"""Which searcher finds the best network for the same number of scored archs?

    python -m benchmarks.search_quality [--quick] [--iterations N] [--real] [--supernets N]

On the 224 space with a made-up score: every dimension has a concave gain, and every pair of
dimensions a random interaction; both parts have the same variance over random archs and are drawn
from the seed. Scores are given in standard deviations of random archs around their mean. Latency is
a deterministic roofline over the kernels (no machine is timed), the budget half of the reference's.
The single-layer search runs first; the others get exactly as many scored archs as it used.

`--real` repeats the comparison on super-networks of the demo's digits, each trained here from its
own seed, with the demo's schedule and its score, the same latency and half of the reference's. What
a searcher found is judged on images of sources that neither training nor search saw: on those it
selected on, late candidates look too good. About ten minutes a super-network; each is kept in the
cache folder, and the benchmark goes on when started again.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.common import QUICK_SPACE, parser, print_result, say, standard_error, work_folder
from netadapt.android_runner.files import write_atomically
from netadapt.config import RunConfig, demo_config
from netadapt.profiler.kernels import DepthwiseConvKernel
from netadapt.runs.parts import Parts
from netadapt.runs.supernet import SCORED_AT_ONCE
from netadapt.search.driver import SearchResult, open_log, run_search
from netadapt.search.evaluation import Evaluator
from netadapt.search.landing import Search
from netadapt.search.metrics import Constraint, LatencyMetric
from netadapt.search.searchers.base import Searcher
from netadapt.search.searchers.coordinate_descent import Schedule
from netadapt.search.searchers.evolution import (
    DescentEvolutionSettings,
    DescentThenEvolution,
    Evolution,
    EvolutionSettings,
)
from netadapt.search.searchers.mcd import McdSettings, MultiLayerCoordinateDescent
from netadapt.search.searchers.random_search import RandomSearch, RandomSettings
from netadapt.search.searchers.single_layer import (
    SingleLayerCoordinateDescent,
    SingleLayerSettings,
)
from netadapt.search.space import Arch, Space
from netadapt.search.task import Samples
from netadapt.search.tasks.digits import ClutteredDigits
from netadapt.search.training import train_supernet

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
REAL_SEARCHERS = ("mcd", "mcd_evolution", "evolution", "random", "single_layer")
REAL_SUPERNETS = 5
REAL_SHARE = 0.5
"""Of the reference's latency."""
JUDGED_IMAGES = 4_000
QUICK_IMAGES = 200
QUICK_ITERATIONS = 6

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


@contextmanager
def side_by_side(quick: bool) -> Iterator[Callable[..., Iterator[Any]]]:
    """A `map` over processes; a quick run stays in this one, which has imported everything."""
    if quick:
        yield map
        return
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        yield pool.map


def real(supernets: int, folder: Path, *, quick: bool) -> dict[str, object]:
    """The comparison on super-networks of the digits, trained here, each from its own seed."""
    found: list[dict[str, Found]] = []
    with side_by_side(quick) as map_all:
        ones = map_all(_on_supernet, range(supernets), repeat(folder), repeat(quick))
        for seed, one in enumerate(ones):
            found.append(one)
            scores = ", ".join(f"{name} {100 * f.accuracy:.1f} %" for name, f in one.items())
            say(f"super-network {seed}: {scores} after {one['random'].evaluations} scored archs")
    accuracies = {name: [one[name].accuracy for one in found] for name in REAL_SEARCHERS}
    medians = {name: statistics.median(values) for name, values in accuracies.items()}
    best = max(("mcd", "mcd_evolution"), key=lambda name: statistics.mean(accuracies[name]))
    minus = {
        name: _paired(accuracies[best], values)
        for name, values in accuracies.items()
        if name != best
    }
    return {
        "supernets": supernets,
        **{name: round(median, 4) for name, median in medians.items()},
        "best": best,
        "best_minus_random": minus["random"][0],
        "stderr": minus["random"][1],
        "best_minus": {name: list(pair) for name, pair in minus.items()},
        "each": {
            name: [round(value, 4) for value in values] for name, values in accuracies.items()
        },
        "evaluations": [one["single_layer"].evaluations for one in found],
        "images": QUICK_IMAGES if quick else JUDGED_IMAGES,
    }


def _paired(ones: Sequence[float], others: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard error of the differences."""
    differences = [a - b for a, b in zip(ones, others, strict=True)]
    error = standard_error(differences)
    return round(statistics.mean(differences), 4), None if error is None else round(error, 4)


class Fresh(ClutteredDigits):
    """The same task; what it has for validation are its test images."""

    def validation(self, batch_size: int) -> Iterator[Samples]:
        return self.test(batch_size)


@dataclass(frozen=True, slots=True)
class Found:
    """What a searcher found on a super-network, judged on images that no search saw."""

    accuracy: float
    loss: float
    evaluations: int


def _demo(seed: int, *, quick: bool) -> RunConfig:
    config = demo_config().changed({"run": {"seed": seed}})
    if not quick:
        return config
    return config.changed(
        {
            "space": {"name": QUICK_SPACE},
            "supernet": {"steps": 4, "warmup_steps": 1},
            "search": {
                "evaluation": {"validation_images": 40, "calibration_images": 32},
                "mcd": {"schedule": {"approach": 0.8, "finest_step": 0.4}},
            },
        }
    )


def _on_supernet(seed: int, root: Path, quick: bool) -> dict[str, Found]:
    """All searchers on the super-network of one seed; what is there already is not made again."""
    import torch

    if not quick:
        torch.set_num_threads(1)
    config = _demo(seed, quick=quick)
    evaluation = config.search.evaluation
    # What the searches go by may change from version to version, and the super-network stay
    mark = hashlib.sha256(f"{evaluation} {REAL_SHARE} {SCORED_AT_ONCE}".encode()).hexdigest()[:12]
    kept = root / str(seed) / mark / "found.json"
    if kept.exists():
        return {key: Found(**value) for key, value in json.loads(kept.read_text()).items()}
    kept.parent.mkdir(parents=True, exist_ok=True)
    parts = Parts(config)
    space, task = parts.space, parts.task
    supernet = space.supernetwork(generator=torch.Generator().manual_seed(seed))
    training = config.supernet.training
    checkpoint = root / str(seed) / "supernet.pt"
    train_supernet(supernet, task, training, parts.step, seed=seed, checkpoint=checkpoint)
    supernet.eval()
    evaluator = Evaluator(supernet, task, evaluation)
    mcd = config.search.searcher.settings
    assert isinstance(mcd, McdSettings)
    reference = space.reference()

    def search(searcher: Searcher) -> SearchResult:
        latency = LatencyMetric.from_kernels(space, roofline_ms)
        budget = Constraint(latency, REAL_SHARE * float(latency([reference])[0]))
        wanted = Search(searcher, [budget], seed=seed)
        with open_log(kept.parent / f"{searcher.name}.jsonl", wanted, str(seed)) as log:
            return run_search(wanted, evaluator, log=log, batch_size=SCORED_AT_ONCE)

    # Steps as fine as in the comparison above: the demo's would use it up after some 17 networks
    fine = Schedule(decay=0.96, iterations=2 if quick else ITERATIONS)
    single = search(SingleLayerCoordinateDescent(space, SingleLayerSettings(fine)))
    allowance = single.evaluations
    results = [single]
    for searcher in (
        MultiLayerCoordinateDescent(space, replace(mcd, evaluations=allowance)),
        DescentThenEvolution(space, DescentEvolutionSettings(allowance, descent=mcd)),
        Evolution(space, EvolutionSettings(allowance)),
        RandomSearch(space, RandomSettings(allowance)),
    ):
        results.append(search(searcher))
    archs = [result.arch for result in results]
    images = QUICK_IMAGES if quick else JUDGED_IMAGES
    fresh = Fresh(
        replace(config.task.settings, validation_images=images, test_images=images), seed=seed
    )
    judging = replace(evaluation, validation_images=images, race_images=0)
    accuracies = Evaluator(supernet, fresh, replace(judging, score="metric"))(archs)
    losses = Evaluator(supernet, fresh, judging)(archs)
    names = ("single_layer", "mcd", "mcd_evolution", "evolution", "random")
    found = {
        name: Found(accuracy, -minus_loss, result.evaluations)
        for name, accuracy, minus_loss, result in zip(
            names, accuracies, losses, results, strict=True
        )
    }
    write_atomically(
        kept, json.dumps({key: asdict(value) for key, value in found.items()}).encode()
    )
    return found


def main() -> None:
    """Compare and print the figures."""
    arguments = parser(__doc__)
    arguments.add_argument("--real", action="store_true", help="also on super-networks")
    arguments.add_argument("--supernets", type=int, default=REAL_SUPERNETS)
    arguments.add_argument(
        "--iterations", type=int, default=ITERATIONS, help="of the single-layer search"
    )
    options = arguments.parse_args()
    seeds = range(2 if options.quick else SEEDS)
    iterations = QUICK_ITERATIONS if options.quick else options.iterations
    outcomes = []
    with side_by_side(options.quick) as map_all:
        found_by_seed = map_all(made_up, seeds, repeat(iterations))
        for seed, found in zip(seeds, found_by_seed, strict=True):
            outcomes.append(found)
            scores = ", ".join(f"{name} {o.score:.2f}" for name, o in found.items())
            say(f"seed {seed}: {scores} after {found['random'].evaluations} scored archs")
    on_supernets = None
    if options.real or options.quick:
        supernets = 1 if options.quick else options.supernets
        folder = work_folder("search_quality" + ("_quick" if options.quick else ""))
        on_supernets = real(supernets, folder, quick=options.quick)
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
            "real": on_supernets,
        }
    )


if __name__ == "__main__":
    main()
