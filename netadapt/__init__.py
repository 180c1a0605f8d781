"""Fit neural networks to a phone: latency tables, a predictor, NetAdaptV2's search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netadapt.android_runner.exports import exports

if TYPE_CHECKING:
    from netadapt.config import RunConfig, read_config
    from netadapt.runs.folder import RunFolder
    from netadapt.runs.result import RunResult
    from netadapt.runs.start import run

__version__ = "0.1.0"

__all__ = ["RunConfig", "RunFolder", "RunResult", "read_config", "run"]

_HOMES = {
    "RunConfig": "netadapt.config",
    "RunFolder": "netadapt.runs.folder",
    "RunResult": "netadapt.runs.result",
    "read_config": "netadapt.config",
    "run": "netadapt.runs.start",
}
__getattr__ = exports(__name__, _HOMES)
