"""What writing programs without the exporter saves, and whether they are the same to the byte.

    python -m benchmarks.lowering [--quick]

Kernels are drawn at random from the digits and the 224 space and written with nothing cached, their
modules' making included; a sample of all types is exported and compared. Then random networks of
both spaces, weights drawn anew, written and exported. Times are this process's own CPU time, and
its children's; imports are not counted. Without the lean decompositions the exporter takes three
times as long for a kernel: `stock_ms_per_kernel` is with all of them, as ExecuTorch does it.
"""

from __future__ import annotations

import itertools
import resource
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch

from benchmarks.common import QUICK_SPACE, parser, print_result, say
from benchmarks.equivalence import relative_error, run_program
from netadapt.profiler.kernels import Kernel
from netadapt.profiler.lowering import Lowering, Subject, find_lowering, lower, xnnpack
from netadapt.profiler.lowering.programs import WRITTEN_AT_A_TIME
from netadapt.runs.profile_plan import sample_space
from netadapt.search import Space

Result = TypeVar("Result")


def main() -> None:
    """Write, export, compare, print the figures."""
    quick = parser(__doc__).parse_args().quick
    torch.set_num_threads(1)
    spaces = [Space.load(QUICK_SPACE if quick else "digits")]
    if not quick:
        spaces.append(Space.load("mobilenet_v3_large"))
    count, compared, stock, networks = (24, 8, 2, 1) if quick else (1000, 200, 20, 10)
    lowering, rng = find_lowering(), np.random.default_rng(0)
    kernels = _kernels(spaces, count, rng)
    _write(lowering, [Subject(kernels[0])])  # imports
    say(f"writing {len(kernels)} kernels")
    programs, kernel_ms = _timed(lambda: _write(lowering, [Subject(k) for k in kernels]))
    say(f"exporting {compared} of them")
    chosen = _of_all_types(kernels, compared)
    exported, lean_ms = _timed(lambda: [_exported(kernels[i]) for i in chosen])
    equal = sum(programs[i] == data for i, data in zip(chosen, exported, strict=True))
    stock_ms = _stock_ms([kernels[i] for i in chosen[:stock]])
    say(f"writing and exporting {networks} networks of each space")
    found = {space.name: _networks(space, networks, lowering, rng) for space in spaces}
    print_result(
        {
            "benchmark": "lowering",
            "kernels": len(kernels),
            "ms_per_kernel": round(kernel_ms / len(kernels), 3),
            "lean_ms_per_kernel": round(lean_ms / len(chosen), 1),
            "stock_ms_per_kernel": round(stock_ms, 1),
            "ratio": round(stock_ms / (kernel_ms / len(kernels))),
            "types": len({kernels[i].type_name for i in chosen}),
            "compared_programs": len(chosen),
            "equal_programs": equal,
            "networks": found,
            "network_ratio": round(min(f["ratio"] for f in found.values()), 1),
            "equal_networks": sum(f["equal"] for f in found.values()),
            "max_rel_err": max(f["max_rel_err"] for f in found.values()),
        }
    )


def _kernels(spaces: Sequence[Space], count: int, rng: np.random.Generator) -> list[Kernel]:
    """Different ones, as many of each space."""
    found: dict[Kernel, None] = {}
    for number, space in enumerate(spaces, 1):
        wanted = count * number // len(spaces)
        _, subjects = sample_space(space, count, 0, rng)
        for subject in subjects:
            if len(found) < wanted:
                found.setdefault(subject.kernel)
    return list(found)


def _of_all_types(kernels: Sequence[Kernel], count: int) -> list[int]:
    """Indices, every type's in turn."""
    by_type: dict[str, list[int]] = {}
    for index, kernel in enumerate(kernels):
        by_type.setdefault(kernel.type_name, []).append(index)
    turns = itertools.chain.from_iterable(itertools.zip_longest(*by_type.values()))
    return [index for index in turns if index is not None][:count]


def _write(lowering: Lowering, subjects: Sequence[Subject]) -> list[bytes]:
    programs: list[bytes] = []
    for first in range(0, len(subjects), WRITTEN_AT_A_TIME):
        batch = subjects[first : first + WRITTEN_AT_A_TIME]
        drafts = [lowering.draft(s.module(), s.kernel.input_shapes) for s in batch]
        known = [draft for draft in drafts if draft is not None]
        if len(known) < len(drafts):
            raise SystemExit("a kernel of this package cannot be written; see the tests")
        programs += lowering.write(known)
    return programs


def _exported(kernel: Kernel) -> bytes:
    return lower(Subject(kernel).module(), kernel.example_inputs())


def _stock_ms(kernels: Sequence[Kernel]) -> float:
    """Of each, as ExecuTorch does it by itself: with all decompositions."""
    lean = xnnpack.lean_decompositions
    xnnpack.lean_decompositions = _all_decompositions
    try:
        return statistics.median(_timed(lambda k=k: _exported(k))[1] for k in kernels)  # type: ignore[misc]
    finally:
        xnnpack.lean_decompositions = lean


@contextmanager
def _all_decompositions(exported: object) -> Iterator[None]:
    yield


def _networks(
    space: Space, count: int, lowering: Lowering, rng: np.random.Generator
) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    written_ms, stock_ms, errors, equal = [], [], [], 0
    for _ in range(count):
        point = [int(rng.choice(dimension.values)) for dimension in space.dimensions]
        network = space.network(space.point(point), generator=generator).eval()
        x = torch.randn(space.input_shape, generator=generator)
        draft, draft_ms = _timed(lambda n=network: lowering.draft(n, (space.input_shape,)))  # type: ignore[misc]
        assert draft is not None
        (program,), write_ms = _timed(lambda d=draft: lowering.write([d]))  # type: ignore[misc]
        expected, export_ms = _timed(lambda n=network: lower(n, (torch.zeros_like(x),)))  # type: ignore[misc]  # noqa: B023
        written_ms.append(draft_ms + write_ms)
        stock_ms.append(export_ms)
        equal += program == expected
        with torch.inference_mode():
            errors.append(relative_error(run_program(program, x), network(x)))
    return {
        "networks": count,
        "network_ms": round(statistics.median(written_ms), 1),
        "stock_network_ms": round(statistics.median(stock_ms)),
        "ratio": round(statistics.median(stock_ms) / statistics.median(written_ms), 1),
        "equal": equal,
        "max_rel_err": max(errors),
    }


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """What `work` gives, and the ms of CPU that it took, its children's included."""
    begin = _cpu_s()
    result = work()
    return result, 1e3 * (_cpu_s() - begin)


def _cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
