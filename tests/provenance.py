"""Where made-up rows of a latency table come from."""

from profiler.table import Provenance

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
