"""The real runner on a virtual phone: described cores, clocks and slower programs."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netadapt.android_runner.device import Measurement, Program, RunSpec
from netadapt.android_runner.phone import AdbServer, PhoneDevice
from netadapt.android_runner.runner.check import known_program
from netadapt.virtual_phone import PIXEL_1, ThermalZone, VirtualPhone
from tests.virtual_phone.conftest import (
    ISOLATIONS,
    RealAdb,
    Shell,
    raw_client,
    switched_on,
)

SPEC = RunSpec(rounds=2, warmup_ms=0, visit_ms=0.5)


@pytest.fixture(params=ISOLATIONS)
def measured_on(
    request: pytest.FixtureRequest, adb: RealAdb, tmp_path: Path
) -> Iterator[tuple[VirtualPhone, PhoneDevice]]:
    """A virtual phone, and the device that it is to the rest of the project."""
    described = dataclasses.replace(PIXEL_1, serial=f"TEST{os.getpid()}")
    with switched_on(tmp_path / "phone", request.param, described) as phone:
        server = AdbServer(port=int(adb.environment["ANDROID_ADB_SERVER_PORT"]))
        with PhoneDevice(phone.address, server=server) as device:
            yield phone, device


@pytest.mark.slow
def test_a_described_program_is_slower_and_no_other(
    measured_on: tuple[VirtualPhone, PhoneDevice],
) -> None:
    phone, device = measured_on
    data = known_program().data
    # What follows a program in its file makes another program of it, and changes nothing else
    programs = [Program("slow", data), Program("as it is", data + bytes(16))]

    def latencies() -> dict[str, Measurement]:
        found = {answer.program: answer for answer in device.run(programs, SPEC)}
        assert all(isinstance(answer, Measurement) for answer in found.values())
        return found  # type: ignore[return-value]

    before = latencies()
    phone.set_slow_down({programs[0].sha256: 1000.0})
    after = latencies()
    assert after["slow"].latency_us > 100 * before["slow"].latency_us
    assert after["as it is"].latency_us < 100 * before["as it is"].latency_us
    conditions = after["slow"].conditions
    big = PIXEL_1.clusters[1]
    assert set(conditions.cpus) < set(big.cores)
    assert conditions.freq_khz_after in big.frequencies_khz
    assert conditions.limits_khz_after == (big.frequencies_khz[-1],)
    assert conditions.temperature_c_after is not None
    assert 30 < conditions.temperature_c_after < 60


def test_work_heats_the_phone_and_lowers_its_clocks(tmp_path: Path) -> None:
    zone = ThermalZone("cpu", idle_c=30, rise_c_per_s=1000, cooling_s=1000)
    described = dataclasses.replace(PIXEL_1, zones=(zone,), zones_readable=True)
    with VirtualPhone(described, tmp_path) as phone, raw_client(phone) as client:
        shell = Shell(client)
        told = (
            "cat /sys/class/thermal/thermal_zone0/temp "
            "/sys/devices/system/cpu/cpu3/cpufreq/scaling_max_freq"
        )
        assert shell(told)[0] == b"30000\n2150400\n"
        (phone.root / "data/local/tmp/busy").write_bytes(Path("/bin/sh").read_bytes())
        shell("chmod 755 /data/local/tmp/busy")
        deadline = time.monotonic() + 15
        while True:
            shell("timeout 0.7 /data/local/tmp/busy -c 'while :; do :; done'")
            celsius, limit_khz = map(int, shell(told)[0].split())
            if limit_khz < 2_150_400:
                break
            assert time.monotonic() < deadline
        assert celsius > 70_000


@pytest.mark.slow
@pytest.mark.parametrize("measured_on", ["namespaces"], indirect=True)
def test_clocks_rise_in_short_runs_that_follow_one_another(
    measured_on: tuple[VirtualPhone, PhoneDevice],
) -> None:
    _, device = measured_on
    spec = RunSpec(rounds=20, warmup_ms=0, visit_ms=5)
    for _ in range(4):
        (answer,) = device.run([Program("one", known_program().data)], spec)
        assert isinstance(answer, Measurement)
        assert not answer.conditions.throttled
        assert answer.conditions.freq_khz_after == PIXEL_1.clusters[1].frequencies_khz[-1]
