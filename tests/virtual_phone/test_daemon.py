"""Transcripts of the daemon's side, byte for byte, over a real socket."""

from __future__ import annotations

import base64
import dataclasses
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from netadapt.android_runner.errors import DeviceError, InvalidRunError
from netadapt.virtual_phone import PIXEL_1, VirtualPhone, wire
from netadapt.virtual_phone.auth import PublicKey
from netadapt.virtual_phone.wire import Packet
from tests.virtual_phone.conftest import (
    OWNERS_KEY,
    RawClient,
    SigningKey,
    raw_client,
)

BANNER = (
    b"device::ro.product.name=sailfish;ro.product.model=Pixel;ro.product.device=sailfish;"
    b"features=shell_v2,stat_v2,ls_v2,fixed_push_mkdir"
)
HOST_CNXN = bytes.fromhex("434e584e 01000001 00001000 07000000 00000000 bcb1a7b1") + b"host::\0"
PHONE_CNXN = bytes.fromhex("434e584e 01000001 00001000 83000000 00000000 bcb1a7b1") + BANNER


@pytest.fixture
def client(phone: VirtualPhone) -> Iterator[RawClient]:
    with raw_client(phone) as raw:
        yield raw


def test_a_command_from_hello_to_goodbye(client: RawClient) -> None:
    """``shell:`` in its first version: what it prints, no exit code."""
    client.send(HOST_CNXN)
    challenge = client.receive_bytes(24 + 20)
    assert challenge[:16] == bytes.fromhex("41555448 01000000 00000000 14000000")
    signature = OWNERS_KEY.sign(challenge[24:])
    client.send(bytes.fromhex("41555448 02000000 00000000 00010000 00000000 beaaabb7") + signature)
    assert client.receive_bytes(len(PHONE_CNXN)) == PHONE_CNXN
    client.send(
        bytes.fromhex("4f50454e 07000000 00000000 0e000000 00000000 b0afbab1") + b"shell:echo hi\0"
    )
    okay = bytes.fromhex("4f4b4159 01000000 07000000 00000000 00000000 b0b4bea6")
    written = bytes.fromhex("57525445 01000000 07000000 03000000 00000000 a8adabba") + b"hi\n"
    assert client.receive_bytes(len(okay + written)) == okay + written
    client.send(bytes.fromhex("4f4b4159 07000000 01000000 00000000 00000000 b0b4bea6"))
    closed = bytes.fromhex("434c5345 01000000 07000000 00000000 00000000 bcb3acba")
    assert client.receive_bytes(len(closed)) == closed


def test_the_second_shell_protocol_separates_streams_and_exit_code(client: RawClient) -> None:
    client.greet()
    client.send(Packet(wire.OPEN, 9, 0, b"shell,v2,raw:echo out; sleep 0.2; echo no >&2; exit 7\0"))
    assert client.receive() == Packet(wire.OKAY, 1, 9)
    said = b""
    while (packet := client.receive()).command == wire.WRTE:
        said += packet.data
        client.send(Packet(wire.OKAY, 9, 1))
    assert packet == Packet(wire.CLSE, 1, 9)
    assert said == b"\x01\x04\0\0\0out\n" + b"\x02\x03\0\0\0no\n" + b"\x03\x01\0\0\0\x07"


def test_nothing_more_is_sent_until_what_was_sent_is_taken(client: RawClient) -> None:
    client.greet(max_data=4096)
    client.send(Packet(wire.OPEN, 5, 0, b"exec:head -c 10000 /dev/zero\0"))
    assert client.receive() == Packet(wire.OKAY, 1, 5)
    sizes = []
    while (packet := client.receive()).command == wire.WRTE:
        sizes.append(len(packet.data))
        client.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.receive()
        client.socket.settimeout(10)
        client.send(Packet(wire.OKAY, 5, 1))
    assert sum(sizes) == 10000
    assert max(sizes) <= 4096


def test_data_are_acknowledged_when_they_are_taken(client: RawClient) -> None:
    client.greet()
    client.send(Packet(wire.OPEN, 5, 0, b"exec:head -c 3\0"), Packet(wire.WRTE, 5, 1, b"abc"))
    received = [client.receive() for _ in range(3)]
    assert received[0] == Packet(wire.OKAY, 1, 5)
    assert sorted(received[1:], key=lambda p: p.command) == [
        Packet(wire.OKAY, 1, 5),
        Packet(wire.WRTE, 1, 5, b"abc"),
    ]


def test_an_unknown_service_is_closed_at_once(client: RawClient) -> None:
    client.greet()
    client.send(Packet(wire.OPEN, 3, 0, b"framebuffer:\0"))
    assert client.receive() == Packet(wire.CLSE, 0, 3)


