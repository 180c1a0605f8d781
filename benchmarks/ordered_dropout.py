"""What ordered dropout costs: a training step with one arch an image against one unmasked step.

The baseline is the same super-network, unmasked, with its largest kernels, in the faster of the
two memory formats; everything is then timed in that format, turn by turn. The figures at the top
are the larger ratios of all spaces, the rest belongs to the space with the larger `ratio`.
`masks_ms` is what the processor does for a batch of 256 of the 224 space before any layer runs: it
draws the archs and makes their masks, which on a GPU's machine has to be done within a step.

    python -m benchmarks.ordered_dropout [--family inverted_residual | encoder_decoder] [--quick]
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.common import parser, print_result, say
from netadapt.search.families.inverted_residual import InvertedResidualSpace
from netadapt.search.families.inverted_residual.columns import DrawnArchs
from netadapt.search.families.inverted_residual.supernet import make_masks
from netadapt.search.ordered_dropout import OrderedDropout
from netadapt.search.space import Arch, Space
from netadapt.search.training import OrderedDropoutSettings

Archs = Arch | Sequence[Arch]

FORMATS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}


PLANS = {
    "inverted_residual": [("digits", 128, 15), ("mobilenet_v3_large", 16, 9)],
    "encoder_decoder": [("rooms", 32, 15), ("fastdepth", 8, 9)],
}
"""Spaces of a family, images a step, repeats."""


@dataclass(frozen=True, slots=True)
class Result:
    """Of one space; medians over the repeats."""

    space: str
    batch_size: int
    architectures_per_step: int
    baseline_format: str
    baseline_ms: float
    ratio_widths: float
    ratio: float
    repeats: int


def main() -> None:
    """Time both spaces, print the figures."""
    arguments = parser(__doc__)
    arguments.add_argument("--family", choices=PLANS, default="inverted_residual")
    options = arguments.parse_args()
    quick, plan = options.quick, PLANS[options.family]
    if quick:
        plan = [(plan[0][0], 16, 2)]
    results = []
    for name, batch_size, repeats in plan:
        say(f"{name}: {repeats} x 3 training steps of {batch_size} images")
        results.append(measure(Space.load(name), batch_size, repeats))
    worst = max(results, key=lambda r: r.ratio)
    print_result(
        {
            "benchmark": "ordered_dropout",
            "family": options.family,
            "ratio_widths": max(r.ratio_widths for r in results),
            "ratio": worst.ratio,
            "baseline_format": worst.baseline_format,
            "architectures_per_step": worst.architectures_per_step,
            "batch_size": worst.batch_size,
            "threads": torch.get_num_threads(),
            "masks_ms": masks_ms(16 if quick else 256),
            "spaces": [asdict(r) for r in results],
        }
    )


def masks_ms(batch_size: int) -> float:
    """Milliseconds of this process's time, the median of some batches."""
    space = Space.load("mobilenet_v3_large")
    assert isinstance(space, InvertedResidualSpace)
    sample, rng = OrderedDropout(space), np.random.default_rng(0)
    images, times = torch.zeros(batch_size, 3, 1, 1), []
    for _ in range(9):
        begin = time.process_time()
        drawn = sample(batch_size, rng)
        assert isinstance(drawn, DrawnArchs)
        make_masks(space, drawn.columns, images)
        times.append((time.process_time() - begin) * 1e3)
    return round(statistics.median(times), 2)


def measure(space: Space, batch_size: int, repeats: int) -> Result:
    """Time one space's training step; sampling the archs counts as part of it."""
    generator = torch.Generator().manual_seed(0)
    rng = np.random.default_rng(0)
    images = torch.randn(batch_size, *space.input_shape[1:], generator=generator)
    per_image = OrderedDropout(space)
    per_step = OrderedDropout(space, OrderedDropoutSettings("step"))
    full = space.full()

    formats = {}
    for name in FORMATS:
        step = _training_step(space, images, FORMATS[name])
        formats[name] = (min(_times_ms(step, [lambda: full], 3)[0]), step)
    baseline_format = min(formats, key=lambda name: formats[name][0])
    step = formats[baseline_format][1]

    archs: list[list[Arch]] = []

    def sampled() -> Archs:
        drawn = per_image(batch_size, rng)
        assert isinstance(drawn, Sequence)  # without a ramp each image has an arch of its own
        archs.append(list(drawn))
        return drawn

    kinds: list[Callable[[], Archs]] = [lambda: full, lambda: per_step(batch_size, rng), sampled]
    baseline, widths, all_per_image = (
        statistics.median(times) for times in _times_ms(step, kinds, repeats)
    )
    return Result(
        space=space.name,
        batch_size=batch_size,
        architectures_per_step=min(len(set(batch)) for batch in archs),
        baseline_format=baseline_format,
        baseline_ms=round(baseline, 1),
        ratio_widths=round(widths / baseline, 3),
        ratio=round(all_per_image / baseline, 3),
        repeats=repeats,
    )


def _training_step(
    space: Space, images: Tensor, memory_format: torch.memory_format
) -> Callable[[Archs], None]:
    supernet = space.supernetwork(generator=torch.Generator().manual_seed(0)).train()
    supernet.to(memory_format=memory_format)  # type: ignore[call-overload]
    batch = images.contiguous(memory_format=memory_format)
    labels = torch.arange(len(images)) % space.classes
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.01, momentum=0.9, foreach=True)

    def step(archs: Archs) -> None:
        outputs = supernet(batch, archs)
        maps = outputs.dim() == 4
        loss = outputs.abs().mean() if maps else functional.cross_entropy(outputs, labels)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()

    return step


def _times_ms(
    step: Callable[[Archs], None], kinds: Sequence[Callable[[], Archs]], repeats: int
) -> list[list[float]]:
    """Of each kind, in turns so that all see the same machine; the first turn does not count."""
    times: list[list[float]] = [[] for _ in kinds]
    for repeat in range(repeats + 1):
        for kind, found in zip(kinds, times, strict=True):
            started = time.perf_counter()
            step(kind())
            if repeat:
                found.append((time.perf_counter() - started) * 1e3)
    return times


if __name__ == "__main__":
    main()
