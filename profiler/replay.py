"""A latency table as a device: what was measured once is measured again without the device."""

from __future__ import annotations

from netadapt.android_runner.device import DeviceInfo, Measurement
from netadapt.android_runner.replay import ReplayDevice
from netadapt.profiler.table import LatencyTable, Provenance, Row


def replay_device(table: LatencyTable, provenance: Provenance) -> ReplayDevice:
    """A device that answers each program with the samples the table holds for it."""
    recorded = {row.program_sha256: _measurement(row) for row in table.rows(provenance)}
    info = DeviceInfo(
        id=provenance.device_id,
        kind="replay",
        model=provenance.model,
        soc=provenance.soc,
        os=provenance.os,
        abi=provenance.abi,
        cores=len(provenance.cpus.split(",")),
        runtime_version=provenance.runtime_version,
        runner_sha256=provenance.runner_sha256,
        build_options=provenance.build_options,
    )
    return ReplayDevice(recorded, info)


def _measurement(row: Row) -> Measurement:
    return Measurement(
        program=row.key,
        program_sha256=row.program_sha256,
        rounds_us=row.rounds_us,
        calls_per_sample=row.calls_per_sample,
        conditions=row.conditions,
    )
