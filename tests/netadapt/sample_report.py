"""A finished run's records, made up, with every part that a report can have."""

from __future__ import annotations

import math

import numpy as np

from netadapt.report.records import (
    Budget,
    Candidate,
    Drawing,
    Duration,
    Fact,
    KernelShare,
    Layer,
    NetworkFigures,
    PathStep,
    PredictedMeasured,
    PredictionErrors,
    Probe,
    RunReport,
)
from predictor.report import ErrorFigures

FOUND = NetworkFigures("found", 0.842, 0.391, 0.394, 6.1e6, 143_000, 5.2)
REFERENCE = NetworkFigures("reference", 0.851, 0.81, 0.804, 13.9e6, 248_000, 8.0)
SCALED = NetworkFigures("scaled", 0.823, 0.40, 0.401, 5.4e6, 98_000, 4.9)

_BLOCKS = [
    # name, size, width, max width, expansion, max expansion, kernel size, stride, se
    ("block 1", 24, 16, 16, 0, 0, 3, 1, False),
    ("block 2", 12, 24, 24, 64, 64, 3, 2, False),
    ("block 3", 12, 24, 24, 72, 72, 3, 1, False),
    ("block 4", 6, 40, 40, 96, 96, 5, 2, True),
    ("block 5", 6, 40, 40, 120, 120, 5, 1, True),
    ("block 6", 6, 64, 64, 200, 200, 3, 1, False),
    ("block 7", 6, 64, 64, 192, 192, 3, 1, False),
    ("block 8", 6, 80, 80, 256, 256, 5, 1, True),
]
_KEPT = [(8, 0, 3), (16, 40, 3), (0, 0, None), (32, 64, 5), (16, 72, 3), (64, 120, 5)]
_KEPT += [(0, 0, None), (72, 136, 3)]


def _drawings() -> tuple[Drawing, Drawing]:
    reference = tuple(Layer(*block) for block in _BLOCKS)
    found = tuple(
        Layer(name, px, width, most, expansion, most_expansion, kernel, stride, se)
        for (name, px, _, most, _, most_expansion, _, stride, se), (
            width,
            expansion,
            kernel,
        ) in zip(_BLOCKS, _KEPT, strict=True)
    )
    stem = Layer("stem", 24, 16, 16)
    head = (Layer("head", 6, 256, 256), Layer("hidden", 1, 128, 128))
    small = (Layer("head", 6, 160, 256), Layer("hidden", 1, 96, 128))
    return (
        Drawing("reference", 8.0, (stem, *reference, *head)),
        Drawing("found", 5.2, (Layer("stem", 24, 8, 16), *found, *small)),
    )


def sample_report() -> RunReport:
    rng = np.random.default_rng(0)
    targets = np.geomspace(3.4, 0.39, 18)
    candidates = tuple(
        Candidate(i + 1, float(0.86 - 0.012 / t - rng.gamma(2, 0.012)), float(t * u))
        for i, t in enumerate(targets)
        for u in rng.uniform(0.97, 1, 20)
    )
    path = tuple(
        PathStep(i + 1, 0.86 - 0.012 / t, float(t), float(t * rng.normal(1, 0.02)))
        for i, t in enumerate(targets)
    )
    pairs = tuple(
        PredictedMeasured(group, float(ms * rng.normal(1, 0.02)), float(ms), ms * 0.95, ms * 1.05)
        for group, count in (
            ("other networks of the table", 8),
            ("kept in the search", 18),
            ("measured beside them", 20),
            ("trained", 3),
        )
        for ms in rng.uniform(0.35, 3.4, count)
    )
    probes = tuple(
        Probe(
            i,
            float(t * rng.normal(1, 0.02)) if i else float(t * 0.7),
            float(t),
            kept=beside == 0,
            guard=0.06 * 0.85**i + 0.01,
        )
        for i, t in enumerate(targets)
        for beside in range(3 if i else 1)
    )
    types = ["standard_conv", "pointwise_conv", "depthwise_conv", "squeeze_excite", "activation"]
    types += ["bypass", "linear", "global_pool", "add"]
    shares = tuple(
        KernelShare(
            name, {"reference": 0.24 / (i + 1), "found": 0.12 / (i + 1) * rng.uniform(0, 1)}
        )
        for i, name in enumerate(types)
    )
    errors = [
        PredictionErrors(name, ErrorFigures(40, 0.7, 0.93, 4.1 + i / 2, 6.0, 0.99, 0.91, 0.9, 2.8))
        for i, name in enumerate(types)
    ]
    few = ErrorFigures(8, 1.0, 1.0, 1.8, 2.2, math.nan, math.nan, 0.7, 1.9)
    errors.append(PredictionErrors("networks", few))
    return RunReport(
        name="demo <b>&amp;",
        finished=True,
        score_name="accuracy",
        score_is_share=True,
        search_metric="latency",
        search_unit="ms",
        budgets=(Budget("latency", "ms", 0.402, 0.394), Budget("macs", "MACs", 7e6, 6.1e6)),
        networks=(REFERENCE, FOUND, SCALED),
        scaled_variants=(NetworkFigures("0.5x, 3x3", 0.82, 0.4, 0.405, 5e6, 9e4, 4.8),),
        candidates=candidates,
        path=path,
        probes=probes,
        found_alone_ms=(0.393, 0.396),
        predicted_measured=pairs,
        drawings=_drawings(),
        kernel_shares=shares,
        predictor=tuple(errors),
        conditions=(Fact("Processor", "A processor <i>of some make</i>"), Fact("Threads", "1")),
        settings=(Fact("search.candidates", "20"),),
        durations=(
            Duration("profile", 151.0),
            Duration("fit", 6.2),
            Duration("train super-network", 140.0),
            Duration("search", 118.3),
            Duration("final training", 205.0),
        ),
    )
