"""What phones print, as facts. Texts follow the tools' own formats with values of our descriptions;
where a text shows what somebody's real phone printed, its public source stands beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netadapt.android_runner.phone.parsing import (
    Battery,
    Core,
    ListedPhone,
    Sensor,
    cpu_temperature_c,
    is_address,
    parse_adb_version,
    parse_battery,
    parse_cores,
    parse_cpu_list,
    parse_devices,
    parse_free_bytes,
    parse_getprop,
    parse_screen_on,
    parse_sums,
    parse_thermalservice,
    split_sections,
)
from netadapt.android_runner.phone.zones import celsius, parse_zones


class TestDevices:
    # Columns and states as `adb devices -l` of platform tools 36 prints them; serials are made up
    LISTED = """\
* daemon not running; starting now at tcp:5037
* daemon started successfully
List of devices attached
FA69V0300001           device usb:1-3 product:sailfish model:Pixel device:sailfish transport_id:1
192.168.1.20:5555      device product:ginkgo model:Redmi_Note_8 device:ginkgo transport_id:2
adb-R58N-k2x._adb-tls-connect._tcp device product:x1s model:SM_G980F device:x1s transport_id:7
ZY22ABCDEF             unauthorized usb:1-4 transport_id:3
10.0.0.7:37099         offline transport_id:4
(no serial number)     device usb:2-1 product:a model:b device:c transport_id:5

"""

    def test_every_state_and_way_of_connecting(self) -> None:
        assert parse_devices(self.LISTED) == (
            ListedPhone("FA69V0300001", "device", "Pixel"),
            ListedPhone("192.168.1.20:5555", "device", "Redmi_Note_8"),
            ListedPhone("adb-R58N-k2x._adb-tls-connect._tcp", "device", "SM_G980F"),
            ListedPhone("ZY22ABCDEF", "unauthorized"),
            ListedPhone("10.0.0.7:37099", "offline"),
            ListedPhone("(no serial number)", "device", "b"),
        )

    @pytest.mark.parametrize(
        "line",
        [
            # https://github.com/commaai/openpilot/issues/36516
            "863276c1        no permissions (missing udev rules? user is in the plugdev group); "
            "see [http://developer.android.com/tools/device.html]",
            # https://github.com/quamotion/madb/pull/141: cut at the end
            "863276c1        no permissions (user in plugdev group; are your udev rules wrong?); "
            "see [http://developer.android.com/tools/device.html",
            # https://github.com/M0Rf30/android-udev-rules/issues/298
            "863276c1        no permissions; see [http://developer.android.com/tools/device.html]",
            "863276c1        no permissions usb:1-4 transport_id:3",
        ],
    )
    def test_missing_permissions_in_all_their_words(self, line: str) -> None:
        assert parse_devices(line) == (ListedPhone("863276c1", "no permissions"),)

    def test_addresses(self) -> None:
        assert is_address("127.0.0.1:5555")
        assert is_address("my-phone.local:41234")
        assert is_address("[fe80::1]:5555")
        for serial in ("FA69V0300001", "host:", ":5555", "a:b", "a:70000", "a:5555 "):
            assert not is_address(serial)


def test_adb_version() -> None:
    said = "Android Debug Bridge version 1.0.41\nVersion 36.0.0-13206524\nInstalled as /x/adb\n"
    assert parse_adb_version(said) == (36, 0, 0)
    debian = "Android Debug Bridge version 1.0.41\nVersion 34.0.4-debian\n"
    assert parse_adb_version(debian) < parse_adb_version(said)
    assert parse_adb_version("Android Debug Bridge version 1.0.31") == ()


def test_getprop_with_brackets_and_lines_in_values() -> None:
    said = (
        "[ro.product.model]: [Pixel [Test]]\r\n"
        "[persist.x]: [one\n[not]: a key\ntwo]\n"
        "[ro.serialno]: []\n"
        "[ro.product.cpu.abilist]: [arm64-v8a,armeabi-v7a,armeabi]\n"
    )
    assert parse_getprop(said) == {
        "ro.product.model": "Pixel [Test]",
        "persist.x": "one\n[not]: a key\ntwo",
        "ro.serialno": "",
        "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a,armeabi",
    }


class TestBattery:
    def test_plain_android(self) -> None:
        said = (
            "Current Battery Service state:\n  AC powered: false\n  USB powered: false\n"
            "  Wireless powered: false\n  Dock powered: false\n  status: 3\n  level: 37\n"
            "  scale: 50\n  voltage: 3716\n  temperature: 276\n  technology: Li-ion\n"
        )
        assert parse_battery(said) == Battery(74, False, 27.6)

    def test_samsung_with_lines_of_its_own(self) -> None:
        # Lines of a Galaxy of 2018 as in https://gh0st.tistory.com/6, in part
        said = (
            "Current Battery Service state:\n  mBootCompleted: true\n  AC powered: false\n"
            "  USB powered: true\n  Wireless powered: false\n  status: 2\n  level: 84\n"
            "  scale: 100\n  voltage: 4063\n  temperature: 326\n  technology: Li-ion\n"
            "  LED Charging: true\n  LED Low Battery: true\n  current now: 321\n"
            "USE_FAKE_BATTERY: false\nLLB CAL:\nLLB MAN: 20160426\nBatteryInfoBackUp\n"
            "  mSavedBatteryMaxTemp: 490\n"
        )
        assert parse_battery(said) == Battery(84, True, 32.6)

    def test_nothing_told(self) -> None:
        assert parse_battery("Can't find service: battery") == Battery(None, None, None)


class TestThermalservice:
    # The layout and the numbers that differ: a Shield TV Pro 2019 as in
    # https://github.com/bryanroscoe/shield_optimizer/issues/6
    SHIELD = """\
IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 1
\tkilled: false
\tbroadcasts count: -1
Thermal Status: 0
Cached temperatures:
\tTemperature{mValue=36.0, mType=1, mName=GPU, mStatus=0}
\tTemperature{mValue=37.0, mType=0, mName=CPU0, mStatus=0}
HAL Ready: true
HAL connection:
\tThermalHAL 1.1 connected: yes
Current temperatures from HAL:
\tTemperature{mValue=61.0, mType=1, mName=GPU, mStatus=0}
\tTemperature{mValue=66.5, mType=0, mName=CPU0, mStatus=0}
\tTemperature{mValue=NaN, mType=0, mName=CPU1, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=0, mType=0, mName=fan}
"""

    def test_what_the_hardware_says_now_counts(self) -> None:
        thermal = parse_thermalservice(self.SHIELD)
        assert thermal.status == 0
        assert thermal.sensors == (Sensor("GPU", 1, 61.0, 0), Sensor("CPU0", 0, 66.5, 0))
        assert cpu_temperature_c(thermal) == 66.5

    def test_remembered_values_where_there_are_no_others(self) -> None:
        cached = self.SHIELD.partition("Current temperatures")[0]
        assert cpu_temperature_c(parse_thermalservice(cached)) == 37.0

    def test_skin_where_no_processor_is_told(self) -> None:
        said = (
            "Thermal Status: 3\nCurrent temperatures from HAL:\n"
            "\tTemperature{mValue=28.6, mType=2, mName=battery, mStatus=0}\n"
            "\tTemperature{mValue=41.25, mType=3, mName=virtual, a, name, mStatus=3}\n"
        )
        thermal = parse_thermalservice(said)
        assert (thermal.status, cpu_temperature_c(thermal)) == (3, 41.25)

    def test_a_hal_that_is_not_ready(self) -> None:
        # As told of in https://github.com/MaheshSharan/FrameX-Android/issues/19
        thermal = parse_thermalservice("Thermal Status: 0\nHAL Ready: false\n")
        assert thermal.sensors == ()
        assert cpu_temperature_c(thermal) is None
        assert parse_thermalservice("Can't find service: thermalservice").status is None


class TestCores:
    # Two clusters of the Pixel's frequencies; values of our description pixel_1
    FILES = "\n".join(
        f"/sys/devices/system/cpu/cpu{core}/cpufreq/{name}:{value}"
        for core, cluster, khz in (
            *((0, "0 1", 1593600), (1, "0 1", 1593600)),
            *((2, "2 3", 2150400), (3, "2 3", 2150400)),
        )
        for name, value in (
            ("cpuinfo_max_freq", khz),
            ("related_cpus", cluster),
            ("scaling_governor", "schedutil"),
            ("scaling_max_freq", khz),
            ("scaling_cur_freq", 307200),
        )
    )

    def test_clusters_and_frequencies(self) -> None:
        cores = parse_cores(self.FILES)
        assert cores[3] == Core(3, 2150400, (2, 3), "schedutil", 2150400, 307200)
        assert [core.cluster for core in cores] == [(0, 1), (0, 1), (2, 3), (2, 3)]

    def lists(self, present: str, online: str) -> str:
        return "".join(
            f"/sys/devices/system/cpu/{name}:{value}\n"
            for name, value in (("present", present), ("online", online))
        )

    def test_cores_that_sleep_are_the_phones_and_said_to_sleep(self) -> None:
        awake = "\n".join(line for line in self.FILES.splitlines() if "/cpu3/" not in line)
        cores = parse_cores(f"{awake}\n{self.lists('0-3', '0-2')}")
        assert [core.online for core in cores] == [True, True, True, False]
        # Its cluster's other core tells what it is
        assert cores[3] == Core(3, 2150400, (2, 3), online=False)
        little = "\n".join(line for line in awake.splitlines() if "/cpu2/" not in line)
        cores = parse_cores(f"{little}\n{self.lists('0-3', '0-1')}")
        assert cores[2:] == (Core(2, None, (2,), online=False), Core(3, None, (3,), online=False))

    def test_silent_cores_stay_and_capacities_are_read(self) -> None:
        assert parse_cores(self.lists("0-1", "0-1")) == (Core(0, None, (0,)), Core(1, None, (1,)))
        said = "/sys/devices/system/cpu/cpu1/cpu_capacity:1024\n" + self.lists("0-1", "0")
        assert parse_cores(said)[1] == Core(1, None, (1,), capacity=1024, online=False)
        assert parse_cores(f"{self.FILES}\n/sys/devices/system/cpu/cpu3/cpufreq/x: Permission")

    @pytest.mark.parametrize(
        ("text", "cores"),
        [("0-3,6\n", (0, 1, 2, 3, 6)), ("5", (5,)), ("", ()), ("x,2-1,7", (7,))],
    )
    def test_the_kernels_lists(self, text: str, cores: tuple[int, ...]) -> None:
        assert parse_cpu_list(text) == cores


def test_screen() -> None:
    assert parse_screen_on("POWER MANAGER\n  mWakefulness=Awake\n") is True
    assert parse_screen_on("  mWakefulness=Dozing\n  mWakefulnessChanging=false\n") is False
    assert parse_screen_on("Can't find service: power") is None


def test_free_space() -> None:
    # toybox of Android 10, and one whose name is so long that the line is broken
    said = (
        "Filesystem       1K-blocks     Used Available Use% Mounted on\n"
        "/dev/block/dm-4   25670712 20431996   5107644  81% /data\n"
    )
    assert parse_free_bytes(said) == 5107644 * 1024
    assert parse_free_bytes(said.replace("dm-4   ", "dm-4\n   ")) == 5107644 * 1024
    assert parse_free_bytes("df: .: Permission denied") is None


def test_sums() -> None:
    digest = "a" * 64
    said = f"{digest}  {'b' * 64}\nsha256sum: c: No such file or directory\n{digest} *d\nshort  e\n"
    assert parse_sums(said) == {"b" * 64: digest, "d": digest}


def test_sections() -> None:
    said = "before\n@@ a\n1\n2\n@@ b\n@@ c\n3\n@@x no\n"
    assert split_sections(said, "@@") == {"a": "1\n2", "b": "", "c": "3\n@@x no"}


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    """A phone's words are data: whatever they are, nothing is raised for them."""
    parse_adb_version(text)
    parse_devices(text)
    parse_getprop(text)
    parse_battery(text)
    parse_thermalservice(text)
    parse_zones(text)
    celsius(text)
    parse_cores(text)
    parse_screen_on(text)
    parse_free_bytes(text)
    parse_sums(text)
    split_sections(text, "@@")
