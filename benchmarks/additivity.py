"""How well a network's latency follows from its kernels', on networks never measured before.

A table is made the way `netadapt profile` makes it: a sample of the space's kernels, the
reference's among them, chains, and a few networks that teach the correction. Then other networks,
shrunk from the reference as a search does, are measured whole and held against the prediction,
most of whose kernels the table does not hold. All of it twice: with kernels in the backend's native
layout, and beside that (`exported`) as the exporter makes them, with chains for the layout's cost.

    python -m benchmarks.additivity [--family inverted_residual | encoder_decoder] [--quick]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.common import QUICK_PROFILE, QUICK_SPACE, parser, print_result, say, work_folder
from netadapt.android_runner.runner.host import HostDevice
from netadapt.predictor.predictor import LatencyPredictor
from netadapt.profiler.lowering import DEFAULT_RECIPE, NATIVE_RECIPE, find_lowering, pays_layout
from netadapt.profiler.profile import Profiler
from netadapt.profiler.settings import ProfileSettings
from netadapt.profiler.table import LatencyTable
from netadapt.runs.network_timer import untrained
from netadapt.runs.profile_plan import sample_space
from netadapt.search.space import Arch, Dimension, Space

SPACES = {
    "inverted_residual": ("mobilenet_v3_large", QUICK_SPACE),
    "encoder_decoder": ("fastdepth", "rooms"),
}
"""By family; the second for a quick run."""

LEARN, UNSEEN = "learn", "unseen"
MIN_LATENCY_SHARE, MAX_LATENCY_SHARE = 0.25, 1.0
"""Of the reference's latency: the networks that count."""


def main() -> None:
    """Profile, predict, measure, print the figures."""
    arguments = parser(__doc__)
    arguments.add_argument("--family", choices=SPACES, default="inverted_residual")
    options = arguments.parse_args()
    whole, quick = SPACES[options.family]
    space = Space.load(quick if options.quick else whole)
    native = _figures(space, NATIVE_RECIPE, quick=options.quick)
    # The other goes the same way: a quick run would show nothing more
    exported = None if options.quick else _figures(space, DEFAULT_RECIPE, quick=False)
    print_result({"benchmark": "additivity", "space": space.name, **native, "exported": exported})


def _figures(space: Space, recipe: str, *, quick: bool) -> dict[str, object]:
    """Of a table of this recipe; the networks are the same for every one."""
    kernels, chains, learn, unseen = (16, 3, 3, 3) if quick else (400, 48, 9, 38)
    chains = chains if pays_layout(find_lowering(recipe).recipe) else 0
    rng = np.random.default_rng(0)
    archs = {f"{LEARN} {i}": arch for i, arch in enumerate(_shrunk(space, learn, rng))}
    archs |= {f"{UNSEEN} {i}": arch for i, arch in enumerate(_shrunk(space, unseen, rng))}

    with LatencyTable(work_folder("additivity") / f"{space.name}.sqlite") as table:
        settings = ProfileSettings(recipe=recipe, **(QUICK_PROFILE if quick else {}))
        profiler = Profiler(HostDevice(), table, settings=settings)
        say(f"{recipe}: profiling about {kernels} kernels and {chains} chains")
        profiler.kernels(sample_space(space, kernels, chains, rng)[1])
        say(f"measuring {len(archs)} networks")
        networks = {
            n: untrained(space, arch)
            for n, arch in {"reference": space.reference(), **archs}.items()
        }
        summary = profiler.networks(networks)
        if summary.failures:
            raise SystemExit(f"not measured: {summary.failures[0]}")
        measured = table.rows(profiler.provenance)
        rows = {row.key: row for row in measured if row.copies == 1}
        keys = profiler.network_keys(networks)
        held_out = {key for n, key in keys.items() if n.startswith(UNSEEN)}
        taught = [row for row in measured if row.key not in held_out]

    with LatencyTable() as known:
        known.add(taught)
        predictor = LatencyPredictor().fit(known)
    us = {name: rows[key].latency_us for name, key in keys.items()}
    held = [
        n
        for n in archs
        if n.startswith(UNSEEN)
        and MIN_LATENCY_SHARE <= us[n] / us["reference"] <= MAX_LATENCY_SHARE
    ]
    measured_ms = np.array([us[n] / 1e3 for n in held])
    held_kernels = [space.kernels(archs[n]) for n in held]
    predicted_ms = predictor.predict_networks(held_kernels)
    plain_ms = np.array([predictor.predict(each).sum() for each in held_kernels])
    low_ms, high_ms = predictor.predict_networks_interval(held_kernels).T
    errors = np.abs(predicted_ms / measured_ms - 1)
    used = {kernel.key for each in held_kernels for kernel in each}
    return {
        "recipe": recipe,
        "networks": len(held),
        "within_5pct": round(float(np.mean(errors <= 0.05)), 4),
        "within_10pct": round(float(np.mean(errors <= 0.10)), 4),
        "median_abs_err_pct": round(100 * float(np.median(errors)), 3),
        "max_abs_err_pct": round(100 * float(errors.max()), 3),
        "plain_sum_err_pct": round(100 * float(np.median(np.abs(plain_ms / measured_ms - 1))), 3),
        "interval_coverage": round(
            float(np.mean((low_ms <= measured_ms) & (measured_ms <= high_ms))), 4
        ),
        "correction_networks": predictor.correction_.samples,
        "removed_and_bypassed": sum(_removed_and_bypassed(space, archs[n]) for n in held),
        "latency_share": [
            round(float(ms) * 1e3 / us["reference"], 3) for ms in np.quantile(measured_ms, [0, 1])
        ],
        "kernels_profiled": len(predictor.data_.kernels),
        "kernels_predicted_share": round(1 - len(used & rows.keys()) / len(used), 3),
        "repeat_median_pct": round(
            100 * float(np.median([abs(rows[keys[n]].repeat_dev) for n in held])), 3
        ),
        "flagged_networks": sum(rows[keys[n]].quality != "ok" for n in held),
    }


