"""Whose a connection is: asked of the system; nobody's where it does not answer."""

from __future__ import annotations

import ipaddress
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED: Final = "01"
_NO_FILE: Final = "0"  # a socket whose process has closed it is shown as root's

Address = tuple[str, int]
"""An IP address and a port."""


def is_own_user(there: Address, here: Address) -> bool:
    """Whether the connection from `there` is of this process's user, or of root.

    False where the system does not know, as of a connection whose other end is closed already.

    Parameters
    ----------
    there, here: the other end's address and this end's.
    """
    return owner_of(map(_read, _TABLES), there, here) in (0, os.getuid())


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # no such table here


def owner_of(tables: Iterable[str], there: Address, here: Address) -> int | None:
    """The user who holds the end `there` of a connection to `here`; None: not known.

    An IPv6 socket stands in the second table also when it speaks IPv4.

    Parameters
    ----------
    tables: texts in the format of Linux's ``/proc/net/tcp`` and ``tcp6`` (proc(5)).
    """
    wanted = (_plain(there), _plain(here))
    for table in tables:
        for line in table.splitlines()[1:]:
            fields = line.split()
            held = fields[3] == _ESTABLISHED and fields[9] != _NO_FILE
            if held and (_address(fields[1]), _address(fields[2])) == wanted:
                return int(fields[7])
    return None


def _address(text: str) -> Address:
    """``0100007F:6D3C``: words of 32 bits in the machine's order, then the port."""
    words, _, port = text.rpartition(":")
    numbers = (int(words[start : start + 8], 16) for start in range(0, len(words), 8))
    packed = b"".join(struct.pack("=I", number) for number in numbers)
    return _plain((str(ipaddress.ip_address(packed)), int(port, 16)))


def _plain(address: Address) -> Address:
    """The same address with IPv4 in IPv6's clothes as what it is."""
    host = ipaddress.ip_address(address[0])
    if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None:
        return str(host.ipv4_mapped), address[1]
    return str(host), address[1]
