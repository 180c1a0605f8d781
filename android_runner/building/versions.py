"""Which ExecuTorch lowers programs here."""

from __future__ import annotations

import importlib.metadata
from typing import Final

UNKNOWN_RUNTIME: Final = "unknown"
"""The version of a runtime where nothing names it."""


def lowering_version() -> str | None:
    """The version of the ExecuTorch package that lowers programs here; None where there is none."""
    try:
        return importlib.metadata.version("executorch")
    except importlib.metadata.PackageNotFoundError:
        return None
