"""Described phones, and their temperatures, clocks and battery."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from netadapt.android_runner.errors import InvalidRunError
from netadapt.virtual_phone import (
    PIXEL_1,
    Battery,
    Cluster,
    PhoneDescription,
    bundled_names,
)
from netadapt.virtual_phone.body import Body, battery_text
from netadapt.virtual_phone.filesystem import lay_out
from netadapt.virtual_phone.serving import describe

FOLDER = Path(__file__).parents[2] / "virtual_phone" / "phones"


def test_three_makers_phones_come_along() -> None:
    makers = {PhoneDescription.bundled(name).manufacturer for name in bundled_names()}
    assert makers == {"Google", "samsung", "Xiaomi"}


def test_the_pixel_1_has_two_small_and_two_big_cores() -> None:
    assert [(c.cores, c.frequencies_khz[-1]) for c in PIXEL_1.clusters] == [
        ((0, 1), 1_593_600),
        ((2, 3), 2_150_400),
    ]
    assert PIXEL_1.model == "Pixel"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ('model = "Pixel"', "model"),  # left out
        ('soc = "MSM8996"\nshoe_size = 43', "shoe_size"),
        ("cores = [0, 2]", "cores"),
        ("frequencies_khz = [2, 1]", "frequencies_khz"),
        ('soc = "MSM8996', "TOML"),
        ('serial = "/../../../x"', "serial"),
        ('serial = ".."', "serial"),
        ('serial = ""', "serial"),
        ('serial = "a\\u001b[2J"', "serial"),
        ('name = "a/b"', "name"),
        ('name = ".hidden"', "name"),
        ("sdk = " + "9" * 5000, "TOML"),
        ("sdk = " + "9" * 40, "2\\*\\*53"),
        ("free_bytes = -99999999999999999999", "2\\*\\*53"),
        ("from_c = inf", "2\\*\\*53"),
        ("from_c = nan", "2\\*\\*53"),
        ("cooling_s = 0.0", "cooling_s"),
        ("lowest_share = 0.0", "lowest_share"),
        ("max_data = 4294967296", "max_data"),
    ],
)
def test_a_wrong_description_is_reported(tmp_path: Path, change: str, word: str) -> None:
    lines = (FOLDER / "pixel_1.toml").read_text().splitlines()
    key = change.partition(" ")[0]
    index = next((i for i, line in enumerate(lines) if line.startswith(key)), 0)
    lines[index] = "" if change in lines[index] else change
    path = tmp_path / "wrong.toml"
    path.write_text("\n".join(lines))
    with pytest.raises(InvalidRunError, match=word) as raised:
        PhoneDescription.load(path)
    assert "\n" not in str(raised.value)


def test_what_names_a_folder_is_checked_however_it_comes(tmp_path: Path) -> None:
    with pytest.raises(InvalidRunError, match="serial"):
        describe("pixel_1", "/../../../x")
    copied = tmp_path / "my phone.v2.toml"
    copied.write_text((FOLDER / "pixel_1.toml").read_text())
    assert describe(str(copied)).name == "my phone.v2"
    (tmp_path / ".odd.toml").write_text(copied.read_text())
    with pytest.raises(InvalidRunError, match="name"):
        describe(str(tmp_path / ".odd.toml"))


def test_unknown_phones_are_reported_with_those_there_are() -> None:
    with pytest.raises(InvalidRunError, match=r"galaxy_s20, pixel_1, redmi_note_8, got 'iphone'"):
        PhoneDescription.bundled("iphone")


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def body(tmp_path: Path, clock: Clock) -> Body:
    described = dataclasses.replace(PIXEL_1, zones_readable=True)
    lay_out(tmp_path, described)
    return Body(described, tmp_path, clock)


def work(body: Body, clock: Clock, seconds: float, cores: int) -> None:
    """Let cores work for a while, in steps."""
    for _ in range(int(seconds * 2)):
        clock.now_s += 0.5
        body.advance(0.5 * cores)


def test_work_heats_and_rest_cools(body: Body, clock: Clock) -> None:
    idle = body.temperatures_c
    assert idle == [28.0, 34.0, 35.0]
    work(body, clock, 20, cores=1)
    warm = body.temperatures_c
    assert all(w > i for w, i in zip(warm, idle, strict=True))
    assert warm[2] == pytest.approx(35.0 + 0.8 * 20 * (1 - 2.718281828**-1), rel=0.02)
    work(body, clock, 300, cores=0)
    assert body.temperatures_c[2] == pytest.approx(35.0, abs=0.01)


def test_heat_lowers_clocks_and_lengthens_work(body: Body, clock: Clock) -> None:
    start = clock.now_s
    big = PIXEL_1.clusters[1]
    work(body, clock, 2, cores=2)
    assert body.current_khz(big) == 2_150_400
    cool = clock.now_s
    assert body.slowness(start, cool) == 1.0
    work(body, clock, 120, cores=4)
    assert body.temperatures_c[2] > 70
    assert body.current_khz(big) < 2_150_400
    assert body.clock_share >= PIXEL_1.throttling.lowest_share
    clock.now_s += 1
    assert body.slowness(clock.now_s - 1, clock.now_s) == pytest.approx(1 / body.clock_share)
    assert 1.0 < body.slowness(start, clock.now_s) < 1 / PIXEL_1.throttling.lowest_share


def test_idle_cores_rest_at_their_lowest_clock(body: Body, tmp_path: Path) -> None:
    big: Cluster = PIXEL_1.clusters[1]
    assert body.current_khz(big) == big.frequencies_khz[0]
    governor = tmp_path / "sys/devices/system/cpu/cpufreq/policy2/scaling_governor"
    governor.chmod(0o644)
    governor.write_text("performance\n")
    assert body.current_khz(big) == big.frequencies_khz[-1]


def test_it_writes_what_programs_read(body: Body, tmp_path: Path) -> None:
    body.force_temperature(85.0)
    body.battery = dataclasses.replace(body.battery, level_pct=4, charging=False)
    body.write_files()
    assert (tmp_path / "sys/class/thermal/thermal_zone2/temp").read_text() == "850\n"
    assert (tmp_path / "sys/class/thermal/thermal_zone0/temp").read_text() == "28000\n"
    thermal = (tmp_path / "state/dumpsys/thermalservice").read_text()
    assert "Thermal Status: 3\n" in thermal
    assert "\tTemperature{mValue=85.0, mType=0, mName=tsens_tz_sensor9, mStatus=3}\n" in thermal
    assert (tmp_path / "sys/class/power_supply/battery/capacity").read_text() == "4\n"


def test_battery_text() -> None:
    text = battery_text(Battery(level_pct=40, charging=False, temperature_c=31.25))
    assert "  USB powered: false\n" in text
    assert "  status: 3\n" in text
    assert "  level: 40\n" in text
    assert "  temperature: 312\n" in text