def test_closing_a_stream_is_confirmed_and_frees_it(client: RawClient) -> None:
    client.greet()
    client.send(Packet(wire.OPEN, 3, 0, b"exec:cat\0"))
    assert client.receive() == Packet(wire.OKAY, 1, 3)
    client.send(Packet(wire.CLSE, 3, 1))
    assert client.receive() == Packet(wire.CLSE, 1, 3)
    client.send(Packet(wire.OPEN, 4, 0, b"exec:echo on\0"))
    assert client.receive() == Packet(wire.OKAY, 2, 4)


def test_an_old_client_gets_and_must_send_checksums(client: RawClient) -> None:
    client.send(Packet(wire.CNXN, 0x01000000, 4096, b"host::\0").encode(checksum=True))
    header, token = client.receive_bytes(24), client.receive_bytes(20)
    assert header[16:20] == sum(token).to_bytes(4, "little")
    signature = Packet(wire.AUTH, wire.AUTH_SIGNATURE, 0, OWNERS_KEY.sign(token))
    client.send(signature.encode(checksum=True))
    header = client.receive_bytes(24)
    assert header[16:20] == sum(BANNER).to_bytes(4, "little")
    client.receive_bytes(len(BANNER))
    client.send(Packet(wire.OPEN, 1, 0, b"shell:id\0"))  # without its checksum
    with pytest.raises(ConnectionError):
        client.receive()


def test_what_is_not_the_protocol_is_hung_up_on(client: RawClient) -> None:
    client.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    with pytest.raises(ConnectionError):
        client.receive()


def test_nothing_is_served_before_the_handshake(client: RawClient) -> None:
    client.send(Packet(wire.OPEN, 1, 0, b"shell:id\0"))
    assert client.greet().command == wire.CNXN  # the first answer


def test_a_locked_phone_sends_a_token_and_serves_nothing(tmp_path: Path) -> None:
    locked = dataclasses.replace(PIXEL_1, authorized=False)
    with VirtualPhone(locked, tmp_path) as phone, raw_client(phone) as client:
        first = client.greet()
        assert (first.command, first.arg0, len(first.data)) == (wire.AUTH, wire.AUTH_TOKEN, 20)
        client.send(Packet(wire.OPEN, 1, 0, b"shell:id\0"))
        client.send(Packet(wire.AUTH, wire.AUTH_SIGNATURE, 0, bytes(256)))
        again = client.receive()
        assert again.command == wire.AUTH
        assert again.data != first.data


def test_only_the_owners_key_is_let_in_without_a_question(phone: VirtualPhone) -> None:
    stranger = SigningKey()
    with raw_client(phone) as client:
        client.send(HOST_CNXN)
        token = client.receive().data
        client.send(Packet(wire.OPEN, 1, 0, b"exec:id\0"))  # before it is known: not heard
        client.send(Packet(wire.AUTH, wire.AUTH_SIGNATURE, 0, stranger.sign(token)))
        again = client.receive()
        assert (again.command, again.arg0) == (wire.AUTH, wire.AUTH_TOKEN)
        client.send(Packet(wire.AUTH, wire.AUTH_PUBLIC_KEY, 0, stranger.public("eve\x1b[2J@x")))
        client.send(Packet(wire.OPEN, 1, 0, b"exec:id\0"))
        client.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.receive()
        asked = [event.detail for event in phone.log if event.kind == "unauthorized"]
        assert asked == [r"allow eve\x1b[2J@x?"]
        client.socket.settimeout(10)
        phone.accept_keys()
        assert client.receive().command == wire.CNXN


@pytest.mark.parametrize(
    ("modulus", "exponent"), [(0, 65537), (2**2048 - 1, 1), (2**2047, 3), (2**1024 + 1, 3)]
)
def test_a_key_that_anybody_could_sign_for_is_none(modulus: int, exponent: int) -> None:
    raw = struct.pack("<II", 64, 0) + modulus.to_bytes(256, "little") + bytes(256)
    assert PublicKey.decode(base64.b64encode(raw + struct.pack("<I", exponent))) is None


def test_newer_phones_announce_what_they_can() -> None:
    from netadapt.virtual_phone import PhoneDescription
    from netadapt.virtual_phone.handset import Handset

    for name, new in (("pixel_1", False), ("galaxy_s20", True)):
        described = PhoneDescription.bundled(name)
        handset = Handset(described, Path("/nowhere"), "127.0.0.1", "paths")
        handset.sandbox.remove()
        banner = handset.banner()
        assert ("sendrecv_v2" in banner) == new


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "example.org", "::"])
def test_it_listens_on_the_loopback_only(tmp_path: Path, host: str) -> None:
    with pytest.raises(InvalidRunError, match="loopback"):
        VirtualPhone(PIXEL_1, tmp_path, host=host)


def test_a_taken_port_is_reported(phone: VirtualPhone, tmp_path: Path) -> None:
    port = int(phone.address.rpartition(":")[2])
    with pytest.raises(DeviceError, match="another port"):
        VirtualPhone(PIXEL_1, tmp_path / "second", port=port).start()
