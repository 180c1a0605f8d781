"""A runner on this machine that stays, and starts every run as a copy of itself.

Against Python's ExecuTorch a runner loads torch's libraries, which takes longer than a run of a few
kernels. So one process loads them, and forks for each run: a process of its own, with buffers of
its own, as if it had been started anew. docs/protocol.md has the other side.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from netadapt.android_runner.errors import DeviceError

_PATIENCE_S = 60.0
_LAST_S = 5.0
_ANSWER = struct.Struct("=i")


class NotServedError(Exception):
    """Whatever was started does not start runs."""


class RunnerServer:
    """Starts the runner at `path` once, and runs of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._owner = 0
        self._link: socket.socket | None = None
        self._end: weakref.finalize[..., RunnerServer] | None = None
        self._asking = threading.Lock()

    def start(self, folder: Path, arguments: Sequence[str], output: int, errors: int) -> Run:
        """Start a run in `folder`; both streams are file descriptors, which stay the caller's.

        Raises `NotServedError` where it does not serve: another program, a runner of another
        version. Raises `DeviceError` where no process can be started.
        """
        request = ["run", str(folder), *arguments]
        with self._asking:
            try:
                process = self._ask(self._linked(), request, [output, errors])
            except OSError:  # anybody may have ended it since the last run
                self._close()
                try:
                    process = self._ask(self._linked(), request, [output, errors])
                except OSError as error:
                    self._close()
                    raise NotServedError from error
            assert self._link is not None
            if process <= 0:
                raise DeviceError(
                    f"a run needs a process of its own, got {os.strerror(-process)}; end other "
                    "programs, then run again"
                )
            return Run(self, self._link, process)

    def conclude(self, run: Run, how: str) -> int:
        """See `Run`."""
        with self._asking:
            try:
                return self._ask(run.link, [how, str(run.process)])
            except OSError:  # the server was ended, and its runs with it
                return -signal.SIGKILL

    def _linked(self) -> socket.socket:
        if self._link is not None and self._owner == os.getpid():
            return self._link
        if self._end is not None:  # it is another process's, of which this one is a copy
            self._end.detach()
        self._owner = os.getpid()
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._link.settimeout(_PATIENCE_S)
        with theirs:
            process = subprocess.Popen(
                [self._path, "serve"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self._end = weakref.finalize(self, _end, process, self._link)
        return self._link

    def _close(self) -> None:
        if self._end is not None:
            self._end()
        self._link = self._end = None

    def _ask(self, link: socket.socket, words: Sequence[str], streams: Sequence[int] = ()) -> int:
        socket.send_fds(link, [b"\0".join(map(os.fsencode, words))], streams)
        answer = link.recv(_ANSWER.size)
        if len(answer) != _ANSWER.size:
            raise ConnectionResetError("no answer")
        number: int = _ANSWER.unpack(answer)[0]
        return number


@dataclass(frozen=True, slots=True)
class Run:
    """A process of a server."""

    server: RunnerServer
    link: socket.socket
    process: int

    def kill(self) -> int:
        """End it; how it ended: its exit code where it already had, else a signal below 0."""
        return self.server.conclude(self, "kill")

    def wait(self) -> int:
        """Wait until it ends by itself; how it did."""
        return self.server.conclude(self, "wait")


def _end(process: subprocess.Popen[bytes], link: socket.socket) -> None:
    # Said, since a copy of this process may hold the socket open
    with link, contextlib.suppress(OSError):
        link.send(b"end")
    try:
        process.wait(_LAST_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
