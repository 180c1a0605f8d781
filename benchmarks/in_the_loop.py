"""Does measuring in the loop make a search land on its budget where the predictor is wrong?

    python -m benchmarks.in_the_loop [--quick]

A latency table is profiled on a virtual phone over adb and a predictor fitted to it. Then the phone
turns slower by a factor of its own for each kernel type, 1 to 2, which neither table nor predictor
has seen: before a network is measured, the factor of its program is written to the phone, the mean
over the network's kernels weighted by their predicted times. Searches with several budgets, shares
of the reference's measured latency, are run twice: with the `TOP_K` best candidates of each
iteration measured, and on the predictor alone. Scores are made up (`benchmarks.search_quality`), so
that nothing is trained. Networks that several searches have in common are measured once.

`first_err_pct` and `last_err_pct`: mean absolute error of the prediction, as it stood, for what was
measured in the first iteration (the full network, nothing corrected yet) and in the last one.
`last_err_pct_without_loop`: for the networks found without the loop. `measured_ms`: the found
network, measured by itself; mean of two.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.common import QUICK_PROFILE, QUICK_SPACE, own_adb_server, parser, print_result, say
from benchmarks.search_quality import MadeUpScore
from netadapt.android_runner.device import Program
from netadapt.android_runner.phone.device import PhoneDevice
from netadapt.android_runner.phone.settings import PhoneSettings
from netadapt.config import RunConfig, parse_config
from netadapt.predictor.predictor import LatencyPredictor
from netadapt.profiler.profile import Profiler
from netadapt.profiler.table import LatencyTable
from netadapt.runs.latency import latency_metric, remembered
from netadapt.runs.network_timer import NetworkTimer
from netadapt.runs.parts import Parts
from netadapt.runs.profile_plan import sample_space
from netadapt.search.driver import SearchResult, open_log, run_search
from netadapt.search.metrics import Constraint
from netadapt.search.space import Arch, Space
from netadapt.search.trials import Iteration, read_iterations
from netadapt.virtual_phone import PIXEL_1, VirtualPhone

BUDGET_SHARES = (0.8, 0.65, 0.5, 0.4, 0.3)
TOP_K = 2
LARGEST_FACTOR = 2.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One search: what it found and how its predictions fared.

    errors: by iteration, the mean absolute error of the predictions of what was measured, a share.
    """

    budget_ms: float
    measured_ms: tuple[float, float]
    predicted_ms: float
    errors: tuple[float, ...]
    measured: int

    @property
    def mean_ms(self) -> float:
        return statistics.mean(self.measured_ms)

    @property
    def error(self) -> float:
        """Of the found network's prediction, before it was measured."""
        return abs(self.predicted_ms / self.mean_ms - 1)


class SlowedTimer:
    """Times networks on the phone, which first learns what to slow their programs down by."""

    def __init__(
        self,
        timer: NetworkTimer,
        phone: VirtualPhone,
        space: Space,
        predictor: LatencyPredictor,
        seed: int,
    ) -> None:
        self._timer = timer
        self._phone = phone
        self._space = space
        self._predictor = predictor
        rng = np.random.default_rng([seed, 7])
        types = sorted({kernel.type_name for kernel in space.kernels(space.full())})
        self.by_type = {name: float(rng.uniform(1, LARGEST_FACTOR)) for name in types}
        self.by_program: dict[str, float] = {}

    def measured(self, archs: Sequence[Arch]) -> list[float]:
        self._slow_down(archs)
        return self._timer.measured(archs)

    def twice(self, arch: Arch) -> tuple[float, float]:
        self._slow_down([arch])
        return self._timer.twice(arch)

    def _slow_down(self, archs: Sequence[Arch]) -> None:
        programs = self._timer.programs(archs)
        for arch, program in zip(archs, programs, strict=True):
            kernels = self._space.kernels(arch)
            ms = self._predictor.predict(kernels)
            factors = [self.by_type.get(kernel.type_name, 1.0) for kernel in kernels]
            self.by_program[Program("a network", program).sha256] = float(
                np.average(factors, weights=ms)
            )
        self._phone.set_slow_down(self.by_program)


