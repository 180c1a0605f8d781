"""Which cores are taken, and what becomes of those that sleep."""

from __future__ import annotations

import dataclasses

import pytest

from netadapt.android_runner import (
    DeviceError,
    HostDevice,
    Measurement,
    Program,
    RunSpec,
    UnsupportedDeviceError,
)
from netadapt.android_runner.errors import CoresAsleepError
from netadapt.android_runner.phone import AdbServer, PhoneDevice, PhoneSettings, find_phones
from netadapt.android_runner.phone.cores import asleep_by_runner, choose_cpus, remembered
from netadapt.android_runner.phone.parsing import Core
from netadapt.android_runner.runner.batch import run_batch
from netadapt.android_runner.runner.check import known_program
from netadapt.virtual_phone import PIXEL_1, Fault, PhoneDescription
from tests.android_runner.phone.conftest import GALAXY, QUICK, SwitchOn, phone_at

CORES = (
    *(Core(n, 1_800_000, (0, 1, 2, 3)) for n in range(4)),
    *(Core(n, 2_400_000, (4, 5, 6)) for n in range(4, 7)),
    Core(7, 2_840_000, (7,)),
)


def sleepy(serial: str) -> PhoneDescription:
    """A Pixel whose big cores are switched off while it has nothing to do."""
    little, big = PIXEL_1.clusters
    clusters = (little, dataclasses.replace(big, sleeps_after_s=1.0))
    return dataclasses.replace(PIXEL_1, serial=serial, clusters=clusters)


