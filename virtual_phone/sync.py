"""The ``sync:`` service: files in and out. STAT, LIST, SEND, RECV, their second versions, QUIT."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
import struct
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from netadapt.virtual_phone.daemon import Stream
from netadapt.virtual_phone.no_links import create_plain, open_plain, remove_plain
from netadapt.virtual_phone.policy import DaemonPolicy
from netadapt.virtual_phone.wire import WireError

logger = logging.getLogger(__name__)

MAX_CHUNK: Final = 64 * 1024
MAX_PATH: Final = 1024

_REQUEST = struct.Struct("<4sI")
_STAT_1 = struct.Struct("<4sIII")
_ENTRY_1 = struct.Struct("<4sIIII")
_STAT_2 = struct.Struct("<4sIQQIIIIQqqq")
_ENTRY_2 = struct.Struct("<4sIQQIIIIQqqqI")
_SEND_2 = struct.Struct("<4sII")
_RECV_2 = struct.Struct("<4sI")


class Files(Protocol):
    """What the service needs to know of its phone."""

    @property
    def policy(self) -> DaemonPolicy:
        """Where files lie on this machine, and what may be done with them."""
        ...

    def free_bytes(self) -> int:
        """Room left for files."""
        ...

    def clock_offset_s(self) -> int:
        """How far the phone's clock is ahead of this machine's."""
        ...

    def push(self, path: str) -> AbstractContextManager[Push]:
        """A file is about to come in."""
        ...


class Push(Protocol):
    """A file on its way in."""

    def take(self, data: bytes) -> bytes:
        """What of ``data`` reaches the disk. Raises `OSError` when the disk is full."""
        ...

    def finish(self, path: Path) -> None:
        """The whole file lies at ``path``."""
        ...

    def half_stays(self) -> bool:
        """Whether half a file is left behind, as by a phone that goes down."""
        ...


class SyncService:
    """Serves one ``sync:`` stream."""

    def __init__(self, stream: Stream, files: Files) -> None:
        self._stream = stream
        self._files = files

    async def run(self) -> None:
        """Answer requests until QUIT, the stream's end, or a file that cannot be had or kept."""
        handlers = {
            b"STAT": self._stat,
            b"LST2": self._stat_2,
            b"STA2": self._stat_2,
            b"LIST": self._list,
            b"LIS2": self._list,
            b"SEND": self._send,
            b"SND2": self._send,
            b"RECV": self._receive,
            b"RCV2": self._receive,
        }
        while True:
            request, length = await self._request()
            if request == b"QUIT":
                return
            if length > MAX_PATH or request not in handlers:
                await self._fail(f"unknown request {request!r} or a path longer than {MAX_PATH}")
                return
            path = (await self._stream.read_exactly(length)).decode(errors="surrogateescape")
            if not await handlers[request](request, path):
                return  # as adb's daemon does, which hangs up after a FAIL

    async def _request(self) -> tuple[bytes, int]:
        request, number = _REQUEST.unpack(await self._stream.read_exactly(_REQUEST.size))
        return request, number

    async def _fail(self, message: str) -> None:
        data = message.encode(errors="surrogateescape")
        await self._stream.write(_REQUEST.pack(b"FAIL", len(data)) + data)

    async def _stat(self, request: bytes, path: str) -> bool:
        try:
            found = os.lstat(self._files.policy.to_look_at(path, follow=False))
        except OSError:
            await self._stream.write(_STAT_1.pack(request, 0, 0, 0))
        else:
            await self._stream.write(
                _STAT_1.pack(
                    request, found.st_mode, found.st_size & 0xFFFFFFFF, self._time(found.st_mtime)
                )
            )
        return True

    async def _stat_2(self, request: bytes, path: str) -> bool:
        try:
            found = os.lstat(self._files.policy.to_look_at(path, follow=request == b"STA2"))
        except OSError as error:
            empty = (0,) * 10
            await self._stream.write(_STAT_2.pack(request, error.errno or errno.EIO, *empty))
        else:
            await self._stream.write(_STAT_2.pack(request, *self._facts_2(found)))
        return True

    def _time(self, seconds: float) -> int:
        return int(seconds) + self._files.clock_offset_s()

    def _facts_2(self, found: os.stat_result) -> tuple[int, ...]:
        return (
            0,
            found.st_dev,
            found.st_ino,
            found.st_mode,
            found.st_nlink,
            found.st_uid,
            found.st_gid,
            found.st_size,
            self._time(found.st_atime),
            self._time(found.st_mtime),
            self._time(found.st_ctime),
        )

    async def _list(self, request: bytes, path: str) -> bool:
        second = request == b"LIS2"
        entry = _ENTRY_2 if second else _ENTRY_1
        reply = bytearray()
        try:
            names = sorted(os.listdir(self._files.policy.to_read(path)))
        except OSError:
            names = []  # as on a phone: nothing there looks like an empty folder
        for name in names:
            try:
                found = os.lstat(self._files.policy.to_look_at(f"{path}/{name}", follow=False))
            except OSError:
                continue  # gone meanwhile, or nothing for the daemon
            encoded = os.fsencode(name)
            if second:
                reply += entry.pack(b"DNT2", *self._facts_2(found), len(encoded))
            else:
                size = found.st_size & 0xFFFFFFFF
                when = self._time(found.st_mtime)
                reply += entry.pack(b"DENT", found.st_mode, size, when, len(encoded))
            reply += encoded
        reply += b"DONE".ljust(entry.size, b"\0")
        await self._stream.write(bytes(reply))
        return True

    async def _receive(self, request: bytes, path: str) -> bool:
        if request == b"RCV2":
            _, flags = _RECV_2.unpack(await self._stream.read_exactly(_RECV_2.size))
            if flags:
                await self._fail("compression was not announced")
                return False
        try:
            file = open_plain(self._files.policy.to_read(path), os.O_RDONLY)
        except OSError as error:
            await self._fail(f"open failed: {error.strerror}")
            return False
        try:
            while True:
                try:
                    data = os.read(file, MAX_CHUNK)
                except OSError as error:  # a folder's
                    await self._fail(f"read failed: {error.strerror}")
                    return False
                if not data:
                    break
                await self._stream.write(_REQUEST.pack(b"DATA", len(data)) + data)
        finally:
            os.close(file)
        await self._stream.write(_REQUEST.pack(b"DONE", 0))
        return True

    async def _send(self, request: bytes, path: str) -> bool:
        if request == b"SND2":
            _, mode, flags = _SEND_2.unpack(await self._stream.read_exactly(_SEND_2.size))
            if flags & 0x7FFFFFFF:
                await self._fail("compression was not announced")
                return False
        else:
            path, _, number = path.rpartition(",")
            try:
                mode = int(number)
            except ValueError:
                await self._fail("missing , in ID_SEND")
                return False
        if stat.S_ISLNK(mode):
            return await self._refuse_link()
        with self._files.push(path) as push:
            return await self._receive_file(path, mode, push)

    async def _refuse_link(self) -> bool:
        """What every phone does whose daemon is not root; it leaves the rest unread."""
        _, length = await self._request()
        await self._stream.read_exactly(min(length, MAX_CHUNK))
        await self._fail(f"symlink failed: {os.strerror(errno.EACCES)}")
        return False

    async def _receive_file(self, path: str, mode: int, push: Push) -> bool:
        """Whether the file was kept. Its data are taken to their end in any case.

        The sender reads an answer only afterwards.
        """
        target: Path | None = None  # once it is made
        file: BinaryIO | None = None
        failed = False
        try:
            try:
                place = self._files.policy.to_write(path)
                file = os.fdopen(create_plain(place), "wb", buffering=0)
                target = place
            except OSError as error:
                failed = True
                await self._fail(f"couldn't create file: {error.strerror}")
            while True:
                kind, number = await self._request()
                if kind == b"DONE":
                    break
                if kind != b"DATA" or number > MAX_CHUNK:
                    raise WireError(
                        f"SEND takes DATA up to {MAX_CHUNK} bytes, got {kind!r} {number}"
                    )
                data = await self._stream.read_exactly(number)
                if failed or file is None:
                    continue
                try:
                    file.write(push.take(data))
                except OSError as error:
                    failed = True
                    await self._fail(f"write failed: {error.strerror}")
            if failed or target is None or file is None:
                _remove(target)
                return False
            os.fchmod(file.fileno(), stat.S_IMODE(mode) & 0o777)
            os.utime(file.fileno(), (number, number))
            push.finish(target)
            await self._stream.write(_REQUEST.pack(b"OKAY", 0))
            return True
        except (ConnectionError, asyncio.CancelledError):
            if not push.half_stays():  # as a phone does when the sender is gone
                _remove(target)
            raise
        finally:
            if file is not None:
                file.close()


def _remove(path: Path | None) -> None:
    if path is not None:
        remove_plain(path)
