"""What a ``.pte`` states about itself, read without ExecuTorch.

A program is a flatbuffer of ExecuTorch's ``schema/program.fbs``: at byte 4 the file identifier,
whose number changes with the format; in its root table the schema's version and, by method, the
backends that parts of it were lowered for. Table fields are numbered in the order of that file.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

IDENTIFIER: Final = "ET12"
"""The format that ExecuTorch 1.x reads and writes."""
SCHEMA_VERSION: Final = 0

_PROGRAM_VERSION, _PROGRAM_PLANS = 0, 1
_PLAN_DELEGATES = 7
_DELEGATE_ID = 0


@dataclass(frozen=True, slots=True)
class ProgramFormat:
    """What a program's file says of itself.

    Parameters
    ----------
    identifier: the four characters that name the format.
    backends: those it needs.
    """

    identifier: str
    schema_version: int
    backends: frozenset[str]


def read_format(data: bytes) -> ProgramFormat | None:
    """What the program states, or None where the bytes are none or are damaged."""
    identifier = data[4:8]
    if not re.fullmatch(rb"ET\d\d", identifier):
        return None
    if identifier != IDENTIFIER.encode():  # laid out in a way that is not known here
        return ProgramFormat(identifier.decode(), SCHEMA_VERSION, frozenset())
    try:
        program = _Table(data, _u32(data, 0))
        version = program.u32(_PROGRAM_VERSION)
        backends = frozenset(
            delegate.text(_DELEGATE_ID)
            for plan in program.tables(_PROGRAM_PLANS)
            for delegate in plan.tables(_PLAN_DELEGATES)
        )
    except (struct.error, ValueError):
        return None
    return ProgramFormat(IDENTIFIER, version, backends)


def format_problem(data: bytes) -> str | None:
    """Why no runner of this version can read the program, in a line; None where one may.

    Damaged programs are left to the runtime, which checks far more than this.
    """
    found = read_format(data)
    if found is None:
        return None
    if found.identifier != IDENTIFIER:
        return (
            f"a program's format must be {IDENTIFIER}, got {found.identifier}; lower it with the "
            "ExecuTorch that is installed here"
        )
    if found.schema_version != SCHEMA_VERSION:
        return (
            f"a program's schema version must be {SCHEMA_VERSION}, got {found.schema_version}; "
            "lower it with the ExecuTorch that is installed here"
        )
    return None


class _Table:
    """A flatbuffer table at `position`; raises `struct.error` or `ValueError` outside the data."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position
        self._vtable = position - struct.unpack_from("<i", data, position)[0]
        if self._vtable < 0:
            raise ValueError("a table's layout lies outside the data")
        (self._vtable_bytes,) = struct.unpack_from("<H", data, self._vtable)

    def u32(self, field: int) -> int:
        position = self._field(field)
        return 0 if position is None else _u32(self._data, position)

    def text(self, field: int) -> str:
        position = self._field(field)
        if position is None:
            return ""
        start = position + _u32(self._data, position)
        length = _u32(self._data, start)
        if start + 4 + length > len(self._data):
            raise ValueError("a string reaches beyond the data")
        return self._data[start + 4 : start + 4 + length].decode()

    def tables(self, field: int) -> Iterator[_Table]:
        position = self._field(field)
        if position is None:
            return
        start = position + _u32(self._data, position)
        for index in range(_u32(self._data, start)):
            item = start + 4 + 4 * index
            yield _Table(self._data, item + _u32(self._data, item))

    def _field(self, field: int) -> int | None:
        entry = 4 + 2 * field
        if entry + 2 > self._vtable_bytes:
            return None
        (offset,) = struct.unpack_from("<H", self._data, self._vtable + entry)
        return self._position + offset if offset else None


def _u32(data: bytes, position: int) -> int:
    value: int = struct.unpack_from("<I", data, position)[0]
    return value
