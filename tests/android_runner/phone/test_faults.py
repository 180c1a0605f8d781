"""A phone's bad days in the middle of a run."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netadapt.android_runner import (
    Conditions,
    DeviceLostError,
    Measurement,
    Program,
    StorageError,
)
from netadapt.android_runner.building.binary import RunnerBinary
from netadapt.android_runner.building.for_host import build_runner
from netadapt.android_runner.phone import Adb, AdbServer, PhoneDevice, PhoneSettings
from netadapt.android_runner.phone.parsing import Battery, Core
from netadapt.android_runner.phone.readings import Reading
from netadapt.android_runner.phone.throttling import Watch
from netadapt.virtual_phone import (
    PIXEL_1,
    Fault,
    Moment,
    VirtualPhone,
)
from tests.android_runner.phone.conftest import LONGER, QUICK, SwitchOn, all_measured, phone_at


@pytest.fixture(scope="class")
def faulty_phone(
    adb_server: AdbServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VirtualPhone]:
    with VirtualPhone(PIXEL_1, tmp_path_factory.mktemp("faulty")) as phone:
        adb_server.connect(phone.address)
        yield phone
        adb_server.disconnect(phone.address)


@pytest.fixture(scope="class")
def phone_device(adb_server: AdbServer, faulty_phone: VirtualPhone) -> Iterator[PhoneDevice]:
    with phone_at(adb_server, faulty_phone) as device:
        yield device


class TestFaults:
    """The phone's bad days, each in the middle of a run, without a measurement lost or doubled."""

    @pytest.mark.parametrize(
        "fault",
        [
            Fault("cable_out", 1.0, Moment.during_program(0.2)),
            Fault("cable_out", 1.0, Moment.during_push(3000)),
            Fault("silence", 1.0, Moment.during_program(0.2)),
            Fault("reboot", 1.0, Moment.during_program(0.2)),
            Fault("runner_segv", 0.0, Moment.during_program(0.2)),
            Fault("runner_hung", 0.0, Moment.during_program(0.2)),
            Fault("bad_program", 0.0),
            Fault("storage_full", 1.0, Moment.during_push(3000)),
            Fault("cut_output", 0.0, Moment.during_output(3000)),
            Fault("mixed_output", 0.0, Moment.during_output(3000)),
            Fault("unauthorized", 1.0, Moment.during_program(0.2)),
            Fault("low_battery", 1.0),
            Fault("core_asleep", 2.0, Moment.during_program(0.2)),
        ],
        ids=lambda fault: f"{fault.kind}-{fault.moment.occasion}",
    )
    def test_a_run_goes_on_by_itself(
        self,
        fault: Fault,
        phone_device: PhoneDevice,
        faulty_phone: VirtualPhone,
        lowered: dict[str, bytes],
    ) -> None:
        # New bytes each time, or there would be nothing to push
        salt = os.urandom(8)
        programs = [Program(f"{name} {i}", lowered["conv"] + salt + bytes([i]))
                    for i, name in enumerate(["one", "two", "three"])]  # fmt: skip
        phone_device.info()
        cue = faulty_phone.play(fault)
        if fault.kind == "low_battery":
            assert cue.struck.wait(5)
            time.sleep(5)  # how long the battery's last reading is believed
        all_measured(phone_device, programs, LONGER)
        assert cue.struck.is_set()
        assert cue.over.wait(10)

    def test_a_runner_that_dies_over_its_hello_is_asked_again(
        self, switched_on: SwitchOn, adb_server: AdbServer, tmp_path: Path
    ) -> None:
        script = tmp_path / "runner"
        script.write_text(
            "#!/bin/sh\n"
            "[ -e ../died ] || { : >../died; kill -ILL $$; }\n"
            'exec /data/local/tmp/real "$@"\n'
        )
        runner = RunnerBinary(script, hashlib.sha256(script.read_bytes()).hexdigest())
        phone = switched_on(dataclasses.replace(PIXEL_1, serial="TONGUE-TIED"))
        # The phone's programs see nothing else of this machine's
        shutil.copy(build_runner().path, phone.root / "data/local/tmp/real")
        with PhoneDevice(phone.address, runner=runner, server=adb_server) as device:
            assert device.info().runtime_version