class TestChoice:
    def test_the_fastest_by_default_and_the_slowest_when_asked(self) -> None:
        assert choose_cpus(CORES, 1, "big") == (7,)
        assert choose_cpus(CORES, 4, "big") == (4, 5, 6, 7)
        assert choose_cpus(CORES, 5, "big") == (3, 4, 5, 6, 7)
        assert choose_cpus(CORES, 2, "little") == (2, 3)
        with pytest.raises(UnsupportedDeviceError, match="at most the phone's 8 cores"):
            choose_cpus(CORES, 9, "big")

    def test_it_is_the_same_whoever_sleeps(self) -> None:
        drowsy = (*CORES[:7], dataclasses.replace(CORES[7], online=False))
        assert choose_cpus(drowsy, 1, "big") == (7,)
        unseen = (*CORES[:7], Core(7, None, (7,), online=False))
        assert choose_cpus(remembered(unseen, CORES), 1, "big") == (7,)

    def test_no_core_stands_for_one_that_was_never_seen_awake(self) -> None:
        unseen = (*CORES[:7], Core(7, None, (7,), online=False))
        for cluster in ("big", "little"):
            with pytest.raises(CoresAsleepError, match=r"core 7 switched on.* --cpus"):
                choose_cpus(unseen, 1, cluster)  # type: ignore[arg-type]
        assert choose_cpus(unseen, 8, "big") == tuple(range(8))

    def test_capacity_tells_where_frequency_does_not(self) -> None:
        told = [
            dataclasses.replace(core, capacity=[300, 800, 1024][(core.number + 1) // 4])
            for core in (*CORES[:7], Core(7, None, (7,), online=False))
        ]
        assert choose_cpus(told, 1, "big") == (7,)
        assert choose_cpus(told, 2, "little") == (1, 2)

    def test_the_runners_words_tell_who_slept(self, host: HostDevice) -> None:
        said = "the runner refused to run (cannot be pinned to the cores 2,3: Invalid argument; "
        assert asleep_by_runner(f"{said}online are 0-2, this process may use 0", (2, 3)) == [3]
        assert asleep_by_runner(f"{said}online are 0-3, this process may use 0", (2, 3)) == []
        assert asleep_by_runner("a core that it was pinned to went offline while it ran", (1,))
        # The same words from a runner under way: core 1000 is none of this machine's
        answers = run_batch(host._ready_transport(), [known_program()], QUICK, (1000,), None)
        with pytest.raises(DeviceError) as error:
            next(answers)
        assert asleep_by_runner(str(error.value), (1000,)) == [1000]

    def test_a_phone_that_tells_no_frequency_at_all(self) -> None:
        assert choose_cpus([Core(n, None, (n,)) for n in range(4)], 1, "big") == (3,)


class TestSleepyPhone:
    def test_big_cores_are_woken_by_work_and_measured_on(
        self, switched_on: SwitchOn, adb_server: AdbServer, programs: list[Program]
    ) -> None:
        phone = switched_on(sleepy("SLEEPY"))
        (listed,) = find_phones(adb_server)
        assert [core.number for core in listed.cores if not core.online] == [2, 3]
        with phone_at(adb_server, phone) as device:
            assert device.info().cores == 4
            assert device.cpus(QUICK) == (3,)
            answers = list(device.run(programs, QUICK))
            assert all(isinstance(a, Measurement) and a.conditions.cpus == (3,) for a in answers)
            asleep_at_first = device.info()
        # The same device, whether or not it sleeps when it is looked at
        awake = switched_on(dataclasses.replace(PIXEL_1, serial="AWAKE"))
        with phone_at(adb_server, awake) as device:
            assert device.info().fingerprint == asleep_at_first.fingerprint

    def test_named_cores_are_woken_and_others_not_needed(
        self, switched_on: SwitchOn, adb_server: AdbServer, programs: list[Program]
    ) -> None:
        phone = switched_on(sleepy("NAMED"))
        with phone_at(adb_server, phone) as device:
            for cpus in ((2,), (0,)):
                spec = dataclasses.replace(QUICK, cpus=cpus)
                (answer,) = device.run(programs[:1], spec)
                assert isinstance(answer, Measurement)
                assert answer.conditions.cpus == cpus

    def test_cores_that_nothing_wakes_are_waited_for_and_then_named(
        self, switched_on: SwitchOn, adb_server: AdbServer, programs: list[Program]
    ) -> None:
        phone = switched_on(dataclasses.replace(PIXEL_1, serial="COMA"))
        said: list[str] = []
        settings = PhoneSettings(wait_s=2.0)
        with PhoneDevice(phone.address, settings, server=adb_server, notify=said.append) as device:
            cue = phone.play(Fault("core_asleep", seconds=600.0))
            assert cue.struck.wait(5)
            with pytest.raises(CoresAsleepError, match=r"cores 2, 3 switched on"):
                list(device.run(programs, QUICK))
            assert "waiting, 0 of 2 s" in said[0]
            # Awake ones that were named serve
            (answer,) = device.run(programs[:1], dataclasses.replace(QUICK, cpus=(1,)))
            assert isinstance(answer, Measurement)
            with pytest.raises(DeviceError, match="core 3 switched on"):
                list(device.run(programs[:1], dataclasses.replace(QUICK, cpus=(3,))))

    def test_capacities_tell_which_to_wake(
        self, switched_on: SwitchOn, adb_server: AdbServer, programs: list[Program]
    ) -> None:
        *slower, prime = GALAXY.clusters
        clusters = (*slower, dataclasses.replace(prime, sleeps_after_s=1.0))
        phone = switched_on(dataclasses.replace(GALAXY, serial="CAPACITY", clusters=clusters))
        with phone_at(adb_server, phone) as device:
            assert device.cpus(dataclasses.replace(QUICK, threads=2)) == (6, 7)
            (answer,) = device.run(programs[:1], QUICK)
        assert isinstance(answer, Measurement)
        assert answer.conditions.cpus == (7,)

    def test_cores_that_come_back_are_measured_on(
        self, switched_on: SwitchOn, adb_server: AdbServer, programs: list[Program]
    ) -> None:
        phone = switched_on(dataclasses.replace(PIXEL_1, serial="NAP"))
        with phone_at(adb_server, phone) as device:
            cue = phone.play(Fault("core_asleep", seconds=3.0))
            assert cue.struck.wait(5)
            answers = list(device.run(programs, RunSpec(rounds=3, visit_ms=0.2)))
        assert cue.over.is_set()
        assert all(isinstance(a, Measurement) and a.conditions.cpus == (3,) for a in answers)
