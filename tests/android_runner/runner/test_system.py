"""What the runner makes of a machine's thermal zones, cores and address layout."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

import pytest

from netadapt.android_runner.building.cmake import NATIVE
from netadapt.android_runner.building.for_host import _compiler, build_runner
from netadapt.android_runner.runner.protocol import FrameParser, Hello

ADDR_NO_RANDOMIZE = 0x0040000

# Zone types as phones and computers name them: 2 the cores', 1 the chip's, 0 unknown, -1 others'.
ZONES = {
    "cpu-0-0-usr": 2, "cpuss-1-usr": 2, "cpu_thermal": 2, "mtktscpu": 2, "BIG": 2, "MID": 2,
    "LITTLE": 2, "x86_pkg_temp": 2, "apc1-cpu0-usr": 2, "tsens_tz_sensor4": 1, "soc_thermal": 1,
    "gpu-0-usr": 0, "acpitz": 0, "": 0, "battery": -1, "mtktsbattery": -1, "usb_port": -1,
    "quiet-therm-adc": -1, "skin_therm": -1, "charger_skin": -1, "emmc_therm": -1,
}  # fmt: skip
# What a zone says, and what that is in degrees: whole degrees, tenths, thousandths, nonsense.
TEMPERATURES = {
    "41": "41", "412": "41.2", "1050": "105", "41200": "41.2", "38": "38", "250": "25",
    "0": "-", "-40000": "-", "-274": "-", "1800": "-", "2147483647": "-", "149000": "149",
}  # fmt: skip

PROBE = r"""
#include "system.cpp"
#include <cstdio>
int main(int argc, char** argv) {
  for (int i = 1; i + 1 < argc; i += 2) {
    if (argv[i][0] == 't') {
      std::printf("%d\n", netadapt::closeness(argv[i + 1]));
    } else {
      const auto c = netadapt::celsius(std::atof(argv[i + 1]));
      c ? std::printf("%.9g\n", *c) : std::printf("-\n");
    }
  }
}
"""


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program around the runner's source, without ExecuTorch."""
    folder = tmp_path_factory.mktemp("probe")
    (folder / "probe.cpp").write_text(PROBE)
    subprocess.run(
        [_compiler(), "-std=c++20", f"-I{NATIVE}", folder / "probe.cpp", NATIVE / "protocol.cpp",
         "-o", folder / "probe"],
        check=True, timeout=120,
    )  # fmt: skip
    return folder / "probe"


def _ask(probe: Path, kind: str, values: list[str]) -> list[str]:
    words = [word for value in values for word in (kind, value)]
    done = subprocess.run([probe, *words], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.splitlines()


def test_which_zones_are_the_cores(probe: Path) -> None:
    assert dict(zip(ZONES, map(int, _ask(probe, "t", list(ZONES))), strict=True)) == ZONES


def test_temperatures_in_any_unit(probe: Path) -> None:
    found = _ask(probe, "c", list(TEMPERATURES))
    assert dict(zip(TEMPERATURES, found, strict=True)) == TEMPERATURES


def _messages(*arguments: str, **variables: str) -> list[object]:
    done = subprocess.run(
        [build_runner().path, *arguments], capture_output=True, check=False, timeout=30,
        env={**os.environ, **variables},
    )  # fmt: skip
    return list(FrameParser().feed(done.stdout))


def test_a_core_that_is_not_there_is_named_with_those_that_are() -> None:
    *_, fatal = _messages("cpus=1023")
    assert "cannot be pinned to the cores 1023" in str(fatal)
    assert ",".join(map(str, sorted(os.sched_getaffinity(0)))) in str(fatal)


def test_the_runner_restarts_itself_at_most_once() -> None:
    """A system may take the setting and drop it again: no endless chain of restarts."""
    inherited = ctypes.CDLL(None).personality(0xFFFFFFFF) & ADDR_NO_RANDOMIZE
    (hello,) = _messages(NETADAPT_RUNNER_RESTARTED="1")
    assert isinstance(hello, Hello)
    assert hello.layout == ("fixed" if inherited else "random")
