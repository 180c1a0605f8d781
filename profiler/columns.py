"""How records of several parts stand side by side as columns: of a frame, an export, an SQL view.

Columns are generated from the records' own fields, so that a new field of `Conditions`,
`DeviceInfo` or `Effort` is a column by itself. A field is called otherwise only where its name is
another column's, or says too little without its record.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from netadapt.android_runner.device import Conditions, DeviceInfo
from netadapt.profiler.row import Effort


def _named(record: type, renamed: Mapping[str, str]) -> dict[str, str]:
    """By column, the fields of a record."""
    names = [field.name for field in dataclasses.fields(record)]
    return {renamed.get(name, name): name for name in names}


CONDITION_COLUMNS: Mapping[str, str] = _named(
    Conditions,
    {
        "cpus": "run_cpus",
        "threads": "run_threads",
        "sentinel_us": "sentinel_rounds_us",
        "started_at": "measured_at",
    },
)
DEVICE_COLUMNS: Mapping[str, str] = _named(
    DeviceInfo, {"id": "device_id", "kind": "device_kind", "performance": "device_performance"}
)
EFFORT_COLUMNS: Mapping[str, str] = _named(Effort, {})
"""By column, the fields of a record."""
