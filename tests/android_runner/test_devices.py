"""The devices that come along: the contract, and what only a real one can be asked."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from netadapt.android_runner import (
    Device,
    DeviceError,
    Failure,
    HostDevice,
    Measurement,
    Program,
    ReplayDevice,
    RunProgress,
    RunSpec,
    UnsupportedDeviceError,
)
from netadapt.android_runner.phone import Adb, AdbServer, PhoneDevice, PhoneSettings
from netadapt.android_runner.runner import batch
from netadapt.virtual_phone import VirtualPhone
from tests.android_runner.conftest import under_ugly_names
from tests.contracts.device import QUICK, DeviceContract, answers_of


class _Lowered(DeviceContract):
    """The contract with programs of several kinds, lowered here."""

    @pytest.fixture
    def programs(self, programs: list[Program]) -> list[Program]:
        return programs


class TestHostDevice(_Lowered):
    @pytest.fixture
    def device(self, host: HostDevice) -> Device:
        return host

    def test_keeps_raw_samples_of_every_round(
        self, host: HostDevice, programs: list[Program]
    ) -> None:
        for answer in host.run(programs, QUICK):
            assert isinstance(answer, Measurement)
            assert len(answer.rounds_us) == QUICK.rounds
            assert answer.outputs is None
            assert answer.conditions.started_at.endswith("+00:00")

    def test_runs_portable_operators(self, host: HostDevice, lowered: Mapping[str, bytes]) -> None:
        assert b"_to_dim_order_copy" in lowered["se"], "the example no longer shows the case"
        assert isinstance(answers_of(host, [Program("se", lowered["se"])])["se"], Measurement)

    def test_inputs_are_seeded_random_and_outputs_right(
        self, host: HostDevice, lowered: Mapping[str, bytes]
    ) -> None:
        def outputs(seed: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
            spec = RunSpec(rounds=1, warmup_ms=0, visit_ms=0, seed=seed, outputs=True)
            answer = answers_of(host, [Program("two", lowered["two"])], spec)["two"]
            assert isinstance(answer, Measurement)
            assert answer.outputs is not None
            assert [t.shape for t in answer.outputs] == [(1, 3, 4, 5)] * 2
            assert {t.dtype for t in answer.outputs} == {"Float"}
            return answer.outputs[0].values, answer.outputs[1].values

        plus_one, doubled = outputs(seed=3)
        assert plus_one == pytest.approx([value / 2 + 1 for value in doubled], abs=1e-6)
        assert len(set(doubled)) == 60
        assert all(-2 <= value < 2 for value in doubled)
        assert outputs(seed=3) == (plus_one, doubled)
        assert outputs(seed=4) != (plus_one, doubled)

    def test_a_crash_costs_that_program_only(
        self, host: HostDevice, programs: list[Program], crasher: bytes
    ) -> None:
        answers = answers_of(host, [programs[0], Program("crasher", crasher), *programs[1:]])
        crash = answers.pop("crasher")
        assert isinstance(crash, Failure)
        assert crash.kind == "crash"
        assert "SIGABRT" in crash.message
        assert len(answers) == len(programs)
        assert all(isinstance(answer, Measurement) for answer in answers.values())

    def test_a_hang_costs_that_program_only(
        self, host: HostDevice, programs: list[Program], hanger: bytes
    ) -> None:
        spec = RunSpec(rounds=1, warmup_ms=0, visit_ms=0, timeout_s=5.0)
        answers = answers_of(host, [programs[0], Program("hanger", hanger), *programs[1:]], spec)
        hang = answers.pop("hanger")
        assert isinstance(hang, Failure)
        assert hang.kind == "timeout"
        assert len(answers) == len(programs)
        assert all(isinstance(answer, Measurement) for answer in answers.values())

    def test_a_runner_killed_from_outside_costs_the_program_in_flight(
        self, host: HostDevice, programs: list[Program]
    ) -> None:
        spec = RunSpec(rounds=3, warmup_ms=0, visit_ms=400)
        victims: list[str] = []

        def kill_once(progress: RunProgress) -> None:
            if not victims and progress.done > 2 * len(programs):
                victims.append(progress.program)
                os.kill(_server_and_run()[1], signal.SIGKILL)

        answers = list(host.run(programs, spec, kill_once))
        assert victims
        # The one that it was told of, or on a busy machine the next one
        (crash,) = (answer for answer in answers if isinstance(answer, Failure))
        assert crash.kind == "crash"
        assert "SIGKILL" in crash.message
        assert {answer.program for answer in answers} == {program.name for program in programs}

    def test_a_server_killed_from_outside_is_started_again(
        self, host: HostDevice, programs: list[Program]
    ) -> None:
        runs: list[int] = []

        def kill_once(progress: RunProgress) -> None:
            if not runs:
                server, run = _server_and_run()
                runs.append(run)
                os.kill(server, signal.SIGKILL)

        answers = list(host.run(programs, QUICK, kill_once))
        assert {answer.program for answer in answers} == {program.name for program in programs}
        assert sum(isinstance(answer, Failure) for answer in answers) <= 1, "the one in flight"
        deadline = time.monotonic() + 10
        while Path(f"/proc/{runs[0]}").exists():
            assert time.monotonic() < deadline, "it ends with its server"
            time.sleep(0.01)

    def test_runs_side_by_side_and_from_a_copy_of_the_process(
        self, host: HostDevice, programs: list[Program]
    ) -> None:
        first = host.run(programs, QUICK)
        answers = [next(first)]  # under way while another one begins
        assert len(list(host.run(programs[:1], QUICK))) == 1
        if not (copy := os.fork()):
            os._exit(len(list(host.run(programs[:1], QUICK))) != 1)
        assert os.waitpid(copy, 0)[1] == 0
        answers += first
        assert len(answers) == len(programs)

    def test_batches_are_cut_into_chunks(
        self, host: HostDevice, programs: list[Program], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batch, "CHUNK_PROGRAMS", 2)
        answers = answers_of(host, programs)
        assert len(answers) == len(programs)
        assert all(isinstance(answer, Measurement) for answer in answers.values())

    def test_the_sentinel_is_timed_every_round(
        self, host: HostDevice, programs: list[Program], lowered: Mapping[str, bytes]
    ) -> None:
        spec = RunSpec(rounds=4, warmup_ms=0, visit_ms=0.1, sentinel=Program("s", lowered["conv"]))
        answer = next(iter(answers_of(host, programs[:1], spec).values()))
        assert isinstance(answer, Measurement)
        assert len(answer.conditions.sentinel_us) == 4
        assert answer.conditions.sentinel_drift is not None

    def test_a_bad_sentinel_is_the_callers_error(
        self, host: HostDevice, programs: list[Program], crasher: bytes
    ) -> None:
        with pytest.raises(DeviceError, match="sentinel"):
            list(host.run(programs, RunSpec(sentinel=Program("s", b"nothing"))))
        with pytest.raises(DeviceError, match="no program to blame"):
            list(host.run(programs, RunSpec(sentinel=Program("s", crasher))))

    def test_cores_that_are_not_there(self, host: HostDevice, programs: list[Program]) -> None:
        with pytest.raises(DeviceError, match="cores"):
            list(host.run(programs, RunSpec(cpus=(1000,))))
        with pytest.raises(DeviceError, match="threads"):
            host.run(programs, RunSpec(threads=4096))

    def test_leaving_early_leaves_no_process_behind(
        self, host: HostDevice, programs: list[Program]
    ) -> None:
        pids: list[int] = []

        def stop(progress: RunProgress) -> None:
            pids.append(_server_and_run()[1])
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            list(host.run(programs, QUICK, stop))
        assert not Path(f"/proc/{pids[0]}").exists()


@pytest.fixture(scope="module")
def phone_device(adb_server: AdbServer, virtual_phone: VirtualPhone) -> Iterator[PhoneDevice]:
    settings = PhoneSettings(wait_s=60)
    with PhoneDevice(virtual_phone.address, settings, server=adb_server) as phone:
        yield phone


class TestPhoneDevice(_Lowered):
    @pytest.fixture
    def device(self, phone_device: PhoneDevice) -> PhoneDevice:
        return phone_device

    def test_is_known_by_its_own_serial(
        self, device: PhoneDevice, virtual_phone: VirtualPhone
    ) -> None:
        info = device.info()
        assert info.kind == "adb"
        assert info.id == virtual_phone.description.serial
        assert info.model == "Google Pixel"
        assert info.os == "Android 10"

    def test_conditions_of_the_phone_are_in_every_measurement(
        self, device: PhoneDevice, programs: list[Program], virtual_phone: VirtualPhone
    ) -> None:
        conditions = {
            answer.conditions
            for answer in device.run(programs, QUICK)
            if isinstance(answer, Measurement)
        }
        (only,) = conditions
        assert only.cpus == (3,)
        assert only.battery_pct == virtual_phone.description.battery.level_pct
        assert only.charging is True
        assert only.screen_on is False
        assert only.thermal_status == 0
        assert only.performance == "default"
        assert only.limits_khz_before == only.limits_khz_after == (2150400,)
        assert not only.throttled

    def test_outputs_are_the_hosts(
        self, device: PhoneDevice, host: HostDevice, lowered: Mapping[str, bytes]
    ) -> None:
        spec = RunSpec(rounds=1, warmup_ms=0, visit_ms=0, outputs=True)
        program = Program("two", lowered["two"])
        here, there = (
            answers_of(host, [program], spec)["two"],
            answers_of(device, [program], spec)["two"],
        )
        assert isinstance(here, Measurement)
        assert isinstance(there, Measurement)
        assert there.outputs == here.outputs

    def test_a_crash_and_a_hang_cost_those_programs_only(
        self, device: PhoneDevice, programs: list[Program], crasher: bytes, hanger: bytes
    ) -> None:
        spec = RunSpec(rounds=1, warmup_ms=0, visit_ms=0, timeout_s=3.0)
        bad = [Program("crasher", crasher), Program("hanger", hanger)]
        answers = answers_of(device, [programs[0], *bad, *programs[1:]], spec)
        crash, hang = answers.pop("crasher"), answers.pop("hanger")
        assert isinstance(crash, Failure)
        assert isinstance(hang, Failure)
        assert (crash.kind, hang.kind) == ("crash", "timeout")
        assert "SIGABRT" in crash.message
        assert len(answers) == len(programs)
        assert all(isinstance(answer, Measurement) for answer in answers.values())

    def test_cores_that_are_not_there(self, device: PhoneDevice, programs: list[Program]) -> None:
        with pytest.raises(UnsupportedDeviceError, match="cores"):
            device.run(programs, RunSpec(cpus=(4,)))
        with pytest.raises(UnsupportedDeviceError, match="threads"):
            device.run(programs, RunSpec(threads=5))

    def test_leaving_early_leaves_no_process_behind(
        self,
        device: PhoneDevice,
        programs: list[Program],
        adb_server: AdbServer,
        virtual_phone: VirtualPhone,
    ) -> None:
        def stop(progress: RunProgress) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            list(device.run(programs, RunSpec(rounds=50), stop))
        looked_at = Adb(adb_server, virtual_phone.address).ask(
            "for file in /data/local/tmp/netadapt/runs/*/pid; do\n"
            '  read -r pid <"$file" && echo looked\n'
            "  tr '\\0' ' ' </proc/$pid/cmdline\n"
            "done 2>/dev/null; true"
        )
        assert "looked" in looked_at
        assert "store/" not in looked_at


@pytest.fixture(scope="module")
def recorded(host: HostDevice, lowered: Mapping[str, bytes]) -> dict[str, Measurement]:
    programs = under_ugly_names(lowered)
    answers = [a for a in host.run(programs, QUICK) if isinstance(a, Measurement)]
    assert len(answers) == len(programs)
    return {answer.program_sha256: answer for answer in answers}


class TestReplayDevice(_Lowered):
    @pytest.fixture
    def device(self, host: HostDevice, recorded: dict[str, Measurement]) -> Device:
        return ReplayDevice(recorded, host.info())

    def test_says_that_it_is_a_replay(self, device: Device, host: HostDevice) -> None:
        assert device.info().kind == "replay"
        assert device.info().model == host.info().model

    def test_plays_back_what_was_recorded(
        self, device: Device, programs: list[Program], recorded: dict[str, Measurement]
    ) -> None:
        assert list(answers_of(device, programs).values()) == list(recorded.values())

    def test_names_what_was_never_recorded(self, device: Device) -> None:
        answer = answers_of(device, [Program("unheard of", b"data")])["unheard of"]
        assert isinstance(answer, Failure)
        assert "'unheard of'" in answer.message


def _runners_of(parent: int) -> list[int]:
    """Its children that are runners."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = stat.read_text().split(" ", 1)
        except OSError:  # ended while we looked
            continue
        name, _, fields = rest.rpartition(")")
        if name == "(netadapt_runner" and int(fields.split()[1]) == parent:
            found.append(int(pid))
    return found


def _server_and_run() -> tuple[int, int]:
    """The runner that stays, and the run under way that it started."""
    found = [(server, run) for server in _runners_of(os.getpid()) for run in _runners_of(server)]
    (pair,) = found
    return pair
