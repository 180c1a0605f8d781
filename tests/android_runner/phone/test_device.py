"""A phone: found, prepared, its settings kept and put back."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from netadapt.android_runner import (
    DeviceError,
    Measurement,
    NoSuchDeviceError,
    Program,
    StorageError,
    UnsupportedDeviceError,
)
from netadapt.android_runner.phone import Adb, AdbServer, PhoneDevice, PhoneSettings, find_phones
from netadapt.android_runner.phone.discovery import choose_phone
from netadapt.android_runner.phone.parsing import Battery
from netadapt.android_runner.phone.runners import remedy_for
from netadapt.android_runner.phone.transport import PhoneStore
from netadapt.android_runner.runner.check import check_runner
from netadapt.virtual_phone import (
    PIXEL_1,
    Fault,
    Moment,
    PhoneDescription,
    bundled_names,
)
from tests.android_runner.phone.conftest import (
    GALAXY,
    QUICK,
    ROOTED,
    SwitchOn,
    all_measured,
    phone_at,
)


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
            with pytest.raises(DeviceError, match="distinguished by their serial number"):
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

    def test_what_a_phone_says_of_itself_is_text(
        self, switched_on: SwitchOn, adb_server: AdbServer
    ) -> None:
        hostile = {"ro.product.model": "Pixel\x1b]0;owned\x07\x1b[2J", "ro.build.id": "a\u202eb"}
        switched_on(dataclasses.replace(PIXEL_1, properties=hostile))
        (info,) = find_phones(adb_server)
        assert info.model == r"Google Pixel\x1b]0;owned\x07\x1b[2J"
        assert info.os == r"Android 10 a\u202eb"

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
            phone_at(adb_server, arm).info()
        with pytest.raises(OSError, match="allow USB debugging"):
            phone_at(adb_server, shy, wait_s=0.0).info()


class TestOrdinaryPhones:
    """As they are sold: not rooted, with everything that Android's policy forbids."""

    @pytest.mark.parametrize(
        ("name", "sdk"), [*((name, None) for name in bundled_names()), ("pixel_1", 25)]
    )
    def test_a_batch_is_measured(
        self,
        name: str,
        sdk: int | None,
        switched_on: SwitchOn,
        adb_server: AdbServer,
        programs: list[Program],
    ) -> None:
        described = PhoneDescription.bundled(name)
        phone = switched_on(dataclasses.replace(described, root="none", sdk=sdk or described.sdk))
        with phone_at(adb_server, phone, wait_s=0.0) as device:
            all_measured(device, programs, dataclasses.replace(QUICK, sentinel=programs[0]))
            (answer,) = device.run(programs[:1], QUICK)
            assert isinstance(answer, Measurement)
            # The runner's, else a service's, else the battery's
            assert answer.conditions.temperature_c_before is not None
            assert answer.conditions.temperature_c_after is not None
        runs = phone.root / "data/local/tmp/netadapt/runs"
        assert {path.name for path in runs.rglob("*") if not path.is_dir()} == {"pid"}

    def test_the_runner_is_checked(self, switched_on: SwitchOn, adb_server: AdbServer) -> None:
        with phone_at(adb_server, switched_on(PIXEL_1), wait_s=0.0) as device:
            assert check_runner(device).values == 293


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

    def test_a_store_of_thousands_is_trimmed_by_few_processes(
        self, switched_on: SwitchOn, adb_server: AdbServer
    ) -> None:
        phone = switched_on(PIXEL_1)
        store = PhoneStore(Adb(adb_server, phone.address))
        store.prepare()
        folder = phone.root / "data/local/tmp/netadapt/store"
        names = [hashlib.sha256(str(age).encode()).hexdigest() for age in range(4400)]
        for age, name in enumerate(names):
            (folder / name).write_bytes(b"0123456789")
            os.utime(folder / name, (1_600_000_000 + age, 1_600_000_000 + age))
        stat = phone.root / "system/bin/stat"
        real = stat.resolve()
        stat.unlink()
        stat.write_text(f'#!/bin/sh\necho >>/data/local/tmp/calls\nexec {real} "$@"\n')
        stat.chmod(0o755)
        store.trim(2000, frozenset(names[:3]))
        assert {path.name for path in folder.iterdir()} == {*names[:3], *names[-200:]}
        assert (phone.root / "data/local/tmp/calls").read_text().count("\n") <= 10

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


class TestScreen:
    def test_one_that_changes_is_warned_of(
        self,
        switched_on: SwitchOn,
        adb_server: AdbServer,
        programs: list[Program],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("netadapt.android_runner.phone.device._READING_AGE_S", -1.0)
        phone = switched_on(dataclasses.replace(PIXEL_1, serial="SCREEN"))
        said: list[str] = []
        settings = PhoneSettings(wait_s=60.0)
        with PhoneDevice(phone.address, settings, server=adb_server, notify=said.append) as device:
            screens = []
            for key in ("KEYCODE_SLEEP", "KEYCODE_SLEEP", "KEYCODE_WAKEUP"):
                Adb(adb_server, phone.address).ask(f"input keyevent {key}")
                (answer,) = device.run(programs[:1], QUICK)
                assert isinstance(answer, Measurement)
                screens.append(answer.conditions.screen_on)
        assert screens == [False, False, True]
        (line,) = [line for line in said if "screen" in line]  # it may be waited for as well
        assert "went on amid the measurements" in line


class TestSettings:
    """What is changed on a phone is put back, whatever happens."""

    GOVERNOR = "sys/devices/system/cpu/cpufreq/policy2/scaling_governor"

    def test_fixed_performance_where_android_has_it(
        self, switched_on: SwitchOn, adb_server: AdbServer, programs: list[Program]
    ) -> None:
        phone = switched_on(GALAXY)
        on = phone.root / "state/fixed_performance"
        with phone_at(adb_server, phone) as device:
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
        with phone_at(adb_server, phone, **settings) as device:
            assert device.info().performance == "governor=performance freq=1190400kHz"
            assert governor.read_text().strip() == "performance"
            assert governor.with_name("scaling_max_freq").read_text().strip() == "1190400"
        assert governor.read_text() == before
        assert governor.with_name("scaling_max_freq").read_text().strip() == "2150400"
        assert governor.with_name("scaling_min_freq").read_text().strip() == "307200"

    def test_a_phone_without_root_says_so(
        self, switched_on: SwitchOn, adb_server: AdbServer
    ) -> None:
        device = phone_at(adb_server, switched_on(PIXEL_1), governor="performance")
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
            "from netadapt.android_runner import Program, RunSpec\n"
            "from netadapt.android_runner.phone import PhoneDevice\n"
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
                phone_at(adb_server, phone).info()
            other.send_signal(end)
            other.wait(30)
        finally:
            other.kill()
            other.wait()
            other.stdout.close()
        assert on.exists() == (end == signal.SIGKILL)
        # Whoever comes next puts it back, also when it wants none of it
        with phone_at(adb_server, phone, fixed_performance=False) as device:
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
        with phone_at(adb_server, phone) as device:
            device.info()
        assert not (folder / "restore").exists()
        assert not bad.exists()
