"""What profiling will measure, known before anything is made: which programs, how many, how long.

A profile says this first, and `--dry-run` says nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from netadapt.profiler.kernels import Kernel
from netadapt.profiler.keys import network_key
from netadapt.profiler.lowering import ProgramCache, Subject
from netadapt.profiler.lowering.writing import COMPARED_SHARE
from netadapt.profiler.sampling import layout_subjects, sample_kernels
from netadapt.profiler.settings import NETWORK_ROUNDS_FACTOR
from netadapt.profiler.table import Effort, LatencyTable
from netadapt.runs.parts import Parts
from netadapt.search.space import Arch, Space
from netadapt.text import duration

POOL_ARCHS = 1000
"""Random archs whose kernels are the pool that a table's kernels are sampled from."""

# What a program costs on one core of a 2020s x86-64 server: assumptions, for estimates only.
_WRITE_KERNEL_S = 0.004
_WRITE_NETWORK_S = 0.03
_EXPORT_KERNEL_S = 0.3
_EXPORT_NETWORK_S = 4.0
_IMPORT_S = 4.0
_LOAD_MS = 4.0
"""Loading a program, with each visit."""
_REPEATS = 1.4
"""Runs in all, as a multiple of those needed where every program agrees with itself at once."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """How much there is to do.

    Parameters
    ----------
    kernels, chains, networks: what is measured for each number of threads.
    asked: the kernels asked for; the sample takes more where it has to.
    thread_counts: numbers of threads that all of it is measured with.
    present: programs that the table holds already under the same conditions, measured as well.
    seconds: that the rest takes, roughly.
    """

    kernels: int
    chains: int
    networks: int
    asked: int
    thread_counts: int
    present: int
    seconds: float

    @property
    def programs(self) -> int:
        """All that is measured, for every number of threads."""
        return (self.kernels + self.chains + self.networks) * self.thread_counts

    def __str__(self) -> str:
        parts = ", ".join(
            _counted(getattr(self, f"{name}s"), name) for name in ("kernel", "chain", "network")
        )
        often = f"; all for {self.thread_counts} thread counts" if self.thread_counts > 1 else ""
        on_top = (
            f" ({self.asked} asked for; the corners of every type and the reference's kernels are "
            "always measured)"
            if self.kernels > self.asked
            else ""
        )
        about = f"; {roughly(self.seconds)}" if self.programs > self.present else ""
        return (
            f"{_counted(self.programs, 'program')} to measure: {parts}{on_top}{often}; "
            f"{self.present} there already{about}"
        )


def roughly(seconds: float) -> str:
    """An estimate, no finer than it is worth: `about 40 s`, `about 3 min`."""
    if seconds < 90:
        return f"about {max(10, round(seconds, -1)):.0f} s"
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes < 90 else f"about {duration(60 * minutes)}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Sample:
    """What is measured of a space: kernels and chains alone (`subjects`), and whole networks.

    `pool` has the kernels that the sample was drawn from.
    """

    space: Space
    subjects: tuple[Subject, ...]
    archs: tuple[Arch, ...]
    pool: tuple[Kernel, ...]


@dataclass(frozen=True, slots=True)
class ProfilePlan:
    """What one call of profile measures, on a device that answers and has the cores asked for.

    Parameters
    ----------
    runs: the run's parts for each number of threads; they differ in nothing else.
    """

    runs: tuple[Parts, ...]
    sample: Sample

    def forecast(self, table: Path) -> Forecast:
        """How much of it is left to do for the table at `table`, which may not be there."""
        chains = sum(subject.copies > 1 for subject in self.sample.subjects)
        missing = [self._missing(table, parts) for parts in self.runs]
        measured = len(self.sample.subjects) + len(self.sample.archs)
        return Forecast(
            kernels=len(self.sample.subjects) - chains,
            chains=chains,
            networks=len(self.sample.archs),
            asked=self.runs[0].config.sample.kernels,
            thread_counts=len(self.runs),
            present=measured * len(self.runs)
            - sum(len(subjects) + networks for subjects, networks in missing),
            seconds=self._seconds(missing),
        )

    def _missing(self, table: Path, parts: Parts) -> tuple[list[Subject], int]:
        """Subjects, and the number of networks, that the table lacks for one number of threads."""
        if not table.exists():
            return list(self.sample.subjects), len(self.sample.archs)
        spec, of_networks = (parts.spec(networks=n) for n in (False, True))
        with LatencyTable(table, must_exist=True) as rows:
            settled = rows.settled(parts.provenance, Effort.of(spec))
            settled_networks = rows.settled(parts.provenance, Effort.of(of_networks))
        subjects = [s for s in self.sample.subjects if (s.kernel.key, s.copies) not in settled]
        space = parts.space
        keys = {
            network_key([k.key for k in space.kernels(arch)], space.input_shape_of(arch))
            for arch in self.sample.archs
        }
        return subjects, sum((key, 1) not in settled_networks for key in keys)

    def _seconds(self, missing: Sequence[tuple[list[Subject], int]]) -> float:
        cache, lowering = ProgramCache(), self.runs[0].lowering
        subjects = {subject for some, _ in missing for subject in some}
        to_lower = sum(cache.get(subject.cache_key(lowering)) is None for subject in subjects)
        networks = max(count for _, count in missing)
        settings = self.runs[0].config.profile
        workers = settings.workers or os.cpu_count() or 1
        # Exported is a share, and of the networks the first.
        exported_s = (
            to_lower * _EXPORT_KERNEL_S / COMPARED_SHARE + bool(networks) * _EXPORT_NETWORK_S
        )
        written_s = to_lower * _WRITE_KERNEL_S + networks * _WRITE_NETWORK_S
        lowering_s = exported_s / workers + written_s
        if lowering_s:
            lowering_s += _IMPORT_S
        visit_s = (settings.warmup_ms + settings.visit_ms + _LOAD_MS) / 1e3
        visits = settings.rounds * sum(
            len(some) + NETWORK_ROUNDS_FACTOR * count for some, count in missing
        )
        return lowering_s + _REPEATS * visit_s * visits


def plan_profile(parts: Parts, threads: Sequence[int] = ()) -> ProfilePlan:
    """The plan for a run, or for each of `threads`; nothing is made or changed by it.

    Raises where anything asked for is not there: the space, the device, the cores, the tools.
    """
    sample = sample_run(parts)
    runs = tuple(_with_threads(parts, count) for count in threads) or (parts,)
    for run in runs:
        run.device.cpus(run.spec())
    return ProfilePlan(runs, sample)


def sample_run(parts: Parts) -> Sample:
    """What the run's configuration wants measured, whatever the device."""
    space, settings = parts.space, parts.config.sample
    rng = np.random.default_rng(parts.config.run.seed)
    chains = settings.chains if parts.lowering.has_layout_cost else 0
    archs, subjects = sample_space(space, settings.kernels, chains, rng)
    chosen = _spread_by_macs(space, archs, settings.networks)
    return Sample(space, tuple(subjects), tuple(chosen), tuple(kernel_pool(space, archs)))


