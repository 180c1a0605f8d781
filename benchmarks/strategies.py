"""DMaskingNAS, multi-layer coordinate descent, evolution and random networks at equal wall time.

    python -m benchmarks.strategies [--quick] [--seeds N]

For each seed, at a half and a quarter of the reference's latency on the digits: the three
searchers score equally many networks with the same super-network; DMaskingNAS gets as many steps as
make its training last as long as theirs and the slowest of the three searches. Every found network
is trained from scratch by one recipe, and judged on the test images; reference, table and predictor
are the seed's own, made once. For each strategy: `accuracy`, the mean over both budgets and all
seeds; `used_pct`, the measured latency as a share of the budget, lowest and highest; `seconds` of
training and search. `pairs`: by how many points dmasking is above each other one, run by run, with
the standard error.

`by_macs`: the same two searches, led by multiply-accumulates and then by latency at what the first
one's network measured: what measuring gains in points at equal milliseconds.

A quick run leaves all but mcd and dmasking out. Runs are kept in the cache folder; an interrupted
benchmark goes on. A seed takes about twenty minutes on two cores.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import (
    QUICK_PROFILE,
    QUICK_SPACE,
    parser,
    print_result,
    say,
    standard_error,
    work_folder,
)
from netadapt.config import RunConfig, demo_config
from netadapt.console import progress
from netadapt.runs.dmasking import DMaskingSearch
from netadapt.runs.folder import RunFolder
from netadapt.runs.parts import Parts
from netadapt.runs.result import RunResult, SearchOutcome
from netadapt.runs.run import run as run_in
from netadapt.runs.supernet import SuperNetworkSearch
from netadapt.settings import ConstraintSettings

SEEDS = 5
SHARES = (0.5, 0.25)
SEARCHERS = ("mcd", "evolution", "random")
EVALUATIONS = 160
LED_BY_MACS = ("mcd", "dmasking")
FEWEST_STEPS, MOST_STEPS = 100, 4000


@dataclass(frozen=True, slots=True)
class Searched:
    """One search of a run with one budget, and how long it took, its training included."""

    outcome: SearchOutcome
    seconds: float
    steps: int

    @property
    def used(self) -> float:
        """The found network's measured latency as a share of its budget."""
        assert self.outcome.latency_share is not None
        assert self.outcome.found.latency_ratio is not None
        return self.outcome.found.latency_ratio / self.outcome.latency_share


def main() -> None:
    """Search, compare in pairs, print the figures."""
    arguments = parser(__doc__)
    arguments.add_argument("--seeds", type=int, default=SEEDS)
    options = arguments.parse_args()
    root = work_folder("strategies" + ("_quick" if options.quick else ""))
    shares = SHARES[:1] if options.quick else SHARES
    begin = time.perf_counter()
    found: dict[str, list[Searched]] = defaultdict(list)
    gains: dict[str, list[float]] = defaultdict(list)
    for seed in range(1 if options.quick else options.seeds):
        bench = Bench(root / f"seed{seed}", seed, quick=options.quick)
        for share in shares:
            for name, searched in bench.strategies(share).items():
                found[name].append(searched)
                say(
                    f"{time.perf_counter() - begin:.0f} s, seed {seed} at {share}, {name}: "
                    f"{searched.outcome.found.test_metric:.4f} with {searched.used:.1%} of the "
                    f"budget in {searched.seconds:.0f} s"
                )
            for name in () if options.quick else LED_BY_MACS:
                gains[name].append(bench.gain(name, share))
                say(f"seed {seed} at {share}, {name}: latency gains {gains[name][-1]:+.2f} points")
    print_result(
        {
            "benchmark": "strategies",
            "seeds": len(found["mcd"]) // len(shares),
            "shares": list(shares),
            **{name: _figures(searched) for name, searched in found.items()},
            "pairs": {
                f"dmasking_minus_{name}": _mean_and_error(
                    [
                        _points(one) - _points(other)
                        for one, other in zip(found["dmasking"], found[name], strict=True)
                    ]
                )
                for name in found
                if name != "dmasking"
            },
            "by_macs": {name: _mean_and_error(points) for name, points in gains.items()},
        }
    )