class TestNotComingBack:
    def test_a_phone_that_does_not_come_back_ends_the_run_in_time(
        self, switched_on: SwitchOn, adb_server: AdbServer, programs: list[Program]
    ) -> None:
        phone = switched_on(PIXEL_1)
        said: list[str] = []
        device = PhoneDevice(
            phone.address, PhoneSettings(wait_s=2.0), server=adb_server, notify=said.append
        )
        device.info()
        phone.stop()
        begin = time.monotonic()
        with pytest.raises(DeviceLostError):
            list(device.run(programs, QUICK))
        assert time.monotonic() - begin < 30
        assert "waiting, 0 of 2 s" in said[0]

    def test_what_can_never_pass_is_not_waited_for(
        self, switched_on: SwitchOn, adb_server: AdbServer, programs: list[Program]
    ) -> None:
        phone = switched_on(dataclasses.replace(PIXEL_1, serial="NOT-WRITABLE"))
        said: list[str] = []
        settings = PhoneSettings(wait_s=5.0)
        device = PhoneDevice(phone.address, settings, server=adb_server, notify=said.append)
        device.info()
        store = phone.root / "data/local/tmp/netadapt/store"
        store.chmod(0o555)
        try:
            with pytest.raises(StorageError, match="writable for adb's shell"):
                list(device.run(programs, QUICK))
        finally:
            store.chmod(0o700)
        assert said == []

    def test_another_phone_at_its_address_is_not_taken_for_it(
        self, adb_server: AdbServer, tmp_path: Path, programs: list[Program]
    ) -> None:
        with VirtualPhone(PIXEL_1, tmp_path / "first") as phone:
            device = phone_at(adb_server, phone, wait_s=2.0)
            device.info()
            port = int(phone.address.rpartition(":")[2])
        other = dataclasses.replace(PIXEL_1, serial="ANOTHER")
        with VirtualPhone(other, tmp_path / "other", port=port) as phone:
            with pytest.raises(DeviceLostError, match="ANOTHER"):
                list(device.run(programs, QUICK))
            adb_server.disconnect(phone.address)


