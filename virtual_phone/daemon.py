"""One adb connection, the phone's side: handshake, streams, and flow control between them.

A side that has sent WRTE waits for the other's OKAY before it sends the next one on that stream; a
stream's data are acknowledged when its service takes them, so a slow service slows its sender.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from netadapt.virtual_phone import wire
from netadapt.virtual_phone.auth import PublicKey, new_token
from netadapt.virtual_phone.wire import Packet, PacketReader, WireError

logger = logging.getLogger(__name__)

_READ_BYTES = 1 << 18


class StreamClosed(ConnectionError):
    """The other side has closed the stream, or the connection is gone."""


class Stream:
    """One open service's byte stream."""

    def __init__(self, connection: Connection, local: int, remote: int) -> None:
        self._connection = connection
        self._local = local
        self._remote = remote
        self._received: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._unread = b""
        self.closed = False

    async def read(self) -> bytes:
        """The next piece of data; ``b""`` when the other side has closed the stream."""
        if self._unread:
            data, self._unread = self._unread, b""
            return data
        if self.closed and self._received.empty():
            return b""
        item = await self._received.get()
        if item is None:
            return b""
        await self._connection.send(Packet(wire.OKAY, self._local, self._remote))
        return item

    async def read_exactly(self, count: int) -> bytes:
        """``count`` bytes. Raises `StreamClosed` when the stream ends before."""
        pieces: list[bytes] = []
        missing = count
        while missing:
            data = await self.read()
            if not data:
                raise StreamClosed(f"{missing} of {count} bytes never came")
            pieces.append(data[:missing])
            self._unread = data[missing:]
            missing -= len(pieces[-1])
        return b"".join(pieces)

    async def write(self, data: bytes) -> None:
        """Send all of ``data``, each packet once the one before was taken.

        Raises `StreamClosed` when the other side does not want it any more.
        """
        limit = self._connection.peer_max_data
        for start in range(0, len(data), limit):
            await self._may_write.wait()
            if self.closed:
                raise StreamClosed("the other side has closed the stream")
            self._may_write.clear()
            piece = data[start : start + limit]
            await self._connection.send(Packet(wire.WRTE, self._local, self._remote, piece))

    async def close(self) -> None:
        """End the stream once all that was written has been taken; harmless when it has ended."""
        if not self.closed:
            await self._may_write.wait()
        await self.cut()

    async def cut(self) -> None:
        """End the stream at once."""
        if not self.closed:
            self._end()
            with contextlib.suppress(ConnectionError):
                await self._connection.send(Packet(wire.CLSE, self._local, self._remote))

    def take(self, data: bytes) -> None:
        """The other side's data have come."""
        self._received.put_nowait(data)

    def allow_write(self) -> None:
        """The other side has taken what was written."""
        self._may_write.set()

    def end(self) -> None:
        """The other side has closed it, or the connection is gone."""
        if not self.closed:
            self._end()

    def _end(self) -> None:
        self.closed = True
        self._connection.forget(self._local)
        self._received.put_nowait(None)
        self._may_write.set()


Service = Callable[[Stream], Awaitable[None]]


class Owner(Protocol):
    """What a connection needs to know of its phone."""

    def banner(self) -> str:
        """Identity and features, as in the phone's CNXN."""
        ...

    def service(self, name: str) -> Service | None:
        """What answers to OPEN ``name``; None when nothing does."""
        ...

    def trusted_keys(self) -> list[PublicKey]:
        """Keys that are let in without a question."""
        ...

    async def ask(self, key: PublicKey) -> None:
        """Show the question "allow this computer?"; returns when it was answered with yes."""
        ...