def _shrunk(space: Space, count: int, rng: np.random.Generator) -> list[Arch]:
    """Networks from nearly all to a fifth of the reference's MACs, made by random shrinking.

    Two of three have a removed block and a partial bypass.
    """
    reference = space.reference()
    return [
        _shrink(space, _thinned(space, reference, rng) if i % 3 else reference, share, rng)
        for i, share in enumerate(np.linspace(0.95, 0.2, count))
    ]


def _removable(space: Space) -> list[Dimension]:
    """Widths of blocks that can be left out, which are those with a bypass around them."""
    return [d for d in space.dimensions if d.name.endswith(".width") and d.values[0] == 0]


def _thinned(space: Space, arch: Arch, rng: np.random.Generator) -> Arch:
    """`arch` with one block removed and another that bypasses some of its input."""
    narrower = {
        d: [v for v in d.values if 0 < v < (space.value(arch, d) or 0)] for d in _removable(space)
    }
    bypassed = _drawn([d for d, fewer in narrower.items() if fewer], rng)
    removed = _drawn([d for d in narrower if d != bypassed], rng)
    arch = space.with_value(arch, removed, 0)
    return space.with_value(arch, bypassed, int(rng.choice(narrower[bypassed])))


def _drawn(dimensions: Sequence[Dimension], rng: np.random.Generator) -> Dimension:
    return dimensions[int(rng.integers(len(dimensions)))]


def _shrink(space: Space, arch: Arch, share: float, rng: np.random.Generator) -> Arch:
    """`arch` shrunk by small random steps to `share` of the reference's MACs."""
    target = share * space.macs(space.reference())
    dimensions, removable = space.dimensions, _removable(space)

    def removed(arch: Arch) -> int:
        return sum(not space.value(arch, dimension) for dimension in removable)

    while space.macs(arch) > target:
        choices = space.smaller(arch, dimensions[rng.integers(len(dimensions))])
        # Removal is for `_thinned`: here it would leave little of the smallest networks.
        kept = [c for c in choices if removed(c) <= removed(arch)]
        if kept:
            arch = kept[int(rng.integers(min(len(kept), 3)))]
    return arch


def _removed_and_bypassed(space: Space, arch: Arch) -> bool:
    removed = any(not space.value(arch, dimension) for dimension in _removable(space))
    return removed and any(k.type_name == "bypass" for k in space.kernels(arch))


if __name__ == "__main__":
    main()
