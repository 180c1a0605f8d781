"""A phone through its bad days: found, prepared, measured on, waited for, left as it was."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from android_runner import (
    Conditions,
    DeviceError,
    DeviceLostError,
    Measurement,
    NoSuchDeviceError,
    Program,
    RunSpec,
    StorageError,
    UnsupportedDeviceError,
)
from android_runner.phone import Adb, AdbServer, PhoneDevice, PhoneSettings, find_phones
from android_runner.phone.conditions import Reading, Watch, choose_cpus
from android_runner.phone.discovery import choose_phone
from android_runner.phone.parsing import Battery, Core
from android_runner.phone.runners import remedy_for
from android_runner.phone.transport import PhoneStore
from android_runner.virtual_phone import (
    PIXEL_1,
    Fault,
    Moment,
    PhoneDescription,
    VirtualPhone,
)

QUICK = RunSpec(rounds=3, warmup_ms=0.2, visit_ms=0.2, timeout_s=10.0)
LONGER = dataclasses.replace(QUICK, rounds=150, visit_ms=3.0, timeout_s=3.0)
GALAXY = PhoneDescription.bundled("galaxy_s20")  # Android 12: has the fixed-performance mode
ROOTED = dataclasses.replace(PIXEL_1, root="su")


@pytest.fixture
def switched_on(adb_server: AdbServer, tmp_path: Path) -> Iterator[SwitchOn]:
    with ExitStack() as stack:
        yield SwitchOn(adb_server, tmp_path, stack)


class SwitchOn:
    """Switches phones on that adb knows, and off again after the test."""

    def __init__(self, server: AdbServer, folder: Path, stack: ExitStack) -> None:
        self.server, self._folder, self._stack = server, folder, stack
        self._count = 0

    def __call__(self, description: PhoneDescription) -> VirtualPhone:
        self._count += 1
        phone = VirtualPhone(description, self._folder / f"phone {self._count}")
        self._stack.enter_context(phone)
        self._stack.callback(self.server.disconnect, phone.address)
        self.server.connect(phone.address)
        return phone


def _device(server: AdbServer, phone: VirtualPhone, **settings: object) -> PhoneDevice:
    chosen = PhoneSettings(**{"wait_s": 60.0, **settings})  # type: ignore[arg-type]
    return PhoneDevice(phone.address, chosen, server=server)


def _all_measured(device: PhoneDevice, programs: Sequence[Program], spec: RunSpec) -> None:
    answers = list(device.run(programs, spec))
    assert sorted(a.program for a in answers) == sorted(p.name for p in programs)
    assert all(isinstance(a, Measurement) for a in answers), answers


class TestFinding:
    def test_the_only_one_needs_no_name(self, switched_on: SwitchOn, adb_server: AdbServer) -> None:
        phone = switched_on(PIXEL_1)
        assert choose_phone(adb_server, None).serial == phone.address

    def test_one_of_several_has_to_be_named(
        self, switched_on: SwitchOn, adb_server: AdbServer
    ) -> None:
        phones = [switched_on(PIXEL_1), switched_on(GALAXY)]
        with pytest.raises(NoSuchDeviceError, match="one of several phones must be named") as error:
            choose_phone(adb_server, None)
        for phone in phones:
            assert phone.address in str(error.value)
            assert choose_phone(adb_server, phone.description.serial).serial == phone.address
            assert choose_phone(adb_server, phone.address).id == phone.description.serial

    def test_none_is_an_error_that_says_what_to_do(self, adb_server: AdbServer) -> None:
        with pytest.raises(NoSuchDeviceError, match="USB debugging"):
            choose_phone(adb_server, None)
        with pytest.raises(NoSuchDeviceError, match="'FA1' must be connected"):
            choose_phone(adb_server, "FA1")

    def test_two_that_share_a_serial_are_not_mixed(
        self, switched_on: SwitchOn, adb_server: AdbServer
    ) -> None:
        first, second = switched_on(PIXEL_1), switched_on(PIXEL_1)
        for phone in (first, second):
            with pytest.raises(DeviceError, match="told apart by their serial number"):
                choose_phone(adb_server, phone.address)

    def test_a_placeholder_for_a_serial_is_none(
        self, switched_on: SwitchOn, adb_server: AdbServer
    ) -> None:
        phone = switched_on(dataclasses.replace(PIXEL_1, serial="0123456789ABCDEF"))
        assert choose_phone(adb_server, phone.address).id == phone.address

    def test_what_is_listed(self, switched_on: SwitchOn, adb_server: AdbServer) -> None:
        switched_on(GALAXY)
        (info,) = find_phones(adb_server)
        assert info.ready
        assert (info.model, info.os) == ("samsung SM-G980F", "Android 12")
        assert info.soc == "Samsung s5e9830"
        assert [len(cores) for cores in info.clusters] == [4, 2, 2]
        assert [cores[0].max_khz for cores in info.clusters] == [2002000, 2504000, 2730000]
        assert info.battery == Battery(62, True, info.battery.temperature_c)  # type: ignore[union-attr]
        assert info.temperature_c is not None

    def test_one_that_does_not_trust_us_and_one_that_runs_nothing_of_ours(
        self, switched_on: SwitchOn, adb_server: AdbServer
    ) -> None:
        shy = switched_on(dataclasses.replace(PIXEL_1, authorized=False))
        arm = switched_on(dataclasses.replace(GALAXY, abis=("riscv64",)))
        by_serial = {info.serial: info for info in find_phones(adb_server, remedy_for)}
        assert by_serial[shy.address].state in ("unauthorized", "authorizing")
        assert "allow USB debugging" in by_serial[shy.address].remedy
        assert by_serial[arm.address].state == "device"
        assert not by_serial[arm.address].ready
        assert "netadapt runner build" in by_serial[arm.address].remedy
        with pytest.raises(OSError, match="netadapt runner build"):
            _device(adb_server, arm).info()
        with pytest.raises(OSError, match="allow USB debugging"):
            _device(adb_server, shy, wait_s=0.0).info()


class TestCores:
    CORES = (
        *(Core(n, 1_800_000, (0, 1, 2, 3)) for n in range(4)),
        *(Core(n, 2_400_000, (4, 5, 6)) for n in range(4, 7)),
        Core(7, 2_840_000, (7,)),
    )

    def test_the_fastest_by_default_and_the_slowest_when_asked(self) -> None:
        assert choose_cpus(self.CORES, 1, "big") == (7,)
        assert choose_cpus(self.CORES, 4, "big") == (4, 5, 6, 7)
        assert choose_cpus(self.CORES, 5, "big") == (3, 4, 5, 6, 7)
        assert choose_cpus(self.CORES, 2, "little") == (2, 3)
        with pytest.raises(UnsupportedDeviceError, match="at most the phone's 8 cores"):
            choose_cpus(self.CORES, 9, "big")


class TestStore:
    def test_what_is_there_and_whole_is_not_pushed_again(
        self, switched_on: SwitchOn, adb_server: AdbServer
    ) -> None:
        phone = switched_on(PIXEL_1)
        store = PhoneStore(Adb(adb_server, phone.address))
        store.prepare()
        contents = [bytes([i]) * 1000 for i in range(5)]
        names = store.put(contents)

        def pushed() -> int:
            return sum(event.kind == "push" for event in phone.log)

        assert pushed() == 5
        assert store.put(contents) == names
        assert pushed() == 5
        folder = phone.root / "data/local/tmp/netadapt/store"
        (folder / names[contents[2]]).write_bytes(b"damaged")
        (folder / names[contents[3]]).unlink()
        store.put(contents)
        assert pushed() == 7
        assert {path.read_bytes() for path in folder.iterdir()} == set(contents)

    def test_a_damaged_push_is_noticed_and_done_again(
        self, switched_on: SwitchOn, adb_server: AdbServer
    ) -> None:
        phone = switched_on(PIXEL_1)
        store = PhoneStore(Adb(adb_server, phone.address))
        store.prepare()
        cue = phone.play(Fault("corrupt_push", moment=Moment.during_push(1)))
        names = store.put([b"content" * 10_000])
        assert cue.struck.is_set()
        (file,) = (phone.root / "data/local/tmp/netadapt/store").iterdir()
        assert file.read_bytes() == b"content" * 10_000
        assert [file.name] == list(names.values())

    def test_too_little_room_is_said_before_anything_is_pushed(
        self, switched_on: SwitchOn, adb_server: AdbServer
    ) -> None:
        phone = switched_on(dataclasses.replace(PIXEL_1, free_bytes=66 * 2**20))
        store = PhoneStore(Adb(adb_server, phone.address))
        store.prepare()
        with pytest.raises(StorageError, match=r"68 MB free .* it has 66"):
            store.put([bytes(4 * 2**20)])
        assert not [event for event in phone.log if event.kind == "push"]

    def test_old_files_go_first(self, switched_on: SwitchOn, adb_server: AdbServer) -> None:
        phone = switched_on(PIXEL_1)
        store = PhoneStore(Adb(adb_server, phone.address))
        store.prepare()
        names = store.put([b"a" * 1000, b"b" * 1000, b"c" * 1000])
        folder = phone.root / "data/local/tmp/netadapt/store"
        for age, name in enumerate(names.values()):
            os.utime(folder / name, (1000 + age, 1000 + age))
        store.trim(2000)
        assert {path.read_bytes()[:1] for path in folder.iterdir()} == {b"b", b"c"}


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
    with _device(adb_server, faulty_phone) as device:
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
        _all_measured(phone_device, programs, LONGER)
        assert cue.struck.is_set()
        assert cue.over.wait(10)


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

    def test_another_phone_at_its_address_is_not_taken_for_it(
        self, adb_server: AdbServer, tmp_path: Path, programs: list[Program]
    ) -> None:
        with VirtualPhone(PIXEL_1, tmp_path / "first") as phone:
            device = _device(adb_server, phone, wait_s=2.0)
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

    def conditions(self, *rounds_khz: int | None, limit_khz: int = 2_000_000) -> Conditions:
        return Conditions(
            *((3,), 1, None, None, None, None, None, None, (), ""),
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
        assert "limit of core 3" in str(self.watch().judge(self.reading(2_000_000, 1_500_000)))
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
        assert "limit fell" in str(judge(self.conditions(limit_khz=1_000_000)))

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
            cue = phone.play(Fault("throttled", seconds=2.0, moment=Moment.during_program(0.1)))
            answers = list(device.run(programs, dataclasses.replace(LONGER, rounds=400)))
        assert cue.struck.is_set()
        assert any("cool it; pausing" in line for line in said)
        assert len(answers) == len(programs)
        for answer in answers:
            assert isinstance(answer, Measurement)
            assert not answer.conditions.throttled


class TestSettings:
    """What is changed on a phone is put back, whatever happens."""

    GOVERNOR = "sys/devices/system/cpu/cpufreq/policy2/scaling_governor"

    def test_fixed_performance_where_android_has_it(
        self, switched_on: SwitchOn, adb_server: AdbServer, programs: list[Program]
    ) -> None:
        phone = switched_on(GALAXY)
        on = phone.root / "state/fixed_performance"
        with _device(adb_server, phone) as device:
            assert device.info().performance == "fixed-performance"
            plain = dataclasses.replace(device.info(), performance="default")
            assert device.info().fingerprint != plain.fingerprint
            assert on.exists()
            (answer,) = device.run(programs[:1], QUICK)
            assert isinstance(answer, Measurement)
            assert answer.conditions.performance == "fixed-performance"
        assert not on.exists()

    def test_the_clock_of_a_rooted_phone(
        self, switched_on: SwitchOn, adb_server: AdbServer
    ) -> None:
        phone = switched_on(ROOTED)
        governor = phone.root / self.GOVERNOR
        before = governor.read_text()
        settings = {"governor": "performance", "freq_khz": 1190400}
        with _device(adb_server, phone, **settings) as device:
            assert device.info().performance == "governor=performance freq=1190400kHz"
            assert governor.read_text().strip() == "performance"
            assert governor.with_name("scaling_max_freq").read_text().strip() == "1190400"
        assert governor.read_text() == before
        assert governor.with_name("scaling_max_freq").read_text().strip() == "2150400"
        assert governor.with_name("scaling_min_freq").read_text().strip() == "307200"

    def test_a_phone_without_root_says_so(
        self, switched_on: SwitchOn, adb_server: AdbServer
    ) -> None:
        device = _device(adb_server, switched_on(PIXEL_1), governor="performance")
        with pytest.raises(UnsupportedDeviceError, match="only a rooted phone"):
            device.info()

    @pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
    def test_after_the_process_has_ended(
        self,
        switched_on: SwitchOn,
        adb_server: AdbServer,
        lowered: dict[str, bytes],
        tmp_path: Path,
        end: signal.Signals,
    ) -> None:
        phone = switched_on(GALAXY)
        (tmp_path / "conv.pte").write_bytes(lowered["conv"])
        script = (
            "import sys\n"
            "from pathlib import Path\n"
            "from android_runner import Program, RunSpec\n"
            "from android_runner.phone import PhoneDevice\n"
            "program = Program('conv', Path(sys.argv[2]).read_bytes())\n"
            "tell = lambda progress: print(progress.done, flush=True)\n"
            "spec = RunSpec(rounds=100000)\n"
            "list(PhoneDevice(sys.argv[1]).run([program], spec, tell))\n"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", script, phone.address, str(tmp_path / "conv.pte")],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        on = phone.root / "state/fixed_performance"
        try:
            assert other.stdout is not None
            for _ in range(20):  # it measures
                assert other.stdout.readline()
            assert on.exists()
            with pytest.raises(DeviceError, match="one process at a time"):
                _device(adb_server, phone).info()
            other.send_signal(end)
            other.wait(30)
        finally:
            other.kill()
            other.wait()
            other.stdout.close()
        assert on.exists() == (end == signal.SIGKILL)
        # Whoever comes next puts it back, also when it wants none of it
        with _device(adb_server, phone, fixed_performance=False) as device:
            assert device.info().performance == "default"
            assert not on.exists()
        running = Adb(adb_server, phone.address).ask("pgrep -f [s]tore/ || true")
        assert running.strip() == ""

    def test_a_journal_of_nonsense_is_data(
        self, switched_on: SwitchOn, adb_server: AdbServer
    ) -> None:
        phone = switched_on(PIXEL_1)
        folder = phone.root / "data/local/tmp/netadapt"
        folder.mkdir(parents=True)
        bad = folder / "owned"
        (folder / "restore").write_text(
            f"$(touch {bad})\n/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor `touch {bad}`\n"
            "/data/local/tmp/x y\n"
        )
        with _device(adb_server, phone) as device:
            device.info()
        assert not (folder / "restore").exists()
        assert not bad.exists()