class Connection:
    """An accepted TCP connection, served until it ends."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        owner: Owner,
        max_data: int = wire.MAX_DATA,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._owner = owner
        self._max_data = max_data
        self._packets = PacketReader(max_data)
        self._checksums = False
        self._streams: dict[int, Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_id = 0
        self._token = b""
        self._online = False
        self._audible = asyncio.Event()
        self._audible.set()
        self.peer_max_data = wire.MAX_DATA_OF_FIRST_PACKETS

    async def run(self) -> None:
        """Serve until the other side goes or breaks the protocol."""
        try:
            while data := await self._reader.read(_READ_BYTES):
                for packet in self._packets.feed(data):
                    await self._audible.wait()
                    await self._take(packet)
        except WireError as error:
            logger.warning("hung up on a client: %s", error)
        except ConnectionError as error:
            logger.info("a client is gone: %s", error)
        finally:
            for stream in list(self._streams.values()):
                stream.end()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self.hang_up()

    def hang_up(self) -> None:
        """Drop the connection as a pulled cable does."""
        self._audible.set()
        self._writer.transport.abort()

    def mute(self) -> None:
        """Receive and send nothing from now on, but stay connected."""
        self._audible.clear()

    async def send(self, packet: Packet) -> None:
        """Send one packet. Raises `ConnectionError` when nobody is there any more."""
        await self._audible.wait()
        if self._writer.is_closing():
            raise StreamClosed("the connection is gone")
        self._writer.write(packet.encode(self._checksums))
        await self._writer.drain()

    def forget(self, local: int) -> None:
        """A stream has ended."""
        self._streams.pop(local, None)

    async def _take(self, packet: Packet) -> None:
        match packet.command:
            case wire.CNXN:
                await self._connect(packet)
            case wire.AUTH:
                await self._authenticate(packet)
            case _ if not self._online:
                logger.info("ignored %r before the handshake", packet.command)
            case wire.OPEN:
                await self._open(packet)
            case wire.OKAY:
                if stream := self._streams.get(packet.arg1):
                    stream.allow_write()
            case wire.WRTE:
                if stream := self._streams.get(packet.arg1):
                    stream.take(packet.data)
            case wire.CLSE:
                if stream := self._streams.get(packet.arg1):
                    stream.end()
                    await self.send(Packet(wire.CLSE, packet.arg1, packet.arg0))
            case _:
                raise WireError(f"a command must be one of the protocol's, got {packet.command!r}")

    async def _connect(self, packet: Packet) -> None:
        self._checksums = self._packets.checksums = packet.arg0 < wire.VERSION
        self.peer_max_data = min(packet.arg1, self._max_data)
        if self.peer_max_data <= 0:
            raise WireError(f"maxdata must be above 0, got {packet.arg1}")
        await self._challenge()

    async def _welcome(self) -> None:
        self._online = True
        banner = self._owner.banner().encode()
        await self.send(Packet(wire.CNXN, wire.VERSION, self._max_data, banner))

    async def _challenge(self) -> None:
        self._token = new_token()
        await self.send(Packet(wire.AUTH, wire.AUTH_TOKEN, 0, self._token))

    async def _authenticate(self, packet: Packet) -> None:
        if self._online or not self._token:
            return
        if packet.arg0 == wire.AUTH_SIGNATURE:
            if any(key.signed(self._token, packet.data) for key in self._owner.trusted_keys()):
                await self._welcome()
            else:
                await self._challenge()
        elif packet.arg0 == wire.AUTH_PUBLIC_KEY and (key := PublicKey.decode(packet.data)):
            self._start(self._ask(key))

    async def _ask(self, key: PublicKey) -> None:
        await self._owner.ask(key)
        await self._welcome()

    async def _open(self, packet: Packet) -> None:
        name = packet.data.rstrip(b"\0").decode(errors="surrogateescape")
        service = self._owner.service(name)
        if packet.arg0 == 0 or service is None:
            await self.send(Packet(wire.CLSE, 0, packet.arg0))
            return
        self._last_id += 1
        stream = Stream(self, self._last_id, packet.arg0)
        self._streams[self._last_id] = stream
        await self.send(Packet(wire.OKAY, self._last_id, packet.arg0))
        self._start(self._serve(service, stream))

    async def _serve(self, service: Service, stream: Stream) -> None:
        try:
            await service(stream)
            await stream.close()
        except ConnectionError as error:
            logger.info("a stream ended early: %s", error)
        except (WireError, OSError) as error:
            logger.warning("closed a stream: %s", error)
        finally:
            await stream.cut()

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
