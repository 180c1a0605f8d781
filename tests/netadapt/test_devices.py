"""A device by its name, also one that somebody else brings, and what it can be set to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from netadapt.android_runner import (
    Device,
    DeviceError,
    DeviceInfo,
    Failure,
    HostDevice,
    InvalidRunError,
    Measurement,
    PhoneDevice,
    PhoneSettings,
    Program,
    RunProgress,
    RunSpec,
)
from netadapt.android_runner.errors import PluginError
from netadapt.devices import DeviceSettings, device_kind, make_device
from netadapt.errors import ConfigError
from netadapt.profiler.kernels import SqueezeExciteKernel
from netadapt.profiler.lowering import ProgramCache, Subject
from netadapt.profiler.profile import Profiler
from netadapt.profiler.settings import ProfileSettings
from netadapt.profiler.table import LatencyTable
from tests.contracts.device import DeviceContract

SLOWED = f"{__name__}:Slowed"


@dataclass(frozen=True)
class SlowedSettings:
    factor: float = 2.0


class Slowed:
    """Somebody's own device: this machine, but everything takes longer."""

    settings_class = SlowedSettings

    def __init__(self, settings: SlowedSettings) -> None:
        self.settings = settings
        self._host = HostDevice()

    def info(self) -> DeviceInfo:
        return dataclasses.replace(self._host.info(), id="slowed", kind="plug-in")

    def cpus(self, spec: RunSpec) -> tuple[int, ...]:
        return self._host.cpus(spec)

    def run(
        self,
        programs: Sequence[Program],
        spec: RunSpec,
        on_progress: Callable[[RunProgress], None] | None = None,
    ) -> Iterator[Measurement | Failure]:
        return map(self._slowed, self._host.run(programs, spec, on_progress))

    def _slowed(self, answer: Measurement | Failure) -> Measurement | Failure:
        if isinstance(answer, Failure):
            return answer
        rounds_us = tuple(
            tuple(us * self.settings.factor for us in samples) for samples in answer.rounds_us
        )
        return dataclasses.replace(answer, rounds_us=rounds_us)


class NoDevice:
    pass


class TestSomebodysOwnDevice(DeviceContract):
    @pytest.fixture
    def device(self) -> Device:
        return make_device(DeviceSettings(id=SLOWED))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("host", "host"),
        ("phone", "phone"),
        ("FA69V0300001", "phone"),
        ("emulator-5554", "phone"),
        ("192.168.1.20:41529", "phone"),
        ("localhost:5555", "phone"),
        ("adb-FA69-x1y2._adb-tls-connect._tcp", "phone"),
        ("runs/digits/table.sqlite", "table"),
        ("my_package.devices:Board", "plug-in"),
    ],
)
def test_what_a_name_means(name: str, kind: str) -> None:
    assert device_kind(name) == kind


def test_options_reach_somebodys_own_device() -> None:
    made = make_device(DeviceSettings(id=SLOWED, options={"factor": 3.0}))
    assert isinstance(made, Slowed)
    assert made.settings == SlowedSettings(3.0)


def test_a_phone_is_one_object_for_all_threads_and_has_its_settings() -> None:
    settings = DeviceSettings(id="FA69", cpus="little", wait_s=7.0, min_battery_pct=40)
    made = make_device(settings)
    assert isinstance(made, PhoneDevice)
    assert made.settings == PhoneSettings(wait_s=7.0, min_battery_pct=40)
    assert make_device(dataclasses.replace(settings, threads=2)) is made
    assert make_device(dataclasses.replace(settings, wait_s=8.0)) is not made
    assert make_device(dataclasses.replace(settings, cpus=None)) is not made


def test_every_setting_of_a_phone_is_one_of_a_device_with_the_same_default() -> None:
    assert DeviceSettings().phone == PhoneSettings()


def test_this_machine_is_what_is_meant_without_a_name() -> None:
    assert isinstance(make_device(DeviceSettings()), HostDevice)
    assert DeviceSettings().threads == RunSpec().threads
    assert DeviceSettings(cpus="big").pinned is None
    assert DeviceSettings(cpus=(2, 3)).pinned == (2, 3)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"id": ""}, ConfigError, "device.id names a device in one line, got ''"),
        ({"id": "a\nb"}, ConfigError, "device.id"),
        ({"cpus": ()}, ConfigError, "core numbers from 0 on"),
        ({"cpus": (-1,)}, ConfigError, "core numbers from 0 on"),
        ({"cpus": (1, 1)}, ConfigError, "name each core once"),
        ({"cpus": (1,), "threads": 2}, ConfigError, r"as many as threads \(2\), got 1"),
        ({"cpus": "medium"}, ConfigError, "big or little, got 'medium'"),
        ({"threads": 0}, InvalidRunError, "threads is"),
        ({"wait_s": float("nan")}, InvalidRunError, "wait_s is"),
        ({"min_battery_pct": 101}, InvalidRunError, "at most 100, got 101"),
        ({"governor": "a b"}, InvalidRunError, "governor"),
        ({"options": {"factor": 1.0}}, ConfigError, "leave them out"),
    ],
)
def test_a_setting_that_makes_no_sense(
    given: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as raised:
        DeviceSettings(**given)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        (DeviceSettings(id="no_such_package:Device"), PluginError, "no 'no_such_package'"),
        (DeviceSettings(id=f"{__name__}:NoDevice"), PluginError, "a device is a subclass"),
        (
            DeviceSettings(id=SLOWED, options={"facto": 3}),
            ConfigError,
            "are factor, got 'facto'; correct",
        ),
    ],
)
def test_a_device_that_cannot_be_made(
    settings: DeviceSettings, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as raised:
        make_device(settings)
    assert "\n" not in str(raised.value)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "none.sqlite"
    with pytest.raises(ValueError, match=r"none\.sqlite"):
        make_device(DeviceSettings(id=str(path)))
    assert not path.exists()


def test_a_table_is_played_back(tmp_path: Path) -> None:
    cache = ProgramCache(tmp_path / "programs")
    settings = ProfileSettings(rounds=4, warmup_ms=1, visit_ms=0.5)
    kernels = [Subject(SqueezeExciteKernel(16, 8, 7, 7))]
    path = tmp_path / "table.sqlite"
    with LatencyTable(path) as table:
        Profiler(HostDevice(), table, cache, settings).kernels(kernels)
        (recorded,) = table.rows()

    replay = make_device(DeviceSettings(id=str(path)))
    with LatencyTable(tmp_path / "again.sqlite") as table:
        profiler = Profiler(replay, table, cache, settings)
        profiler.kernels(kernels)
        (again,) = table.rows()
    assert again == dataclasses.replace(recorded, provenance=profiler.provenance)
    assert make_device(DeviceSettings(id=f"{path}#1")).info() == replay.info()
    with pytest.raises(DeviceError, match="the threads and cores that were recorded"):
        replay.cpus(RunSpec(threads=2))
