"""The adb daemon protocol's bytes: packets, and the frames of the ``shell,v2`` service. Pure.

Source: Android's ``packages/modules/adb``, ``protocol.txt`` and ``shell_protocol.h``. All integers
are unsigned, 32 bits, little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

VERSION: Final = 0x01000001
MAX_DATA: Final = 1 << 20
MAX_DATA_OF_FIRST_PACKETS: Final = 4096  # what a side may send before it knows the other's limit

CNXN: Final = b"CNXN"
AUTH: Final = b"AUTH"
OPEN: Final = b"OPEN"
OKAY: Final = b"OKAY"
WRTE: Final = b"WRTE"
CLSE: Final = b"CLSE"
COMMANDS: Final = frozenset({CNXN, AUTH, OPEN, OKAY, WRTE, CLSE})

AUTH_TOKEN: Final = 1
AUTH_SIGNATURE: Final = 2
AUTH_PUBLIC_KEY: Final = 3

_HEADER = struct.Struct("<4sIIIII")
_SHELL_HEADER = struct.Struct("<BI")

SHELL_STDIN: Final = 0
SHELL_STDOUT: Final = 1
SHELL_STDERR: Final = 2
SHELL_EXIT: Final = 3
SHELL_CLOSE_STDIN: Final = 4
SHELL_WINDOW_SIZE: Final = 5


class WireError(ValueError):
    """The other side breaks the protocol; the connection cannot continue."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One message: a command, its two arguments (mostly stream numbers) and data."""

    command: bytes
    arg0: int
    arg1: int
    data: bytes = b""

    def encode(self, checksum: bool = False) -> bytes:
        """Header and data.

        Parameters
        ----------
        checksum: fill the field in, which sides from `VERSION` on leave 0.
        """
        code = int.from_bytes(self.command, "little")
        header = _HEADER.pack(
            self.command,
            self.arg0,
            self.arg1,
            len(self.data),
            _checksum(self.data) if checksum else 0,
            code ^ 0xFFFFFFFF,
        )
        return header + self.data


def _checksum(data: bytes) -> int:
    """The protocol calls it a CRC; it is the sum of the bytes."""
    return sum(data) & 0xFFFFFFFF


class PacketReader:
    """Finds packets in a byte stream fed piece by piece.

    Parameters
    ----------
    checksums: compare the data's checksum; set to False once the other side's version is known to
        leave it out.
    max_data: the longest data accepted, in bytes.
    """

    def __init__(self, max_data: int = MAX_DATA) -> None:
        self.checksums = False
        self._max_data = max_data
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Packets completed by ``data``, in order. Raises `WireError` for what is none."""
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            command, arg0, arg1, length, checksum, magic = _HEADER.unpack_from(self._buffer)
            if magic != int.from_bytes(command, "little") ^ 0xFFFFFFFF:
                raise WireError(f"a packet's magic must be its command inverted, got {magic:#x}")
            if length > self._max_data:
                raise WireError(f"data must be at most {self._max_data} bytes, got {length}")
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            if self.checksums and checksum != _checksum(body):
                raise WireError(f"the checksum of a {command!r} packet must match, got {checksum}")
            yield Packet(command, arg0, arg1, body)


@dataclass(frozen=True, slots=True)
class ShellFrame:
    """One frame of a ``shell,v2`` stream: which channel, and its bytes."""

    channel: int
    data: bytes = b""

    def encode(self) -> bytes:
        """Header and data."""
        return _SHELL_HEADER.pack(self.channel, len(self.data)) + self.data


class ShellFrameReader:
    """Finds `ShellFrame` in a byte stream fed piece by piece."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[ShellFrame]:
        """Frames completed by ``data``, in order. Raises `WireError` for a frame beyond 1 MiB."""
        self._buffer += data
        while len(self._buffer) >= _SHELL_HEADER.size:
            channel, length = _SHELL_HEADER.unpack_from(self._buffer)
            if length > MAX_DATA:
                raise WireError(f"a shell frame must hold at most {MAX_DATA} bytes, got {length}")
            end = _SHELL_HEADER.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_SHELL_HEADER.size : end])
            del self._buffer[:end]
            yield ShellFrame(channel, body)