def main() -> None:
    """Profile, slow the phone down, search with and without the loop, print the figures."""
    options = parser(__doc__).parse_args()
    begin = time.perf_counter()
    shares = (0.85,) if options.quick else BUDGET_SHARES
    config = _config(options.quick)
    space = Parts(config).space
    with (
        tempfile.TemporaryDirectory(prefix="netadapt-in-the-loop-") as name,
        connected_phone(Path(name)) as (phone, device),
        LatencyTable(Path(name) / "latency.sqlite") as table,
    ):
        rng = np.random.default_rng(config.run.seed)
        sample = config.sample
        archs, subjects = sample_space(space, sample.kernels, sample.chains, rng)
        say(f"profiling {len(subjects)} kernels and chains on {phone.address}")
        parts = Parts(config, given_device=device)
        Profiler(device, table, settings=config.profile, spec=parts.spec()).kernels(subjects)
        timer = NetworkTimer(parts, table)
        timer.archs(sorted(archs, key=space.macs)[:: len(archs) // sample.networks])
        predictor = LatencyPredictor().fit(table)
        slowed = SlowedTimer(timer, phone, space, predictor, config.run.seed)
        say("factors: " + ", ".join(f"{n} {f:.2f}" for n, f in slowed.by_type.items()))
        score = MadeUpScore(space, config.run.seed)
        (reference_ms,) = slowed.measured([space.reference()])
        with_loop: list[Outcome] = []
        without: list[Outcome] = []
        for share in shares:
            for found, loop in ((with_loop, "top_k"), (without, "predictor")):
                outcome = _search(
                    _with_loop(config, loop),
                    Path(name) / f"{share}-{loop}.jsonl",
                    share * reference_ms,
                    (space, predictor, score, slowed),
                )
                found.append(outcome)
                say(
                    f"{loop}: {outcome.mean_ms:.4f} of {outcome.budget_ms:.4f} ms "
                    f"({outcome.mean_ms / outcome.budget_ms:.1%}), predicted off by "
                    f"{outcome.error:.1%}; {time.perf_counter() - begin:.0f} s"
                )
    print_result(
        {
            "benchmark": "in_the_loop",
            "first_err_pct": _percent(outcome.errors[0] for outcome in with_loop),
            "second_err_pct": _percent(outcome.errors[1] for outcome in with_loop),
            "last_err_pct": _percent(outcome.errors[-1] for outcome in with_loop),
            "last_err_pct_without_loop": _percent(outcome.error for outcome in without),
            "runs": [
                {
                    "budget_ms": round(one.budget_ms, 5),
                    "measured_ms": round(one.mean_ms, 5),
                    "used_pct": round(100 * one.mean_ms / one.budget_ms, 2),
                    "both_ms": [round(ms, 5) for ms in one.measured_ms],
                    "err_pct_by_iteration": [round(100 * error, 2) for error in one.errors],
                    "networks_measured": one.measured,
                    "measured_ms_without_loop": round(other.mean_ms, 5),
                }
                for one, other in zip(with_loop, without, strict=True)
            ],
            "top_k": TOP_K,
            "factors": {name: round(factor, 3) for name, factor in slowed.by_type.items()},
            "seconds": round(time.perf_counter() - begin),
        }
    )


@contextmanager
def connected_phone(folder: Path) -> Iterator[tuple[VirtualPhone, PhoneDevice]]:
    """A virtual phone that never gets warm, as adb sees it; adb's server is one of our own."""
    cool = replace(
        PIXEL_1,
        serial=f"LOOP{os.getpid()}",
        zones=tuple(replace(zone, rise_c_per_s=0.0) for zone in PIXEL_1.zones),
    )
    with (
        own_adb_server() as server,
        VirtualPhone(cool, folder / "phone") as phone,
    ):
        server.connect(phone.address)
        with PhoneDevice(phone.address, PhoneSettings(wait_s=60), server=server) as device:
            yield phone, device


def _search(
    config: RunConfig,
    path: Path,
    budget_ms: float,
    parts: tuple[Space, LatencyPredictor, MadeUpScore, SlowedTimer],
) -> Outcome:
    space, predictor, score, slowed = parts
    latency = latency_metric(space, remembered(predictor))
    search = Parts(config, given_space=space).search([Constraint(latency, budget_ms)])
    with open_log(path, search) as log:
        result = run_search(search, score, slowed.measured, log, confirm=slowed.twice)
    return _outcome(budget_ms, result, read_iterations(path))


def _outcome(budget_ms: float, result: SearchResult, iterations: Sequence[Iteration]) -> Outcome:
    errors = []
    for iteration in iterations:
        predicted = {trial.arch: trial.predicted["latency"] for trial in iteration.trials}
        if iteration.measured:
            errors.append(
                statistics.mean(
                    abs(predicted[m.arch] / m.measured_ms - 1) for m in iteration.measured
                )
            )
    assert result.confirmed_ms is not None  # the search was given somebody to confirm
    return Outcome(
        budget_ms,
        result.confirmed_ms,
        result.predicted["latency"],
        tuple(errors),
        sum(len(iteration.measured) for iteration in iterations),
    )


def _config(quick: bool) -> RunConfig:
    size = (24, 3, 2) if quick else (160, 12, 6)
    return parse_config(
        {
            "run": {"seed": 0},
            "space": {"name": QUICK_SPACE if quick else "digits"},
            "sample": dict(zip(("kernels", "chains", "networks"), size, strict=True)),
            "profile": QUICK_PROFILE if quick else {},
            "search": {
                "top_k": TOP_K,
                "mcd": {
                    "candidates": 3 if quick else 20,
                    "schedule": {
                        "approach": 0.8 if quick else 0.4,
                        "finest_step": 0.5 if quick else 0.15,
                    },
                },
            },
        },
        "in_the_loop",
    )


def _with_loop(config: RunConfig, loop: str) -> RunConfig:
    return config.changed({"search": {"loop": loop}})


def _percent(errors: Iterator[float]) -> float:
    return round(100 * statistics.mean(errors), 3)


if __name__ == "__main__":
    main()
