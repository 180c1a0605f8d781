"""Where made-up rows of a latency table come from, and what it was like there."""

from netadapt.android_runner.device import Conditions
from netadapt.profiler.table import Provenance

MADE_UP = Provenance(
    device_id="made-up",
    device_kind="replay",
    model="Made-up 1",
    soc="none",
    os="none",
    abi="none",
    fingerprint="0",
    runtime_version="0",
    runner_sha256="0" * 64,
    build_options="none",
    precision="fp32",
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
