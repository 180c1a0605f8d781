"""The one thing that differs between real devices: how the runner is started there and heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol


class RunnerProcess(Protocol):
    """A runner under way."""

    def read(self, timeout_s: float) -> bytes | None:
        """Output as it comes: ``b""`` at its end, None if nothing came for ``timeout_s``."""
        ...

    def kill(self) -> None:
        """End the process at once; harmless when it has ended."""
        ...

    def wait(self) -> str:
        """Wait until the ended process is gone; how it ended, with its last words, in a line.

        Called only after the output's end or `kill`.
        """
        ...


class Transport(Protocol):
    """Puts files and the runner on a device and starts it."""

    def start(
        self, files: Mapping[str, bytes], arguments: Sequence[str]
    ) -> AbstractContextManager[RunnerProcess]:
        """Start the runner in a folder of its own that holds ``files``, or names them to it.

        Leaving the context kills the process. Where files are kept for next time, the argument
        ``at.NAME`` says where the one called NAME lies (docs/protocol.md).
        """
        ...
