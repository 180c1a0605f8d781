"""Profiling for real on this machine: programs are lowered, timed, written, resumed, replayed."""

from __future__ import annotations

import dataclasses
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from torch import nn

from netadapt.android_runner.device import Failure, Measurement, Program, RunProgress, RunSpec
from netadapt.android_runner.runner.host import HostDevice
from netadapt.profiler.kernels import (
    DepthwiseConvKernel,
    PointwiseConvKernel,
    PointwiseConvNorm,
    SqueezeExciteKernel,
)
from netadapt.profiler.lowering import ProgramCache, ShapedNetwork, Subject
from netadapt.profiler.profile import Profiler
from netadapt.profiler.replay import replay_device
from netadapt.profiler.settings import ProfileSettings
from netadapt.profiler.table import LatencyTable
from netadapt.profiler.timing import Gate
from tests.killed import Child, Say
from tests.profiler.test_lowering import network_with_statistics
from tests.provenance import NOTHING_TOLD

SUBJECTS = [
    Subject(PointwiseConvKernel(16, 24, 7, 7, "relu")),
    Subject(DepthwiseConvKernel(16, 3, 1, 7, 7, "relu")),
    Subject(DepthwiseConvKernel(16, 3, 1, 7, 7, "relu"), 3),
    Subject(SqueezeExciteKernel(16, 8, 7, 7)),
]
KEYS = {(s.kernel.key, s.copies) for s in SUBJECTS}
QUICK = ProfileSettings(rounds=4, warmup_ms=1, visit_ms=0.5, batch=2)
LENIENT = Gate(max_repeat_dev=1e9, max_sentinel_dev=1e9)
"""Whatever else the machine does, no row is flagged, and so measured again."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ProgramCache:
    return ProgramCache(tmp_path_factory.mktemp("programs"))


def test_profile_resume_networks_and_replay(tmp_path: Path, cache: ProgramCache) -> None:
    table = LatencyTable(tmp_path / "table.sqlite")
    profiler = Profiler(HostDevice(), table, cache, QUICK, gate=LENIENT)
    seen: list[tuple[str, int, int]] = []

    first = profiler.kernels(SUBJECTS[:3], lambda *event: seen.append(event))
    assert (first.present, first.measured, first.failures) == (0, 3, ())
    assert seen[-1] == ("measure", 3, 3)
    before = table.rows()

    second = profiler.kernels(SUBJECTS)
    assert (second.present, second.measured) == (3, 1)
    assert table.rows()[:3] == before, "rows that are there are not measured again"
    assert table.keys(profiler.provenance) == KEYS

    shape = (1, 8, 5, 5)
    toy = ShapedNetwork(network_with_statistics(), shape)
    assert profiler.networks({"toy": toy}).measured == 1
    same = {"toy": toy, "same kernels": ShapedNetwork(network_with_statistics(1), shape)}
    assert profiler.networks(same).measured == 0
    larger = ShapedNetwork(toy.module, (1, 8, 6, 6))
    assert profiler.networks({**same, "larger": larger}).measured == 1, "another resolution"
    assert profiler.networks(same, occasion="trained").measured == 1
    assert [r.label for r in table.rows()[-3:]] == ["toy", "larger", "toy"]
    assert len({r.key for r in table.rows()[-3:]}) == 3
    keys = profiler.network_keys(same, occasion="trained")
    assert set(keys.values()) == {table.rows()[-1].key}

    layers = OrderedDict(plain=nn.Conv2d(8, 4, 3), known=PointwiseConvNorm(4, 8))
    unknown = ShapedNetwork(nn.Sequential(layers), shape)
    assert profiler.networks({"unknown": unknown}).measured == 1
    assert profiler.networks({"unknown": unknown}).measured == 0
    assert (table.rows()[-1].kernels, table.rows()[-1].type) == ((), "network")
    network = table.rows()[-2]
    assert network.input_shape == shape
    assert network.kernels is not None
    assert [key.partition("(")[0] for key in network.kernels] == ["pointwise_conv", "bypass"]

    for row in table.rows():
        assert row.provenance == profiler.provenance
        assert row.sentinel_us is not None
        assert len(row.rounds_us) == 4, "two runs of half the rounds each"

    # Through a replay the same rows, but for the provenance, which says that it is one
    replayed = LatencyTable()
    again = Profiler(replay_device(table), replayed, cache, QUICK)
    again.kernels(SUBJECTS)
    again.networks({"toy": toy})
    again.beside({"larger": larger}, "larger")
    found = {(row.key, row.copies): row for row in replayed.rows()}
    originals = [row for row in table.rows() if (row.key, row.copies) in found]
    assert len(found) == len(originals) == len(SUBJECTS) + 2
    device = dataclasses.replace(profiler.provenance.device, kind="replay")
    assert again.provenance == dataclasses.replace(profiler.provenance, device=device)
    for row in originals:
        expected = dataclasses.replace(row, provenance=again.provenance)
        assert found[row.key, row.copies] == expected
    assert again.kernels(SUBJECTS).measured == 0
    (failure,) = again.kernels([Subject(PointwiseConvKernel(8, 8, 3, 3))]).failures
    assert "must have been recorded" in failure.message


class Neighbour(HostDevice):
    """A machine on which all that runs beside `work`, of its first runs, takes a third longer."""

    def __init__(self, work: int) -> None:
        super().__init__()
        self.work = work
        self.runs = 0

    def run(
        self,
        programs: Sequence[Program],
        spec: RunSpec,
        on_progress: Callable[[RunProgress], None] | None = None,
    ) -> Iterator[Measurement | Failure]:
        self.runs += 1
        slow, sentinel = (4.0, 1.1) if self.runs <= self.work else (3.0, 1.0)
        for program in programs:
            yield Measurement(
                program.name,
                program.sha256,
                ((slow * len(program.data),),) * spec.rounds,
                1,
                dataclasses.replace(NOTHING_TOLD, sentinel_us=(sentinel,) * spec.rounds),
            )
        if on_progress:
            visits = len(programs) * spec.rounds
            on_progress(RunProgress(visits, visits, programs[-1].name))


def test_rows_of_a_disturbed_beginning_are_flagged_and_measured_once_more(
    cache: ProgramCache, caplog: pytest.LogCaptureFixture
) -> None:
    subjects = SUBJECTS[:3]
    calm = Profiler(Neighbour(0), LatencyTable(), cache, QUICK)
    assert calm.kernels(subjects).flagged == 0
    seen: list[tuple[str, int, int]] = []
    # Its warm-up and both runs of the first batch, which agree
    disturbed = Profiler(Neighbour(3), LatencyTable(), cache, QUICK)
    with caplog.at_level(logging.DEBUG, "netadapt.profiler.profile"):
        summary = disturbed.kernels(subjects, lambda *event: seen.append(event))
    assert "2 of 3 programs are flagged and timed once more" in caplog.text
    again = "; ".join(subject.kernel.key for subject in subjects[:2])
    assert f"timed once more: {again}\n" in caplog.text
    assert (summary.measured, summary.flagged) == (3, 0)
    assert seen[-1] == ("measure", 5, 5)
    latencies_us = {(row.key, row.copies): row.latency_us for row in calm.table.rows()}
    assert latencies_us == {(row.key, row.copies): row.latency_us for row in disturbed.table.rows()}


def test_networks_are_timed_beside_each_other_and_get_rows(cache: ProgramCache) -> None:
    profiler = Profiler(HostDevice(), LatencyTable(), cache, QUICK, gate=LENIENT)
    network = ShapedNetwork(network_with_statistics(), (1, 8, 5, 5))
    networks = {"one": network, "the same": network}
    for _ in range(2):
        timed = profiler.beside(networks, "one", SUBJECTS[:1])
        assert timed["one"].ratio == 1
        assert timed["the same"].ratio > 0
        rows = profiler.table.rows()
        assert len(rows) == 1, "of the same content"
        assert rows[0].kernels


def profile_subjects(say: Say, path: Path, cache: Path) -> None:
    """Measure them in a process of its own."""
    profiler = Profiler(HostDevice(), LatencyTable(path), ProgramCache(cache), QUICK, gate=LENIENT)
    profiler.kernels(SUBJECTS, lambda *event: say(event))
    say("finished")


def test_a_killed_profile_resumes_to_the_same_keys(tmp_path: Path, cache: ProgramCache) -> None:
    path = tmp_path / "table.sqlite"
    chance = random.Random(0)
    committed: dict[tuple[str, int], float] = {}
    for _ in range(6):
        child = Child(profile_subjects, path, cache.folder)
        said = [child.told()]
        time.sleep(chance.uniform(0, 0.25))
        said += child.kill()
        rows = {(r.key, r.copies): r.latency_us for r in LatencyTable(path).rows()}
        assert rows.items() >= committed.items(), "a committed row is neither lost nor redone"
        committed = rows
        if "finished" in said:
            break
    assert Child(profile_subjects, path, cache.folder).rest()[-1] == "finished"
    rows = {(r.key, r.copies): r.latency_us for r in LatencyTable(path).rows()}
    assert rows.items() >= committed.items()
    assert set(rows) == KEYS
