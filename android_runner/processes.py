"""Worker processes that end with the one that started them, and leave signals to it."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_SET_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG of Linux's prctl(2)


def end_with(parent: int) -> None:
    """Called in a worker process: from now on it ends with process `parent`, however that ends."""
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


@contextmanager
def signals_held() -> Iterator[None]:
    """Processes started within leave Ctrl-C and the like to this one, which ends them.

    They also start processes that warn of what an ended one could not put away, and do it then.
    """
    ours = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ours)
    given = os.environ.get("PYTHONWARNINGS")
    silent = "ignore:resource_tracker:UserWarning"
    os.environ["PYTHONWARNINGS"] = f"{given},{silent}" if given else silent
    try:
        yield
    finally:
        if given is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = given
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
