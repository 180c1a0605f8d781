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
    """``$XDG_RUNTIME_DIR/netadapt``, which ends with the session; without one, beside the cache."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "netadapt" if runtime else cache_folder() / "locks"
