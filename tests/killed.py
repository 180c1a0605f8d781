"""Processes that a test kills at any moment, again and again.

They are forked from one that has imported what they need, which takes each by itself seconds.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED = [
    "tests.profiler.test_profile",
    "tests.profiler.test_table",
    "tests.search.test_driver",
    "tests.search.test_ranks",
    "tests.search.test_training",
    "sklearn.datasets",  # where digits are
    "torch._dynamo",  # an optimiser's first step imports it
    "torch.fx.experimental.symbolic_shapes",
]


def start_server() -> None:
    """Have the one that all are forked from, before somebody else starts it with less imported."""
    _CONTEXT.set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()


Say = Callable[[object], None]
"""What a process tells the test, which reads it with `Child.told`."""


class Child:
    """A process that runs `target(say, *arguments)`, a function of a module."""

    def __init__(self, target: Callable[..., object], *arguments: object) -> None:
        start_server()
        self._heard, told = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(target=_run, args=(told, target, arguments))
        self._process.start()
        told.close()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def told(self) -> Any:
        """The next thing that it says. Raises `EOFError` where it ends without."""
        return self._heard.recv()

    def kill(self) -> list[Any]:
        """End it at once; what it had said until then and nobody has read."""
        assert self._process.pid is not None
        with contextlib.suppress(ProcessLookupError):  # ended by itself a moment ago
            os.kill(self._process.pid, signal.SIGKILL)
        return self.rest()

    def rest(self) -> list[Any]:
        """Wait for its end; what it has said and nobody has read."""
        said = []
        while True:
            try:
                said.append(self._heard.recv())
            except (EOFError, OSError):  # cut off in the middle of a message
                break
        self._process.join()
        return said

    @property
    def finished(self) -> bool:
        """Whether it came to its end by itself."""
        return self._process.exitcode == 0


def _run(told: Connection, target: Callable[..., object], arguments: tuple[object, ...]) -> None:
    target(told.send, *arguments)
