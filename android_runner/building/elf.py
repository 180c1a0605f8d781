"""For which processor and system a binary or a static library is made, from its ELF header."""

from __future__ import annotations

import platform
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netadapt.android_runner.errors import InvalidRunError

_MAGIC: Final = b"\x7fELF"
_ARCHIVE_MAGIC: Final = b"!<arch>\n"
_ARCHIVE_HEADER: Final = 60
_PT_INTERP: Final = 3

# ELF's number of a processor: Linux's name of it, the name Android gives to its ABI.
_MACHINES: Final = {
    183: ("aarch64", "arm64-v8a"),
    40: ("arm", "armeabi-v7a"),
    62: ("x86_64", "x86_64"),
    3: ("x86", "x86"),
    243: ("riscv64", "riscv64"),
}
ANDROID_ABIS: Final = dict(_MACHINES.values())


@dataclass(frozen=True, slots=True)
class ElfFacts:
    """What an ELF file says of itself.

    Parameters
    ----------
    machine: as `uname -m` names it, or its number.
    interpreter: None for static programs.
    """

    machine: str
    interpreter: str | None

    @property
    def android_abi(self) -> str:
        """What Android calls programs for this processor, e.g. ``arm64-v8a``."""
        return ANDROID_ABIS.get(self.machine, self.machine)


def read_elf(data: bytes) -> ElfFacts:
    """Raises `InvalidRunError` for bytes that are no little-endian ELF file."""
    if data[:4] != _MAGIC or len(data) < 64 or data[5] != 1:
        raise InvalidRunError("not a little-endian ELF file")  # callers add which, and what next
    wide = data[4] == 2
    (number,) = struct.unpack_from("<H", data, 18)
    machine = _MACHINES[number][0] if number in _MACHINES else f"machine {number}"
    if wide:
        table, entry_bytes, count = (
            *struct.unpack_from("<Q", data, 32),
            *struct.unpack_from("<HH", data, 54),
        )
    else:
        table, entry_bytes, count = (
            *struct.unpack_from("<I", data, 28),
            *struct.unpack_from("<HH", data, 42),
        )
    interpreter = None
    for entry in range(table, min(table + entry_bytes * count, len(data) - 56), entry_bytes or 1):
        (kind,) = struct.unpack_from("<I", data, entry)
        if kind == _PT_INTERP:
            start, size = (
                (
                    struct.unpack_from("<Q", data, entry + 8)[0],
                    struct.unpack_from("<Q", data, entry + 32)[0],
                )
                if wide
                else (
                    struct.unpack_from("<I", data, entry + 4)[0],
                    struct.unpack_from("<I", data, entry + 16)[0],
                )
            )
            interpreter = data[start : start + size].rstrip(b"\0").decode(errors="replace")
    return ElfFacts(machine, interpreter)


def library_machine(path: Path) -> str | None:
    """The processor that a static or shared library is made for; None where it is not known."""
    with path.open("rb") as file:
        head = file.read(64)
        if head[:4] == _MAGIC:
            return read_elf(head).machine
        if not head.startswith(_ARCHIVE_MAGIC):
            return None
        position = len(_ARCHIVE_MAGIC)
        while True:
            file.seek(position)
            header = file.read(_ARCHIVE_HEADER)
            if len(header) < _ARCHIVE_HEADER:
                return None
            member = file.read(64)
            if member[:4] == _MAGIC:
                try:
                    return read_elf(member).machine
                except ValueError:
                    return None
            try:
                size = int(header[48:58])
            except ValueError:
                return None
            position += _ARCHIVE_HEADER + size + size % 2


def this_machine() -> str:
    """This machine's processor, named as `ElfFacts.machine` names it."""
    name = platform.machine()
    return {"arm64": "aarch64", "AMD64": "x86_64", "i686": "x86", "armv7l": "arm"}.get(name, name)