class Bench:
    """The runs of one seed, in folders of their own; the first one's table serves all."""

    def __init__(self, folder: Path, seed: int, *, quick: bool) -> None:
        self._folder = folder
        self._seed = seed
        self._quick = quick
        self._first: RunFolder | None = None

    def strategies(self, share: float) -> Mapping[str, Searched]:
        """Each strategy's search at this share of the reference's latency."""
        found = {
            name: self._search(f"{name}-{share}", name, {"latency_share": share})
            for name in SEARCHERS[: 1 if self._quick else None]
        }
        steps = self._equal_steps(share, max(searched.seconds for searched in found.values()))
        dmasking = self._search(
            f"dmasking-{share}", "dmasking", {"latency_share": share}, steps=steps
        )
        return {"dmasking": dmasking, **found}

    def gain(self, name: str, share: float) -> float:
        """By how many points latency leads better than multiply-accumulates, at equal latency."""
        assert self._first is not None
        macs = round(share * RunResult.load(self._first.result).reference.macs)
        steps = None
        if name == "dmasking":
            steps = self._finished(f"dmasking-{share}").supernet.training.steps
        led = self._search(f"{name}-macs-{share}", name, {"macs": macs}, steps=steps)
        ratio = led.outcome.found.latency_ratio
        assert ratio is not None
        equal = {"latency_share": round(ratio, 4)}
        measured = self._search(f"{name}-as-macs-{share}", name, equal, steps=steps)
        return _points(measured) - _points(led)

    def _equal_steps(self, share: float, seconds: float) -> int:
        """As many as make DMaskingNAS take `seconds`; of a finished run, those that it had."""
        if (self._folder / f"dmasking-{share}").exists():
            return self._finished(f"dmasking-{share}").supernet.training.steps
        if self._quick:
            return 20
        few = FEWEST_STEPS
        pilot = self._search(f"pilot-{share}", "dmasking", {"latency_share": share}, steps=few)
        return round(min(max(few * seconds / pilot.seconds, few), MOST_STEPS))

    def _finished(self, name: str) -> RunConfig:
        return RunFolder(self._folder / name).read_config()

    def _search(
        self, label: str, name: str, budget: Mapping[str, Any], *, steps: int | None = None
    ) -> Searched:
        config = self._config(label, name, budget, steps)
        folder = RunFolder(self._folder / label)
        folder.claim(config)
        first = self._first = self._first or folder
        if folder.path != first.path and not folder.predictor.exists():
            shared = ["table", "sessions", "training", "predictor"]
            if name != "dmasking":
                shared.insert(0, "supernet")
            for kind in shared:
                _copy(getattr(first, kind), getattr(folder, kind))
        result = run_in(Parts(config), folder, progress())
        trains = DMaskingSearch.prepares
        seconds = result.durations_s["search"] + result.durations_s.get(trains, 0.0)
        if name != "dmasking":
            whole = RunResult.load(first.result).durations_s
            seconds += whole[SuperNetworkSearch.prepares]
        return Searched(result.searches[0], seconds, config.supernet.training.steps)

    def _config(
        self, label: str, name: str, budget: Mapping[str, Any], steps: int | None
    ) -> RunConfig:
        searcher: dict[str, Any] = {"strategy": "dmasking"}
        if name != "dmasking":
            evaluations = 6 if self._quick else EVALUATIONS
            searcher = {"searcher": name, name: {"evaluations": evaluations}}
        config = (
            demo_config()
            .changed(
                {
                    "run": {"name": label, "seed": self._seed},
                    "search": searcher,
                    "final": {"weights": "scratch", "scaled": False},
                }
            )
            .with_constraints(ConstraintSettings(**budget))
        )
        if self._quick:
            config = config.changed(
                {
                    "space": {"name": QUICK_SPACE},
                    "sample": {"kernels": 24, "chains": 2, "networks": 3},
                    "profile": QUICK_PROFILE,
                    "supernet": {"steps": 20, "warmup_steps": 2, "batch_size": 16},
                    "final": {"steps": 4, "warmup_steps": 1, "batch_size": 16},
                    "search": {
                        "loop": "predictor",
                        "guard": False,
                        "evaluation": {"validation_images": 64, "calibration_images": 64},
                    },
                }
            )
            if name == "dmasking":
                config = config.changed({"search": {"dmasking": {"candidates": 3, "draws": 64}}})
        return config if steps is None else config.changed({"supernet": {"steps": steps}})


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.exists():
        shutil.copyfile(source, target)


def _points(searched: Searched) -> float:
    return 100 * searched.outcome.found.test_metric


def _figures(searched: Sequence[Searched]) -> dict[str, object]:
    used = [100 * one.used for one in searched]
    return {
        "accuracy": round(statistics.mean(map(_points, searched)), 2),
        "used_pct": [round(min(used), 1), round(max(used), 1)],
        "seconds": round(statistics.mean(one.seconds for one in searched), 1),
        "steps": round(statistics.mean(one.steps for one in searched)),
    }


def _mean_and_error(points: Sequence[float]) -> dict[str, float | int | None]:
    error = standard_error(points)
    return {
        "points": round(statistics.mean(points), 2),
        "stderr": None if error is None else round(error, 2),
        "runs": len(points),
    }


if __name__ == "__main__":
    main()
