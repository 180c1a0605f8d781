"""What is measured again when a table is profiled again, and what stays."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from netadapt.android_runner.device import (
    DeviceInfo,
    Failure,
    Measurement,
    Program,
    RunProgress,
    RunSpec,
)
from netadapt.profiler.errors import SettingsError
from netadapt.profiler.kernels import PointwiseConvKernel
from netadapt.profiler.lowering import ProgramCache, Subject
from netadapt.profiler.profile import Profiler
from netadapt.profiler.settings import ProfileSettings, SampleSettings
from netadapt.profiler.table import LatencyTable
from tests.provenance import MADE_UP, NOTHING_TOLD

SUBJECTS = [Subject(PointwiseConvKernel(8, 8 * i, 4, 4)) for i in (1, 2)]
HASTY = ProfileSettings(rounds=2, warmup_ms=0, visit_ms=1)
USUAL = ProfileSettings()


class SteadyDevice:
    """Its programs take as long as they are, and each run longer by `growth` than the one before.

    A device that grows slower never agrees with itself.
    """

    def __init__(self, growth: float = 0.0, machine: str = "") -> None:
        self._growth = growth
        self._machine = machine
        self.runs = 0

    def info(self) -> DeviceInfo:
        return dataclasses.replace(MADE_UP.device, id="host", machine=self._machine)

    def cpus(self, spec: RunSpec) -> tuple[int, ...]:
        return spec.cpus or (0,)

    def run(
        self,
        programs: Sequence[Program],
        spec: RunSpec,
        on_progress: Callable[[RunProgress], None] | None = None,
    ) -> Iterator[Measurement | Failure]:
        self.runs += 1
        slower = (1 + self._growth) ** self.runs
        for program in programs:
            us = len(program.data) * slower
            yield Measurement(program.name, program.sha256, ((us,),) * spec.rounds, 1, NOTHING_TOLD)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ProgramCache:
    return ProgramCache(tmp_path_factory.mktemp("programs"))


def test_a_careful_profile_measures_hasty_rows_again_and_not_the_other_way_round(
    cache: ProgramCache,
) -> None:
    table = LatencyTable()
    hasty = Profiler(SteadyDevice(), table, cache, HASTY)
    usual = Profiler(SteadyDevice(), table, cache, USUAL)
    assert hasty.provenance == usual.provenance
    assert hasty.kernels(SUBJECTS).measured == 2
    assert {row.effort.rounds for row in table.rows() if row.effort} == {2}
    again = hasty.kernels(SUBJECTS)
    assert (again.present, again.measured) == (2, 0)
    assert usual.kernels(SUBJECTS[:1]).measured == 1
    efforts = {row.key: row.effort for row in table.rows()}
    assert [efforts[s.kernel.key].rounds for s in SUBJECTS] == [12, 2]  # type: ignore[union-attr]
    for profiler, left in ((hasty, 0), (usual, 1), (hasty, 0), (usual, 0)):
        assert profiler.kernels(SUBJECTS).measured == left
    assert len(table) == 2


def test_a_flagged_row_is_tried_again_and_replaced_by_a_better_one_only(
    cache: ProgramCache,
) -> None:
    table = LatencyTable()

    def profiled(growth: float, settings: ProfileSettings = USUAL) -> tuple[str, float]:
        summary = Profiler(SteadyDevice(growth), table, cache, settings).kernels(SUBJECTS[:1])
        assert summary.measured == 1
        (row,) = table.rows()
        return row.quality, row.repeat_dev

    assert profiled(0.2) == ("unstable", pytest.approx(0.2))
    assert profiled(0.5) == ("unstable", pytest.approx(0.2)), "a worse one is not taken"
    assert profiled(0.1) == ("unstable", pytest.approx(0.1))
    assert profiled(0.05, HASTY) == ("unstable", pytest.approx(0.1)), "nor a hastier one"
    assert profiled(0.0) == ("ok", 0.0)
    for growth in (0.0, 0.2):
        profiler = Profiler(SteadyDevice(growth), table, cache, USUAL)
        assert profiler.kernels(SUBJECTS[:1]).measured == 0


def test_a_good_hasty_row_outlives_a_careful_flagged_one(cache: ProgramCache) -> None:
    table = LatencyTable()
    Profiler(SteadyDevice(), table, cache, HASTY).kernels(SUBJECTS[:1])
    before = table.rows()
    tried = Profiler(SteadyDevice(0.2), table, cache, USUAL).kernels(SUBJECTS[:1])
    assert (tried.measured, tried.flagged) == (1, 1)
    assert table.rows() == before


def test_a_table_carried_to_another_machine_of_the_same_name_is_another_provenance(
    tmp_path: Path, cache: ProgramCache
) -> None:
    path = tmp_path / "table.sqlite"
    for machine in ("a" * 16, "b" * 16):
        with LatencyTable(path) as table:
            profiler = Profiler(SteadyDevice(machine=machine), table, cache, HASTY)
            assert profiler.kernels(SUBJECTS).measured == 2
    with LatencyTable(path) as table:
        first, second = table.provenances()
    assert (first.device.id, first.device.fingerprint) == (
        second.device.id, second.device.fingerprint,
    )  # fmt: skip
    assert str(first) != str(second)


def test_rows_of_two_recipes_are_two_provenances(cache: ProgramCache) -> None:
    table = LatencyTable()
    other = dataclasses.replace(HASTY, recipe="tests.profiler.test_recipe:PortableFp32")
    for settings in (HASTY, other):
        assert Profiler(SteadyDevice(), table, cache, settings).kernels(SUBJECTS).measured == 2
    assert [str(p.recipe) for p in table.provenances()] == ["xnnpack-fp32-1", "portable-fp32-1"]
    assert all("torch" in p.lowering and "executorch" in p.lowering for p in table.provenances())
    assert len({row.program_sha256 for row in table.rows()}) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"rounds": 1},
        {"rounds": 10**9},
        {"warmup_ms": -1.0},
        {"visit_ms": 0.0},
        {"visit_ms": float("nan")},
        {"batch": 0},
        {"workers": 0},
    ],
)
def test_settings_have_bounds(wrong: dict[str, int]) -> None:
    (name,) = wrong
    with pytest.raises(SettingsError, match=name):
        ProfileSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"kernels": 0}, {"chains": -1}, {"networks": 10**9}])
def test_samples_have_bounds(wrong: dict[str, int]) -> None:
    (name,) = wrong
    with pytest.raises(SettingsError, match=name):
        SampleSettings(**wrong)


def test_settings_say_how_programs_are_run() -> None:
    settings = ProfileSettings(rounds=4, warmup_ms=1.0, visit_ms=2.0)
    assert settings.spec() == RunSpec(rounds=4, warmup_ms=1.0, visit_ms=2.0)
    spec = settings.spec(threads=2, cpus=(1, 2), seed=7, networks=True)
    assert (spec.threads, spec.cpus, spec.seed, spec.rounds) == (2, (1, 2), 7, 12)
