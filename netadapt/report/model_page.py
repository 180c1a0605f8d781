"""The page about a model of one's own: how long it takes, which of its layers, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from netadapt import __version__
from netadapt.android_runner.device import DeviceInfo
from netadapt.android_runner.files import write_atomically
from netadapt.model_tree import Leaf, Share, outside_lines, shares
from netadapt.models import Model
from netadapt.profiler.model_timing import ModelTiming, PartTiming
from netadapt.report.figures import model as figures
from netadapt.report.records import Fact
from netadapt.report.rendering import Draw, rendered
from netadapt.report.verdict import MINUS
from netadapt.text import LatencyUnit, faster, quantity, threads

MODULES = 22
"""Bars of a picture at most."""


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What is on the page.

    Parameters
    ----------
    timings: one for each count of threads, with their parts.
    rewritten: the same model with `model.rewrites`, as a whole; none where nothing applies.
    """

    model: Model
    device: DeviceInfo
    timings: tuple[ModelTiming, ...]
    rewritten: tuple[ModelTiming, ...] = ()


def write_model_page(report: ModelReport, path: Path) -> None:
    """Write the page, whole or not at all."""
    write_atomically(path, render_model(report).encode())


def render_model(report: ModelReport) -> str:
    """The page's HTML."""
    first = report.timings[0]
    unit = LatencyUnit.of(t.ms for t in (*report.timings, *report.rewritten))
    small = LatencyUnit.of(part.ms for part in first.parts if part.ms)
    return rendered(
        "model.html.jinja",
        report.model.name,
        _pictures(report),
        {
            "ms": unit.text,
            "bare": small.number,
            "quantity": quantity,
            "threads": threads,
            "percent": lambda share: f"{100 * share:.1f} %",
            "signed": lambda share: f"{100 * share:+.1f} %".replace("-", MINUS),
            "rate": _rate,
        },
        report=report,
        model=report.model,
        first=first,
        unit=unit,
        small=small,
        lead=_lead(report, unit),
        outside=[] if report.model.graph is None else outside_lines(report.model.graph.outside),
        facts_about=_conditions(report),
    )


def _pictures(report: ModelReport) -> dict[str, Draw]:
    timings = [timing for timing in report.timings if timing.parts]
    if not timings:
        return {}
    # The first counts of threads decide which modules are opened, so that all have the same bars
    opened = [_path(share) for share in _shares(timings[0])]
    modules = {threads(t.threads): _by_module(t, opened) for t in timings}
    operations = {threads(t.threads): _by_operation(t) for t in timings}
    wanted: dict[str, Draw] = {
        "modules": partial(figures.by_name, "modules", "Milliseconds by module", modules),
        "operations": partial(
            figures.by_name, "operations", "Milliseconds by operation", operations
        ),
    }
    points = [
        (each.part.module or each.part.operation, _depthwise(each), each.ms, each.part.macs)
        for each in timings[0].parts
        if each.ms and each.part.macs
    ]
    if len(points) > 2:
        wanted["rates"] = partial(figures.roofline, points)
    return wanted


def _shares(timing: ModelTiming) -> list[Share]:
    return shares([Leaf(each.part, each.ms) for each in timing.parts], MODULES)


def _path(share: Share) -> str:
    return share.path or "(no module)"


def _by_module(timing: ModelTiming, opened: Sequence[str]) -> dict[str, float]:
    """Milliseconds of each part in `opened`; what lies in none of them is the rest."""
    found = dict.fromkeys(opened, 0.0)
    for each in timing.parts:
        path = each.part.module
        while path and path not in found:
            path = path.rpartition(".")[0]
        found[path or "(no module)"] = found.get(path or "(no module)", 0.0) + (each.ms or 0.0)
    return found


def _by_operation(timing: ModelTiming) -> dict[str, float]:
    """Milliseconds by kind of operation, most first."""
    found: Counter[str] = Counter()
    for each in timing.parts:
        found[each.part.operation] += each.ms or 0.0  # type: ignore[assignment]  # floats add as well
    return dict(found.most_common(MODULES))


def _depthwise(each: PartTiming) -> bool:
    return each.part.operation.startswith("DepthwiseConv")


def _lead(report: ModelReport, unit: LatencyUnit) -> list[str]:
    first = report.timings[0]
    said = ", ".join(f"{unit.text(t.ms)} with {threads(t.threads)}" for t in report.timings)
    sentences = [f"It takes {said} on {report.device.model}."]
    if first.parts and first.sum_ms:
        slowest = max(_shares(first), key=lambda share: share.ms)
        sentences.append(
            f"The most of it goes to {_path(slowest)}: {100 * slowest.ms / first.sum_ms:.0f} % of "
            "the sum of all operations."
        )
        outside = sum(e.ms or 0.0 for e in first.parts if not e.part.nodes)
        if outside:
            share = 100 * outside / first.sum_ms
            sentences.append(f"What does not run in XNNPACK takes {share:.0f} % of it.")
    if report.rewritten:
        how = " ".join(f"--rewrite {name}" for name in report.model.rewrites)
        gain = faster(first.ms, report.rewritten[0].ms)
        sentences.append(f"With {how} it is {gain}, with the same outputs.")
    return sentences


def _rate(each: PartTiming) -> str:
    if not each.ms or not each.part.macs:
        return ""
    rate = each.part.macs / each.ms / 1e6
    return f"{rate:.1f}" if rate >= 0.05 else "<0.1"


def _conditions(report: ModelReport) -> list[Fact]:
    device = report.device
    return [
        Fact("device", f"{device.model} ({device.id})"),
        Fact("processor", device.soc),
        Fact("system", f"{device.os}, {device.abi}, {device.cores} cores"),
        Fact("runtime", f"ExecuTorch {device.runtime_version}, XNNPACK, fp32"),
        Fact("runner", f"{device.build_options} {device.runner_sha256[:12]}".strip()),
        *(
            Fact(
                f"two runs with {threads(timing.threads)}",
                f"apart by {100 * abs(timing.repeat_dev):.1f} %"
                + ("" if timing.quality == "ok" else f", {timing.quality}: take it with care"),
            )
            for timing in report.timings
        ),
        Fact("netadapt", f"{__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
    ]
