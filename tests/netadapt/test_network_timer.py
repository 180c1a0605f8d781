"""Networks as shares of the reference, on a device whose clock has two levels."""

from __future__ import annotations

from pathlib import Path

import pytest

from netadapt.android_runner.device import Program
from netadapt.config import read_config
from netadapt.profiler.kernels import PointwiseConvKernel
from netadapt.profiler.lowering import Subject
from netadapt.profiler.profile import Profiler
from netadapt.profiler.table import LatencyTable
from netadapt.runs.network_timer import NetworkTimer
from netadapt.runs.parts import Parts
from netadapt.runs.sessions import read_sessions
from netadapt.search.space import Arch
from tests.two_levels import TwoLevels

CONFIG = read_config(Path(__file__).parent / "toy" / "run.toml")
SPACE = Parts(CONFIG).space
KERNELS = [Subject(PointwiseConvKernel(8, 8 * n, 12, 12)) for n in range(1, 7)]


def smaller() -> Arch:
    arch = SPACE.reference()
    dimension = next(d for d in SPACE.dimensions if SPACE.smaller(arch, d))
    return SPACE.smaller(arch, dimension)[0]


def timer(table: LatencyTable, seed: int, sessions: Path | None = None) -> NetworkTimer:
    return NetworkTimer(Parts(CONFIG, given_device=TwoLevels(seed)), table, sessions)


def share(networks: NetworkTimer, device: TwoLevels) -> float:
    found, reference = (
        device.true_us(Program("a network", data))
        for data in networks.programs([smaller(), SPACE.reference()])
    )
    return found / reference


def test_a_networks_share_of_the_reference_repeats_whatever_the_level(tmp_path: Path) -> None:
    values = []
    with LatencyTable(tmp_path / "latency.sqlite") as table:
        for seed in range(4):
            networks = timer(table, seed)
            reference_ms, _ = networks.reference()
            (measured,) = networks.measured([smaller()])
            values += [ms / reference_ms for ms in (measured, *networks.twice(smaller()))]
        expected = share(networks, TwoLevels())
    assert values == pytest.approx([expected] * len(values), rel=1e-6)


def test_the_references_own_latency_is_at_the_level_of_the_table(tmp_path: Path) -> None:
    """Its milliseconds are the same in every session, as an absolute budget needs them."""
    with LatencyTable(tmp_path / "latency.sqlite") as table:
        spec = Parts(CONFIG).spec()
        profiler = Profiler(TwoLevels(0), table, settings=CONFIG.profile, spec=spec)
        profiler.kernels(KERNELS)
        found = [timer(table, seed).reference() for seed in range(8)]
        alone = [timer(LatencyTable(), seed).reference()[0] for seed in range(8)]
    assert [ms for ms, _ in found] == pytest.approx([found[0][0]] * len(found), rel=2e-3)
    assert max(alone) / min(alone) > 1.02, "by itself it is not"
    assert all(spread < 0.01 for _, spread in found)


def test_what_sessions_hold_is_not_timed_again(tmp_path: Path) -> None:
    sessions = tmp_path / "sessions.jsonl"
    with LatencyTable(tmp_path / "latency.sqlite") as table:
        first = timer(table, 1, sessions)
        measured = first.measured([smaller(), SPACE.reference()])
        # What a kill leaves
        with sessions.open("a") as file:
            file.write('{"purpose": "netwo')
        device = TwoLevels(2)
        again = NetworkTimer(Parts(CONFIG, given_device=device), table, sessions)
        assert again.measured([smaller(), SPACE.reference()]) == measured
        assert again.reference() == first.reference()
        assert device.batches == []
        again.twice(smaller())
        assert device.batches, "a confirmation is timed whatever is known"
    kept = read_sessions(sessions)
    assert [session.purpose for session in kept] == ["reference", "networks", *["confirm"] * 2]
    reference = SPACE.reference().to_json()
    assert all(session.networks[reference].ratio == 1 for session in kept)
    with LatencyTable(tmp_path / "latency.sqlite") as table:
        assert {row.label for row in table.rows()} == {reference, smaller().to_json()}
