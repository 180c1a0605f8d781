"""The ``shell:`` and ``exec:`` services: a command or an interactive shell over one stream."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import struct
import subprocess
import termios
from dataclasses import dataclass
from typing import Final, Protocol

from netadapt.virtual_phone import wire
from netadapt.virtual_phone.daemon import Stream
from netadapt.virtual_phone.wire import ShellFrame, ShellFrameReader

_READ_BYTES: Final = 1 << 16
_WINDOW: Final = re.compile(rb"(\d+)x(\d+),(\d+)x(\d+)")


@dataclass(frozen=True, slots=True)
class ShellRequest:
    """What somebody asks the phone to run.

    Parameters
    ----------
    command: None for an interactive shell.
    frames: the v2 protocol.
    terminal: a pty.
    """

    command: str | None
    frames: bool
    terminal: bool

    @classmethod
    def parse(cls, service: str) -> ShellRequest | None:
        """Read ``shell[,v2][,raw|pty][,TERM=...]:[COMMAND]`` or ``exec:COMMAND``; else None."""
        head, colon, command = service.partition(":")
        kind, *options = head.split(",")
        if not colon or kind not in ("shell", "exec"):
            return None
        terminal = not command and kind == "shell"
        frames = False
        for option in options:
            if option == "v2":
                frames = True
            elif option in ("raw", "pty"):
                terminal = option == "pty"
            elif not option.startswith("TERM="):
                return None
        return cls(command or None, frames and kind == "shell", terminal)


class OutputFilter(Protocol):
    """Changes a stream of output as it passes."""

    def feed(self, data: bytes) -> bytes:
        """What to pass on now."""
        ...

    def end(self) -> bytes:
        """What was held back, at the stream's end."""
        ...


class ShellHost(Protocol):
    """What the service needs to know of its phone."""

    def spawn(
        self, command: str | None, stdin: int, stdout: int, stderr: int, terminal: bool
    ) -> subprocess.Popen[bytes]:
        """Start the phone's shell."""
        ...

    def open_terminal(self) -> tuple[int, int]:
        """Descriptors of a new terminal: our end, and the shell's."""
        ...

    def output_filter(self, shell: subprocess.Popen[bytes]) -> OutputFilter:
        """A filter for one of the shell's output channels."""
        ...

    def passing(self, shell: subprocess.Popen[bytes], data: bytes) -> bytes:
        """Output is about to be sent; returns what is really sent."""
        ...

    def is_cut(self, shell: subprocess.Popen[bytes]) -> bool:
        """Whether the shell's output has been cut off."""
        ...


