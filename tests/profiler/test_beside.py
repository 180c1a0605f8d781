"""Shares of a base program's latency on a clock with two levels."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from netadapt.android_runner.device import Failure, Measurement, Program, RunSpec
from netadapt.profiler.beside import time_beside
from netadapt.profiler.errors import MeasurementError
from netadapt.profiler.timing import Gate, time_programs
from tests.two_levels import LEVELS, TwoLevels

BASE, OTHER, THIRD = (
    Program(name, bytes(size)) for name, size in (("base", 9000), ("b", 4000), ("c", 1000))
)
SPEC = RunSpec(rounds=12)


@pytest.mark.parametrize("seed", range(8))
def test_shares_are_free_of_the_clocks_level(seed: int) -> None:
    device = TwoLevels(seed)
    sessions = [time_beside(device, [BASE, OTHER, THIRD], "base", SPEC, Gate()) for _ in range(6)]
    share = device.true_us(OTHER) / device.true_us(BASE)
    for timed in sessions:
        assert timed["b"].ratio == pytest.approx(share, rel=1e-6)
        assert timed["b"].spread == pytest.approx(0, abs=1e-6)
        assert timed["base"].ratio == 1


def test_latencies_by_themselves_are_not() -> None:
    """What the shares are for: the same program by itself, a few times."""
    device = TwoLevels(1)
    alone = []
    for _ in range(12):
        (timing,) = time_programs(device, [OTHER], SPEC, Gate())
        assert not isinstance(timing, Failure)
        alone.append(timing.latency_us)
    assert max(alone) / min(alone) == pytest.approx(LEVELS[1] / LEVELS[0], rel=0.01)


class Disturbed(TwoLevels):
    """In the first run one program is disturbed."""

    def __init__(self, runs: int) -> None:
        super().__init__()
        self._disturbed = runs

    def true_us(self, program: Program) -> float:
        disturbed = program.name == "b" and len(self.batches) <= self._disturbed
        return super().true_us(program) * (1.2 if disturbed else 1.0)


def test_runs_that_disagree_are_made_again_with_all_programs() -> None:
    device = Disturbed(runs=1)
    timed = time_beside(device, [BASE, OTHER], "base", SPEC, Gate())
    assert device.batches == [("base", "b")] * 3
    assert timed["b"].ratio == pytest.approx(device.true_us(OTHER) / device.true_us(BASE))


def test_attempts_are_bounded_and_what_never_agrees_is_uncertain() -> None:
    class Restless(TwoLevels):
        def true_us(self, program: Program) -> float:
            return super().true_us(program) * (1.1 ** len(self.batches) if program != BASE else 1)

    device = Restless()
    timed = time_beside(device, [BASE, OTHER], "base", SPEC, Gate(max_attempts=4))
    assert len(device.batches) == 6
    assert timed["b"].spread >= 0.05


@pytest.mark.parametrize("course_us", [None, 5.1])
def test_runs_beside_other_work_do_not_count_however_well_they_agree(
    course_us: float | None,
) -> None:
    class Beside(TwoLevels):
        """In its first three runs the sentinel takes a sixth longer, and one program a fifth."""

        def _busy(self) -> bool:
            return len(self.batches) <= 3

        def true_us(self, program: Program) -> float:
            slowed = self._busy() and program.name == "b"
            return super().true_us(program) * (1.2 if slowed else 1.0)

        def _levels(self, rounds: int) -> list[float]:
            return [level * (1.17 if self._busy() else 1.0) for level in super()._levels(rounds)]

    device = Beside()
    timed = time_beside(device, [BASE, OTHER], "base", SPEC, Gate(), sentinel_course_us=course_us)
    calm = TwoLevels()
    if course_us is None:  # nothing tells that it was another time than any other
        assert len(device.batches) == 2
        return
    assert len(device.batches) == 5
    assert timed["b"].ratio == pytest.approx(calm.true_us(OTHER) / calm.true_us(BASE))


def test_a_program_that_fails_ends_the_session() -> None:
    class Broken(TwoLevels):
        def _run(self, programs: list[Program], levels: list[float]) -> Iterator[Measurement]:
            yield from super()._run(programs[:1], levels)
            yield Failure("b", "load", "it is no program")  # type: ignore[misc]

    with pytest.raises(MeasurementError, match="b did not"):
        time_beside(Broken(), [BASE, OTHER], "base", SPEC, Gate())
