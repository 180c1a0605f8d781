"""Where this toolkit keeps what can be made again, and what processes agree by."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """``$NETADAPT_CACHE`` where set, else the user's cache folder; may not exist yet."""
    chosen = os.environ.get("NETADAPT_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("netadapt")


def lock_folder() -> Path:
    """In the user's runtime folder (``$XDG_RUNTIME_DIR``), which ends with the session."""
    return platformdirs.user_runtime_path("netadapt")
