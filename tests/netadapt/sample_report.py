"""A finished run's records, made up, with every part that a report can have."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from netadapt.predictor.report import ErrorFigures, LearningRound
from netadapt.report.records import (
    Budget,
    Candidate,
    Drawing,
    Duration,
    Fact,
    LatencyMap,
    LatencyPart,
    LossCurve,
    MapExamples,
    OtherRun,
    PathStep,
    PredictedMeasured,
    PredictionErrors,
    Probe,
    PublishedNetwork,
    RunReport,
    SearchReport,
    TrainedNetwork,
    WholeLatency,
)
from netadapt.search.dmasking.points import MaskingPoint
from netadapt.search.space import Layer

REFERENCE = TrainedNetwork(
    label="reference",
    kind="reference",
    search=None,
    score=0.851,
    images=4000,
    predicted_ms=0.81,
    measured_ms=0.804,
    measured_spread=0.012,
    latency_ratio=1.0,
    macs=13.9e6,
    params=248_000,
    depth=8.0,
)
FOUND = TrainedNetwork(
    label="found",
    kind="found",
    search="0.5",
    score=0.842,
    images=4000,
    predicted_ms=0.391,
    measured_ms=0.394,
    measured_spread=0.015,
    latency_ratio=0.49,
    macs=6.1e6,
    params=143_000,
    depth=5.2,
)
SCALED = TrainedNetwork(
    label="scaled 0.62 x, own kernels",
    kind="scaled",
    search="0.5",
    score=0.823,
    images=4000,
    predicted_ms=0.40,
    measured_ms=0.437,
    measured_spread=0.02,
    latency_ratio=0.5439,
    macs=5.4e6,
    params=98_000,
    depth=4.9,
)
VARIANT = dataclasses.replace(
    SCALED, label="scaled 0.71 x, all 3x3", score=0.812, measured_ms=0.41, chosen=False
)

THIS_RUN = OtherRun("sample", "supernet, mcd", 900.0, (FOUND,))
BESIDE = OtherRun(
    "masked",
    "dmasking",
    1400.0,
    (
        dataclasses.replace(
            FOUND, label="masked: found", score=0.836, measured_ms=0.386, latency_ratio=0.48
        ),
    ),
)
PUBLISHED = (
    PublishedNetwork(
        label="MobileNetV3-Small",
        metrics=("ImageNet top-1 67.66 %",),
        source="timm, lamb_in1k",
        score=0.6766,
        measured_ms=0.6,
        quality="ok",
        macs=56.5e6,
        params=2_542_856,
    ),
    PublishedNetwork(
        label="FastDepth",
        metrics=("NYU Depth V2 RMSE 0.604 m", "NYU Depth V2 delta-1 0.771"),
        source="arXiv 1903.03273, table of results",
        score=None,
        measured_ms=1.1,
        quality="unstable",
        macs=366.4e6,
        params=1_360_786,
    ),
    PublishedNetwork(
        label="MobileNetV2",
        metrics=("ImageNet top-1 72.98 %",),
        source="timm, ra_in1k",
        score=0.7298,
        measured_ms=1.2,
        quality="ok",
        macs=300.8e6,
        params=3_504_872,
    ),
)

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


def _search() -> SearchReport:
    rng = np.random.default_rng(0)
    targets = np.geomspace(3.4, 0.39, 18)
    return SearchReport(
        label="0.5",
        given="50 % of the reference's latency",
        budgets=(Budget("latency", "ms", 0.402, 0.394), Budget("macs", "MACs", 7e6, 6.1e6)),
        candidates=tuple(
            Candidate(i + 1, float(0.86 - 0.012 / t - rng.gamma(2, 0.012)), float(t * u))
            for i, t in enumerate(targets)
            for u in rng.uniform(0.97, 1, 20)
        ),
        path=tuple(
            PathStep(i + 1, 0.86 - 0.012 / t, float(t), float(t * rng.normal(1, 0.02)))
            for i, t in enumerate(targets)
        ),
        probes=tuple(
            Probe(
                i,
                float(t * rng.normal(1, 0.02)) if i else float(t * 0.7),
                float(t),
                kept=beside == 0,
                guard=0.06 * 0.85**i + 0.01,
            )
            for i, t in enumerate(targets)
            for beside in range(3 if i else 1)
        ),
        found_alone_ms=(0.393, 0.396),
        masking=tuple(map(_masking_point, range(50, 801, 50))),
    )


def _masking_point(step: int) -> MaskingPoint:
    """Of a differentiable search, which a run has instead of many iterations; a page draws both."""
    share = step / 800
    decided = np.exp(6 * share * np.array([[0, 1, 0.4, 0], [0.2, 0, 0, 1]]))
    expected_ms = 1.2 * (1 - share) + 0.39 * share
    return MaskingPoint(
        step=step,
        steps=800,
        loss=2.3 - share,
        temperature=5 * 0.02**share,
        entropy=1 - 0.8 * share,
        costs={"latency": expected_ms},
        budgets={"latency": 0.402},
        multipliers={"latency": share},
        corrections={"latency": 1.03},
        likeliest="{}",
        predicted={"latency": 0.38 * (1 + share) / 2},
        measured={"latency": 0.39 * (1 + share) / 2} if step % 200 == 0 else {},
        probabilities={
            name: (row / row.sum()).tolist()
            for name, row in zip(("stem", "blocks.0.kernel_size"), decided, strict=True)
        },
    )


def _latency_map() -> LatencyMap:
    channels = tuple(range(8, 257, 8))
    return LatencyMap(
        "pointwise_conv",
        "12x12",
        channels,
        channels,
        tuple(tuple(0.002 + 0.14 * a * b / 256**2 for a in channels) for b in channels),
        tuple(tuple((a * 5 + b * 3) % 11 == 0 for a in channels) for b in channels),
    )


def _losses() -> tuple[LossCurve, ...]:
    steps = tuple(range(1, 101))
    return tuple(
        LossCurve(phase, steps, tuple(top * math.exp(-step / 30) + floor for step in steps))
        for phase, top, floor in (
            ("supernet", 2.1, 0.9),
            ("reference", 0.6, 0.35),
            ("found", 0.7, 0.4),
            ("scaled, kernels own", 0.8, 0.45),
        )
    )


def _examples() -> MapExamples:
    rng = np.random.default_rng(2)
    pictures = rng.uniform(0, 1, (2, 12, 16, 3)).astype(np.float32)
    truth, reference, found = rng.uniform(1, 9, (3, 2, 12, 16)).astype(np.float32)
    truth[:, :3] = np.nan
    return MapExamples("0.5", "depth", "m", pictures, truth, reference, found)


def sample_report() -> RunReport:
    """One search."""
    rng = np.random.default_rng(1)
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
    types = ["standard_conv", "pointwise_conv", "depthwise_conv", "squeeze_excite", "activation"]
    types += ["bypass", "linear", "global_pool", "add"]
    errors = [
        PredictionErrors(name, ErrorFigures(40, 0.7, 0.93, 4.1 + i / 2, 6.0, 0.99, 0.91, 0.9, 2.8))
        for i, name in enumerate(types)
    ]
    few = ErrorFigures(8, 1.0, 1.0, 1.8, 2.2, math.nan, math.nan, 0.7, 1.9)
    errors.append(PredictionErrors("networks", few))
    return RunReport(
        name="demo <b>&amp;",
        finished=True,
        about=(
            Fact("Version", "netadapt 0.1.1 (commit 0123abc)"),
            Fact("Command", "netadapt search run.toml"),
        ),
        score_name="accuracy",
        score_is_share=True,
        higher_is_better=True,
        searched_by="accuracy",
        search_metric="latency",
        search_unit="ms",
        searches=(_search(),),
        networks=(REFERENCE, FOUND, SCALED, VARIANT),
        predicted_measured=pairs,
        drawings=_drawings(),
        wholes=(
            WholeLatency("reference", 0.83, 0.81, 0.804),
            WholeLatency("found", 0.42, 0.391, 0.394),
        ),
        blocks=tuple(
            LatencyPart(layer.name, {"reference": 0.09 + 0.02 * (i % 3), "found": 0.05 * (i % 4)})
            for i, layer in enumerate(_drawings()[0].layers)
        ),
        kernel_types=tuple(
            LatencyPart(
                name, {"reference": 0.24 / (i + 1), "found": 0.12 / (i + 1) * rng.uniform(0, 1)}
            )
            for i, name in enumerate(types)
        ),
        latency_map=_latency_map(),
        predictor=tuple(errors),
        learning=(
            LearningRound(96, 0.14, 9.1),
            LearningRound(144, 0.1, 8.2),
            LearningRound(190, 0.05, 7),
        ),
        losses=_losses(),
        conditions=(Fact("Processor", "A processor <i>of some make</i>"), Fact("Threads", "1")),
        settings=(Fact("search.candidates", "20"),),
        durations=(
            Duration("profile", 151.0),
            Duration("fit", 6.2),
            Duration("train super-network", 140.0),
            Duration("search", 118.3),
            Duration("final training", 205.0),
        ),
        examples=(_examples(),),
    )


def sample_front() -> RunReport:
    """Three searches from one super-network."""
    report = sample_report()
    first = report.searches[0]
    searches, networks = [], [REFERENCE]
    for label, share, drop in (("0.75", 1.53, 0.0), ("0.5", 1.0, 0.009), ("0.35", 0.7, 0.03)):
        given = round(100 * float(label))
        budget = dataclasses.replace(first.budgets[0], limit=0.402 * share, reached=0.394 * share)
        searches.append(
            dataclasses.replace(first, label=label, given=f"{given} %", budgets=(budget,))
        )
        for network in (FOUND, SCALED):
            networks.append(
                dataclasses.replace(
                    network,
                    label=f"{network.label} {label}",
                    search=label,
                    score=network.score + 0.009 - drop,
                    measured_ms=network.measured_ms * share,
                    predicted_ms=network.predicted_ms * share,
                    latency_ratio=(network.latency_ratio or 0.0) * share,
                )
            )
    labels = ("found 0.75", "found 0.5", "found 0.35")
    drawings = (
        report.drawings[0],
        *(dataclasses.replace(report.drawings[1], label=label) for label in labels),
    )
    parts = tuple(
        LatencyPart(
            part.name,
            {"reference": part.ms["reference"]}
            | {label: part.ms["found"] * (1.4 - 0.3 * i) for i, label in enumerate(labels)},
        )
        for part in report.blocks
    )
    return dataclasses.replace(
        report,
        searches=tuple(searches),
        networks=tuple(networks),
        drawings=drawings,
        blocks=parts,
    )
