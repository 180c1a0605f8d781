"""What a run hands over: for each budget the bundle to ship, and the result."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from netadapt import __version__
from netadapt.profiler.lowering import ProgramCache
from netadapt.runs.bundle import save_bundle
from netadapt.runs.result import DeviceResult, NetworkResult, RunResult, SearchOutcome

if TYPE_CHECKING:
    from netadapt.profiler.table import Provenance
    from netadapt.runs.context import Context, Found
    from netadapt.runs.folder import RunFolder


class Ship:
    """Write the found networks in the forms that others take them in."""

    name = "export"

    def done(self, folder: RunFolder) -> bool:
        return False

    def do(self, context: Context) -> None:
        text = context.folder.space.read_text()
        for found in context.found.values():
            save_bundle(
                context.search_folder(found.budget),
                context.space,
                text,
                context.space.options | context.config.space.options,
                found.result.arch,
                context.trained[found.network.label],
                context.task,
                context.parts.lowering,
                ProgramCache(),
            )


class Conclude:
    """Write the result; searches of an earlier one are left as they are."""

    name = "result"

    def done(self, folder: RunFolder) -> bool:
        return False

    def do(self, context: Context) -> None:
        before, task = context.before, context.task
        done = {} if before is None else {search.label: search for search in before.searches}
        done |= {label: _outcome(context, one) for label, one in context.found.items()}
        reference = context.judged[context.reference().label]
        RunResult(
            name=context.config.run.name,
            metric=task.metric_name,
            higher_is_better=task.higher_is_better,
            reference=reference if before is None else before.reference,
            searches=tuple(done[budget.label] for budget in context.budgets),
            seed=context.config.run.seed,
            task_seed=task.seed,
            torch_threads=torch.get_num_threads(),
            netadapt_version=__version__,
            commit=source_commit(),
            device=_device_result(context.timer.provenance),
            durations_s=context.folder.durations_s(),
        ).save(context.folder.result)


def _outcome(context: Context, one: Found) -> SearchOutcome:
    judged: Mapping[str, NetworkResult] = context.judged
    found, *variants = (judged[final.label] for final in one.finals)
    sign = 1 if context.task.higher_is_better else -1
    assert one.result.confirmed_ms is not None
    return SearchOutcome(
        label=one.budget.label,
        budget_ms=one.budget_ms,
        latency_share=one.budget.latency_share,
        constraints={c.metric.name: c.budget for c in context.search(one.budget_ms).constraints},
        found=found,
        scaled=max(variants, key=lambda n: sign * n.test_metric, default=None),
        scaled_variants=tuple(variants),
        search_score=one.result.score,
        search_lead=one.result.lead,
        found_alone_ms=one.result.confirmed_ms,
        evaluations=one.result.evaluations,
        iterations=one.result.iterations,
    )


def source_commit() -> str | None:
    """The commit of the sources this runs from, `+` behind it when they were changed since.

    None where they are not in a checkout of their own.
    """
    source = Path(__file__)

    def git(*arguments: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", "-C", str(source.parent), *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return answer.stdout.strip()

    if git("ls-files", "--error-unmatch", source.name) is None:
        return None
    changed = git("status", "--porcelain", "--untracked-files=no")
    return f"{git('rev-parse', 'HEAD')}{'+' if changed else ''}"


def _device_result(provenance: Provenance) -> DeviceResult:
    return DeviceResult(
        id=provenance.device.id,
        model=provenance.device.model,
        soc=provenance.device.soc,
        os=provenance.device.os,
        abi=provenance.device.abi,
        runtime_version=provenance.device.runtime_version,
        runner_sha256=provenance.device.runner_sha256,
        precision=provenance.recipe.precision,
        threads=provenance.threads,
        cpus=provenance.cpus,
    )
