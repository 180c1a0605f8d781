"""A device whose clock sits on one of two levels, and whose every latency is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from netadapt.android_runner.device import (
    DeviceInfo,
    Failure,
    Measurement,
    Program,
    RunProgress,
    RunSpec,
    check_names,
)
from tests.provenance import NOTHING_TOLD

LEVELS = (1.0, 1.03)


class TwoLevels:
    """Each run begins on a level of its own and may change it between rounds, for all programs.

    A program's latency at the faster level grows with its weights; `seed` decides the levels.
    After `breaks_after` runs it is as if the user pressed Ctrl-C.
    """

    def __init__(self, seed: int = 0, breaks_after: int | None = None) -> None:
        self._breaks_after = breaks_after
        self._rng = np.random.default_rng(seed)
        self.batches: list[tuple[str, ...]] = []

    def info(self) -> DeviceInfo:
        return DeviceInfo(
            id="host",
            kind="host",
            model="two levels",
            soc="made up",
            os="none",
            abi="none",
            cores=1,
            runtime_version="0",
            runner_sha256="0" * 64,
            build_options="",
        )

    def cpus(self, spec: RunSpec) -> tuple[int, ...]:
        return spec.cpus or (0,)

    def true_us(self, program: Program) -> float:
        # What every program has beside its weights is about 1,300 bytes.
        return max(len(program.data) - 1300, 200) / 1000

    def run(
        self,
        programs: Sequence[Program],
        spec: RunSpec,
        on_progress: Callable[[RunProgress], None] | None = None,
    ) -> Iterator[Measurement | Failure]:
        check_names(programs)
        if self._breaks_after is not None and len(self.batches) >= self._breaks_after:
            raise KeyboardInterrupt
        self.batches.append(tuple(program.name for program in programs))
        return self._run(list(programs), self._levels(spec.rounds))

    def _levels(self, rounds: int) -> list[float]:
        """Mostly one level, the other for some rounds."""
        first = int(self._rng.integers(2))
        change = int(self._rng.integers(rounds // 2, rounds + 1))
        return [LEVELS[first] if i < change else LEVELS[1 - first] for i in range(rounds)]

    def _run(self, programs: list[Program], levels: list[float]) -> Iterator[Measurement]:
        sentinel_us = tuple(5.0 * level for level in levels)
        conditions = dataclasses.replace(NOTHING_TOLD, sentinel_us=sentinel_us)
        for program in programs:
            us = self.true_us(program)
            yield Measurement(
                program.name,
                program.sha256,
                tuple((us * level, 1.01 * us * level) for level in levels),
                1,
                conditions,
            )
