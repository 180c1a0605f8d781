"""Processes whose libraries lie at the same addresses each time.

Random addresses make some kernels a quarter slower for a process's whole life (docs/protocol.md).
The runner restarts itself without them; one that is started without them need not, and loads its
libraries once: on this machine half of what it takes to start.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_ASK = 0xFFFFFFFF
_ADDR_NO_RANDOMIZE = 0x0040000


@contextmanager
def fixed_addresses() -> Iterator[None]:
    """What this thread starts within has its libraries at fixed addresses, where Linux lets it."""
    personality = getattr(ctypes.CDLL(None), "personality", None)
    before = -1 if personality is None else personality(ctypes.c_ulong(_ASK))
    if personality is None or before == -1:
        yield
        return
    # Of this thread, and inherited; its own addresses were settled when it was started.
    personality(ctypes.c_ulong(before | _ADDR_NO_RANDOMIZE))
    try:
        yield
    finally:
        personality(ctypes.c_ulong(before))