class TestThrottling:
    CORES = tuple(Core(n, 2_000_000, (2, 3), None, 2_000_000, 2_000_000) for n in (2, 3))

    def watch(self) -> Watch:
        watch = Watch(Adb(AdbServer(), "nobody"), self.CORES, 1.0)
        watch.begin((3,), tolerant=False)
        return watch

    def reading(self, khz: int, limit_khz: int = 2_000_000, status: int | None = 0) -> Reading:
        core = Core(3, 2_000_000, (2, 3), None, limit_khz, khz)
        return Reading(Battery(80, True, 30.0), 40.0, status, False, False, (core,))

    def conditions(
        self,
        *rounds_khz: int | None,
        limit_khz: int = 2_000_000,
        sentinel_us: tuple[float, ...] = (),
    ) -> Conditions:
        return Conditions(
            *((3,), 1, None, None, None, None, None, None, sentinel_us, ""),
            limits_khz_before=(2_000_000,),
            limits_khz_after=(limit_khz,),
            round_freqs_khz=rounds_khz,
        )

    def test_a_clock_that_stays_low_is_throttled_and_a_moments_rest_is_not(self) -> None:
        watch = self.watch()
        assert watch.judge(self.reading(2_000_000)) is None
        assert watch.judge(self.reading(300_000)) is None
        assert watch.judge(self.reading(2_000_000)) is None
        assert watch.judge(self.reading(1_500_000)) is None
        assert "1500000 kHz after 2000000" in str(watch.judge(self.reading(1_500_000)))

    def test_limits_and_androids_own_word(self) -> None:
        watch = self.watch()
        assert watch.judge(self.reading(2_000_000)) is None
        assert "limit of core 3" in str(watch.judge(self.reading(1_500_000, 1_500_000)))
        assert "status 1" in str(self.watch().judge(self.reading(2_000_000, status=1)))
        assert self.watch().judge(self.reading(2_000_000, status=None)) is None

    def test_rounds_as_the_runner_saw_them(self) -> None:
        judge = self.watch().judge_rounds
        assert judge(self.conditions()) is None
        assert judge(self.conditions(None, None)) is None
        assert judge(self.conditions(300_000, 1_000_000, 2_000_000, 2_000_000)) is None
        assert judge(self.conditions(2_000_000, 300_000, 2_000_000)) is None
        assert "fell from 2000000" in str(
            judge(self.conditions(2_000_000, 1_500_000, 1_500_000, 2_000_000))
        )
        # Throttled from the first round on: known by what was reached before
        assert "after 2000000" in str(judge(self.conditions(1_500_000, 1_500_000)))
        lower = self.conditions(2_000_000, 2_000_000, 1_000_000, limit_khz=1_000_000)
        assert "limit fell" in str(judge(lower))

    def test_a_limit_that_changes_nothing_is_not_believed(self) -> None:
        watch = self.watch()
        for limit_khz in (2_000_000, 1_200_000, 1_800_000, 1_200_000):
            assert watch.judge(self.reading(2_000_000, limit_khz)) is None
            rounds = self.conditions(2_000_000, 2_000_000, limit_khz=limit_khz)
            assert watch.judge_rounds(rounds) is None
            assert watch.judge_rounds(self.conditions(limit_khz=limit_khz)) is None

    def test_a_limit_is_believed_with_a_slower_sentinel(self) -> None:
        watch = self.watch()

        def judged(limit_khz: int, *sentinel_us: float) -> str | None:
            conditions = self.conditions(limit_khz=limit_khz, sentinel_us=sentinel_us)
            return watch.judge_rounds(conditions)

        assert judged(1_200_000, 10.0, 10.1, 9.9, 10.0) is None
        assert judged(2_000_000, 12.0, 12.0, 12.0, 12.0) is None  # drift is told by the sentinel
        assert "sentinel took 20% longer" in str(judged(1_200_000, 12.0, 12.0, 12.0, 12.0))
        assert "longer" in str(judged(1_200_000, 10.0, 10.0, 12.0, 12.0))

    def test_a_clock_that_never_comes_back_is_the_new_one(self) -> None:
        watch = self.watch()
        watch.judge_rounds(self.conditions(2_000_000, 2_000_000))
        assert watch.judge_rounds(self.conditions(1_500_000, 1_500_000)) is not None
        watch.settle()
        assert watch.judge_rounds(self.conditions(1_500_000, 1_500_000)) is None

    def test_a_hot_phone_is_waited_for(
        self, switched_on: SwitchOn, adb_server: AdbServer, programs: list[Program]
    ) -> None:
        quick_to_cool = tuple(dataclasses.replace(zone, cooling_s=0.5) for zone in PIXEL_1.zones)
        phone = switched_on(dataclasses.replace(PIXEL_1, zones=quick_to_cool))
        said: list[str] = []
        settings = PhoneSettings(wait_s=60.0, cool_timeout_s=30.0)
        with PhoneDevice(phone.address, settings, server=adb_server, notify=said.append) as device:
            device.info()
            # Late enough for the clock to have been up: before, a low one is a rising one
            cue = phone.play(Fault("throttled", seconds=2.0, moment=Moment.during_program(0.6)))
            answers = list(device.run(programs, dataclasses.replace(LONGER, rounds=400)))
        assert cue.struck.is_set()
        assert any("cool it; pausing" in line for line in said)
        assert len(answers) == len(programs)
        for answer in answers:
            assert isinstance(answer, Measurement)
            assert not answer.conditions.throttled
