"""Where made-up rows of a latency table come from, and what it was like there."""

import dataclasses

from benchmarks.table_scale import PROVENANCE
from netadapt.android_runner.device import Conditions

MADE_UP = dataclasses.replace(PROVENANCE, lowering="a made-up compiler 1.0")

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