class ShellService:
    """Serves one stream; the process outlives a stream that ends before it, as on a phone."""

    def __init__(self, stream: Stream, request: ShellRequest, host: ShellHost) -> None:
        self._stream = stream
        self._request = request
        self._host = host
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        """Run the command to its end, or until the other side closes the stream."""
        if self._request.terminal:
            shell, stdin, channels = self._start_on_terminal()
        else:
            shell, stdin, channels = self._start_on_pipes()
        from_client = asyncio.ensure_future(self._pass_input(stdin))
        to_client = asyncio.ensure_future(self._pass_outputs(shell, channels))
        try:
            await asyncio.wait({from_client, to_client}, return_when=asyncio.FIRST_COMPLETED)
            if not to_client.done():  # the other side has gone
                return
            await to_client
            code = await _exit_code(shell)
            if self._request.frames and not self._host.is_cut(shell):
                await self._send(ShellFrame(wire.SHELL_EXIT, bytes([code])).encode())
        finally:
            for task in (from_client, to_client):
                task.cancel()
            await asyncio.gather(from_client, to_client, return_exceptions=True)

    def _start_on_pipes(self) -> tuple[subprocess.Popen[bytes], int, dict[int, int]]:
        with contextlib.ExitStack() as theirs:
            pipes = {}
            for channel in (wire.SHELL_STDIN, wire.SHELL_STDOUT, wire.SHELL_STDERR):
                if channel == wire.SHELL_STDERR and not self._request.frames:
                    continue
                reading, writing = os.pipe()
                mine, other = (
                    (writing, reading) if channel == wire.SHELL_STDIN else (reading, writing)
                )
                theirs.callback(os.close, other)
                pipes[channel] = (mine, other)
            try:
                stderr = pipes.get(wire.SHELL_STDERR, pipes[wire.SHELL_STDOUT])[1]
                shell = self._host.spawn(
                    self._request.command,
                    pipes[wire.SHELL_STDIN][1],
                    pipes[wire.SHELL_STDOUT][1],
                    stderr,
                    False,
                )
            except BaseException:
                for mine, _ in pipes.values():
                    os.close(mine)
                raise
        stdin = pipes.pop(wire.SHELL_STDIN)[0]
        return shell, stdin, {channel: mine for channel, (mine, _) in pipes.items()}

    def _start_on_terminal(self) -> tuple[subprocess.Popen[bytes], int, dict[int, int]]:
        master, slave = self._host.open_terminal()
        try:
            shell = self._host.spawn(self._request.command, slave, slave, slave, True)
        except BaseException:
            os.close(master)
            raise
        finally:
            os.close(slave)
        return shell, os.dup(master), {wire.SHELL_STDOUT: master}

    async def _pass_outputs(self, shell: subprocess.Popen[bytes], channels: dict[int, int]) -> None:
        await asyncio.gather(
            *(self._pass_output(shell, fd, channel) for channel, fd in channels.items())
        )

    async def _pass_output(self, shell: subprocess.Popen[bytes], fd: int, channel: int) -> None:
        output = self._host.output_filter(shell)
        reader, transport = await _reader(fd)
        try:
            while True:
                try:
                    data = await reader.read(_READ_BYTES)
                except OSError:  # how a terminal ends
                    data = b""
                passed = output.feed(data) if data else output.end()
                passed = self._host.passing(shell, passed)
                if self._host.is_cut(shell):
                    return
                if passed:
                    await self._send(
                        ShellFrame(channel, passed).encode() if self._request.frames else passed
                    )
                if not data:
                    return
        finally:
            transport.close()

    async def _send(self, data: bytes) -> None:
        async with self._sending:
            await self._stream.write(data)

    async def _pass_input(self, fd: int) -> None:
        """Until the other side closes the stream; the shell's own end of input comes before."""
        terminal = self._request.terminal
        writer = await _writer(fd)
        frames = ShellFrameReader()
        try:
            while data := await self._stream.read():
                pieces = frames.feed(data) if self._request.frames else [ShellFrame(0, data)]
                for frame in pieces:
                    if frame.channel == wire.SHELL_STDIN:
                        with contextlib.suppress(ConnectionError):
                            writer.write(frame.data)
                            await writer.drain()
                    elif frame.channel == wire.SHELL_CLOSE_STDIN and not terminal:
                        writer.close()
                    elif frame.channel == wire.SHELL_WINDOW_SIZE and terminal:
                        _resize(fd, frame.data)
        finally:
            writer.close()


def _resize(fd: int, text: bytes) -> None:
    if found := _WINDOW.match(text):
        size = struct.pack("HHHH", *(min(int(number), 0xFFFF) for number in found.groups()))
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, termios.TIOCSWINSZ, size)


async def _reader(fd: int) -> tuple[asyncio.StreamReader, asyncio.BaseTransport]:
    reader = asyncio.StreamReader(limit=1 << 20)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", buffering=0)
    )
    return reader, transport


async def _writer(fd: int) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(fd, "wb", buffering=0)
    )
    return asyncio.StreamWriter(transport, protocol, None, loop)


async def _exit_code(shell: subprocess.Popen[bytes]) -> int:
    code = await asyncio.get_running_loop().run_in_executor(None, shell.wait)
    return code if code >= 0 else 128 - code