def sample_space(
    space: Space, kernels: int, chains: int, rng: np.random.Generator
) -> tuple[list[Arch], list[Subject]]:
    """Random archs of the space, and the kernels and chains to measure of it: a sample of theirs.

    The reference's kernels are always among them.
    """
    archs = [space.random(rng) for _ in range(POOL_ARCHS)]
    pool = kernel_pool(space, archs)
    sample = sample_kernels(pool, kernels, rng, space.kernels(space.reference()))
    return archs, [*map(Subject, sample), *layout_subjects(sample, chains)]


def kernel_pool(space: Space, archs: Sequence[Arch]) -> list[Kernel]:
    """All kernels of these archs and of the full network, each once."""
    return list(dict.fromkeys(k for arch in (space.full(), *archs) for k in space.kernels(arch)))


def _spread_by_macs(space: Space, archs: Sequence[Arch], count: int) -> list[Arch]:
    """`count` of the archs, at even ranks by MACs from the smallest to the largest."""
    ordered = sorted(archs, key=space.macs)
    ranks = np.linspace(0, len(ordered) - 1, count).round().astype(int)
    return [ordered[rank] for rank in dict.fromkeys(ranks.tolist())]


def _with_threads(parts: Parts, count: int) -> Parts:
    return parts.with_config(parts.config.changed({"device": {"threads": count}}))
