"""Where made-up rows of a latency table come from, and what it was like there."""

from netadapt.android_runner.device import Conditions, DeviceInfo
from netadapt.profiler.lowering import Recipe
from netadapt.profiler.table import Provenance

MADE_UP = Provenance(
    device=DeviceInfo(
        id="made-up",
        kind="plug-in",
        model="Made-up 1",
        soc="none",
        os="none",
        abi="none",
        cores=1,
        runtime_version="0",
        runner_sha256="0" * 64,
        build_options="none",
    ),
    recipe=Recipe("made_up", "fp32", 1),
    lowering="a made-up compiler 1.0",
    threads=1,
    cpus="0",
)

NOTHING_TOLD = Conditions(
    cpus=(0,),
    threads=1,
    freq_khz_before=None,
    freq_khz_after=None,
    temperature_c_before=None,
    temperature_c_after=None,
    load_avg_before=None,
    load_avg_after=None,
    sentinel_us=(),
    started_at="2026-01-01T00:00:00+00:00",
)
"""Conditions of a device that tells nothing."""
