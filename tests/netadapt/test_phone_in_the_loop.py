"""A search whose candidates are measured on a phone that goes away in the middle of it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from netadapt.android_runner.errors import DeviceLostError
from netadapt.android_runner.phone import AdbServer, PhoneDevice, PhoneSettings
from netadapt.config import read_config
from netadapt.profiler.kernels import Kernel
from netadapt.profiler.table import LatencyTable
from netadapt.runs.network_timer import NetworkTimer
from netadapt.runs.parts import Parts
from netadapt.search.driver import SearchResult, open_log, run_search
from netadapt.search.metrics import Constraint, LatencyMetric
from netadapt.search.space import Arch
from netadapt.search.trials import read_iterations
from netadapt.virtual_phone import PIXEL_1, Fault, Moment, VirtualPhone

TOY = Path(__file__).parent / "toy" / "run.toml"
CONFIG = read_config(TOY)
CONFIG = CONFIG.changed(
    {"search": {"mcd": {"candidates": 6, "schedule": {"initial_reduction": 0.1}}}}
)
SPACE = Parts(CONFIG).space
BUDGET_SHARE = 0.7
"""Of the full network's prediction."""


def kernel_ms(kernels: Sequence[Kernel]) -> list[float]:
    return [1e-4 + kernel.macs * 5e-8 for kernel in kernels]


def score(archs: Sequence[Arch]) -> list[float]:
    return [zlib.crc32(arch.to_json().encode()) / 2**32 for arch in archs]


def slower(archs: Sequence[Arch]) -> list[float]:
    """What stands for the measured times: the phone's own are mostly noise at this size."""
    return [1.3 * ms for ms in LatencyMetric.from_kernels(SPACE, kernel_ms)(archs)]


def search(
    folder: Path,
    measure: Callable[[Sequence[Arch]], list[float]],
    confirm: Callable[[Arch], tuple[float, float]],
) -> SearchResult:
    latency = LatencyMetric.from_kernels(SPACE, kernel_ms)
    budget_ms = BUDGET_SHARE * latency([SPACE.full()])[0]
    wanted = Parts(CONFIG).search([Constraint(latency, budget_ms)])
    with open_log(folder / "trials.jsonl", wanted) as log:
        return run_search(wanted, score, measure, log, confirm=confirm)


@contextmanager
def timer(folder: Path, phone: VirtualPhone, server: AdbServer) -> Iterator[NetworkTimer]:
    """As a new process would make it: a new device, the table as it is on the disk."""
    with (
        LatencyTable(folder / "latency.sqlite") as table,
        PhoneDevice(phone.address, PhoneSettings(wait_s=1.0), server=server) as device,
    ):
        yield NetworkTimer(Parts(CONFIG, given_device=device), table)


def rows(folder: Path) -> set[str]:
    with LatencyTable(folder / "latency.sqlite") as table:
        return {row.label or row.key for row in table.rows()}


def measured(folder: Path) -> list[str]:
    return [m.arch for i in read_iterations(folder / "trials.jsonl") for m in i.measured]


@pytest.mark.slow
def test_a_lost_phone_pauses_the_search(tmp_path: Path, adb_server: AdbServer) -> None:
    (tmp_path / "undisturbed").mkdir()

    def confirm(arch: Arch) -> tuple[float, float]:
        return (*slower([arch]), *slower([arch]))

    expected = search(tmp_path / "undisturbed", slower, confirm)

    description = replace(PIXEL_1, serial="LOSTINTHELOOP")
    with VirtualPhone(description, tmp_path / "phone") as phone:
        adb_server.connect(phone.address)
        unplugged = Fault("cable_out", seconds=5, moment=Moment.during_program(0.1))
        cues = []
        with timer(tmp_path, phone, adb_server) as networks:

            def measure_until_lost(archs: Sequence[Arch]) -> list[float]:
                if len(measured(tmp_path)) >= 2:
                    cues.append(phone.play(unplugged))
                networks.measured(archs)
                return slower(archs)

            with pytest.raises(DeviceLostError) as lost:
                search(tmp_path, measure_until_lost, confirm)
        assert "\n" not in str(lost.value)
        (cue,) = cues
        assert cue.struck.is_set()
        log, kept, table = (
            (tmp_path / "trials.jsonl").read_text(),
            measured(tmp_path),
            rows(tmp_path),
        )
        assert len(kept) >= 2
        assert set(kept) <= table

        assert cue.over.wait(30)
        adb_server.connect(phone.address)
        with timer(tmp_path, phone, adb_server) as networks:

            def measure(archs: Sequence[Arch]) -> list[float]:
                assert all(ms > 0 for ms in networks.measured(archs))
                return slower(archs)

            def confirm_on_the_phone(arch: Arch) -> tuple[float, float]:
                assert min(networks.twice(arch)) > 0
                return confirm(arch)

            found = search(tmp_path, measure, confirm_on_the_phone)
        adb_server.disconnect(phone.address)
    assert found.arch == expected.arch
    assert (tmp_path / "trials.jsonl").read_text().startswith(log)
    assert measured(tmp_path)[: len(kept)] == kept
    assert measured(tmp_path) == measured(tmp_path / "undisturbed")
    assert rows(tmp_path) >= table
