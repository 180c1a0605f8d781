"""Whose a connection is, from the text of Linux's proc(5) and from real sockets of two users."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap

import pytest

from netadapt.virtual_phone import VirtualPhone
from netadapt.virtual_phone.peers import is_own_user, owner_of

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:6D3C 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 41 1
   1: 0100007F:6D3C 0100007F:C4F2 01 00000000:00000000 00:00000000 00000000  1000        0 43 1
   2: 0100007F:C4F2 0100007F:6D3C 01 00000000:00000000 00:00000000 00000000  1001        0 42 1
   3: 0200007F:C4F2 0100007F:6D3C 01 00000000:00000000 00:00000000 00000000  1002        0 44 1
   4: 0100007F:C4F3 0100007F:6D3C 05 00000000:00000000 00:00000000 00000000     0        0 0 1
   5: 0100007F:C4F4 0100007F:6D3C 01 00000000:00000000 00:00000000 00000000     0        0 0 1
"""
TCP6 = """\
  sl  local_address                         remote_address                        st ...
   0: 0000000000000000FFFF00000100007F:C4F5 0000000000000000FFFF00000100007F:6D3C 01 \
00000000:00000000 00:00000000 00000000  1003        0 45 1
   1: 00000000000000000000000001000000:C4F6 00000000000000000000000001000000:6D3C 01 \
00000000:00000000 00:00000000 00000000  1004        0 46 1
"""
HERE = ("127.0.0.1", 0x6D3C)

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the tables' texts are")


@pytest.mark.parametrize(
    ("there", "here", "owner"),
    [
        (("127.0.0.1", 0xC4F2), HERE, 1001),
        (HERE, ("127.0.0.1", 0xC4F2), 1000),
        (("127.0.0.2", 0xC4F2), HERE, 1002),  # the same port, another address
        (("127.0.0.3", 0xC4F2), HERE, None),
        (("127.0.0.1", 0xC4F3), HERE, None),  # closed on its side: shown as root's
        (("127.0.0.1", 0xC4F4), HERE, None),
        (("127.0.0.1", 0xC4F5), HERE, 1003),  # an IPv6 socket that speaks IPv4
        (("::ffff:127.0.0.1", 0xC4F5), HERE, 1003),
        (("::1", 0xC4F6), ("::1", 0x6D3C), 1004),
        (("127.0.0.1", 1), HERE, None),
    ],
)
def test_whose_connection_it_is(
    there: tuple[str, int], here: tuple[str, int], owner: int | None
) -> None:
    assert owner_of([TCP, TCP6], there, here) == owner


def test_what_is_not_told_is_nobodys() -> None:
    assert owner_of([], HERE, HERE) is None
    assert not is_own_user(("127.0.0.1", 1), ("127.0.0.1", 2))


# Connects as another user where this one may become another, prints what comes back.
STRANGER = textwrap.dedent("""
    import os, socket, struct, sys
    family, target, port, source, own_port, user = sys.argv[1:]
    os.setuid(int(user))
    client = socket.socket(getattr(socket, family))
    client.settimeout(10)
    if source:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind((source, int(own_port)))
    client.connect((target, int(port)))
    try:
        client.sendall(bytes.fromhex(
            "434e584e010000010000100007000000bd020000bcb1a7b1") + b"host::\\0")
        print(client.recv(4))
    except ConnectionResetError:
        print(b"")
""")


def connect_as(user: int, family: str, target: str, port: int, source: tuple[str, int]) -> str:
    words = [family, target, str(port), source[0], str(source[1]), str(user)]
    python = "/usr/bin/python3"  # another user may not read this one's
    done = subprocess.run(
        [python, "-I", "-c", STRANGER, *words], capture_output=True, text=True, check=True, cwd="/"
    )
    return done.stdout.strip()


@pytest.mark.skipif(
    os.getuid() != 0 or not os.path.exists("/usr/bin/python3"), reason="takes a second user"
)
@pytest.mark.parametrize(
    ("family", "target"), [("AF_INET", "127.0.0.1"), ("AF_INET6", "::ffff:127.0.0.1")]
)
def test_other_users_are_hung_up_on(phone: VirtualPhone, family: str, target: str) -> None:
    """By whatever family of sockets, and also from the port that an owner's connection has."""
    port = int(phone.address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as mine:
        own_port = mine.getsockname()[1]
        assert connect_as(0, family, target, port, ("", 0)) == "b'AUTH'"
        assert connect_as(65534, family, target, port, ("", 0)) == "b''"
        if family == "AF_INET":
            assert connect_as(65534, family, target, port, ("127.0.0.2", own_port)) == "b''"
