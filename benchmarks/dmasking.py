"""What a differentiable search costs as its space grows: a step with all choices, and its memory.

The largest network of the 224 space stays the same; its dimensions keep ever more of their values,
from one (one arch) to all of them. A step is one of the weights and, every fourth, one of the
architecture with its expected latency; each size runs in a process of its own, whose peak of memory
is the figure, after one step that sets things up. `time_ratio` and `memory_ratio` are against the
space of one arch.

    python -m benchmarks.dmasking [--quick]
"""

from __future__ import annotations

import json
import math
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import parser, print_result, say
from netadapt.search.dmasking.architecture import Architecture
from netadapt.search.dmasking.cost import counted
from netadapt.search.families.inverted_residual import InvertedResidualSpace
from netadapt.search.families.inverted_residual.file import LayerSpec
from netadapt.search.space import Space

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Of each dimension's values how many a space keeps, the largest first; at least one."""

WEIGHT_STEPS = 4
BATCH, QUICK_BATCH = 8, 2


def main() -> None:
    """Time every size in turn, a few rounds; print the figures."""
    arguments = parser(__doc__)
    arguments.add_argument("--share", type=float, help="time this size alone (for the benchmark)")
    options = arguments.parse_args()
    quick = options.quick
    if options.share is not None:
        print(json.dumps(_size(options.share, quick=quick)))
        return
    shares = SHARES[::5] if quick else SHARES
    rounds = 1 if quick else 3
    found: dict[float, list[dict[str, float]]] = {share: [] for share in shares}
    for number in range(rounds):
        for share in shares:
            say(f"round {number + 1} of {rounds}: {share:.0%} of the values")
            if quick:  # in this process, which has imported what takes seconds
                found[share].append(_size(share, quick=True))
                continue
            command = [sys.executable, "-m", "benchmarks.dmasking", "--share", str(share)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[share].append(json.loads(done.stdout.splitlines()[-1]))
    sizes = [_row(found[share], found[shares[0]]) for share in shares]
    print_result(
        {
            "benchmark": "dmasking",
            **{key: sizes[-1][key] for key in ("log10_space", "time_ratio", "memory_ratio")},
            "batch_size": QUICK_BATCH if quick else BATCH,
            "threads": torch.get_num_threads(),
            "rounds": rounds,
            "sizes": sizes,
        }
    )


def _row(found: list[dict[str, float]], first: list[dict[str, float]]) -> dict[str, float]:
    """Medians of one size's rounds, and its ratios to the first size's in the same round."""

    def ratio(key: str) -> float:
        pairs = zip(found, first, strict=True)
        return round(statistics.median(one[key] / base[key] for one, base in pairs), 3)

    return {
        "log10_space": round(found[0]["log10_space"], 1),
        "step_ms": round(statistics.median(one["step_ms"] for one in found), 1),
        "peak_mb": round(statistics.median(one["peak_mb"] for one in found), 1),
        "time_ratio": ratio("step_ms"),
        "memory_ratio": ratio("peak_mb"),
    }


def _size(share: float, *, quick: bool) -> dict[str, float]:
    """Milliseconds of a step, and this process's peak of memory, with that share of the values."""
    space = _with_fewer(Space.load("digits" if quick else "mobilenet_v3_large"), share)
    batch, steps = (QUICK_BATCH, WEIGHT_STEPS) if quick else (BATCH, 2 * WEIGHT_STEPS)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, *space.input_shape[1:], generator=generator)
    targets = torch.randint(space.classes, (batch,), generator=generator)
    supernet = space.supernetwork(generator=generator).train()
    weights = torch.optim.SGD(supernet.parameters(), 1e-3)
    architecture, cost = Architecture(space), counted(space, "macs")
    nothing = torch.zeros(1, requires_grad=True)  # to choose, in the space of one arch
    logits = torch.optim.Adam([*architecture.parameters(), nothing], 1e-3)
    rng, times = np.random.default_rng(0), []

    def loss() -> Tensor:
        outputs = supernet.mixed(images, architecture.drawn(rng, 1.0))
        return torch.nn.functional.cross_entropy(outputs, targets)

    for number in range(1 + steps // WEIGHT_STEPS):
        begin = time.perf_counter()
        for _ in range(WEIGHT_STEPS):
            weights.zero_grad(set_to_none=True)
            torch.autograd.backward(loss())
            weights.step()
        logits.zero_grad(set_to_none=True)
        whole = loss().double() + torch.log(cost(architecture.probabilities()))
        torch.autograd.backward(whole)
        logits.step()
        if number:  # the first sets things up
            times.append((time.perf_counter() - begin) * 1e3 / WEIGHT_STEPS)
    return {
        "log10_space": math.log10(space.count()),
        "step_ms": statistics.median(times),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


class _Fewer(InvertedResidualSpace):
    """A space that keeps the largest of each choice's values."""

    share: float

    def layer_values(self, spec: LayerSpec | None) -> tuple[int, ...]:
        return self._kept(super().layer_values(spec))

    def block_values(self, index: int, attribute: str) -> tuple[int, ...]:
        return self._kept(super().block_values(index, attribute))

    def removable(self, index: int) -> bool:
        return self.share == 1 and super().removable(index)

    def _kept(self, values: tuple[int, ...]) -> tuple[int, ...]:
        return values[-max(1, math.ceil(self.share * len(values))) :]


def _with_fewer(space: Space, share: float) -> Space:
    settings = {f.name: getattr(space, f.name) for f in fields(space) if f.init}  # type: ignore[arg-type]  # a dataclass
    kind = type("_Fewer", (_Fewer,), {"share": share})
    made: Space = kind(**settings)
    return made


if __name__ == "__main__":
    main()
