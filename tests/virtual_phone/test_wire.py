"""The adb protocol's bytes, written down literally (protocol.txt of Android's adb)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netadapt.virtual_phone import wire
from netadapt.virtual_phone.wire import (
    Packet,
    PacketReader,
    ShellFrame,
    ShellFrameReader,
    WireError,
)

CONNECT = (
    bytes.fromhex(
        "434e584e"  # CNXN
        "01000001"  # version 0x01000001
        "00001000"  # maxdata 1 MiB
        "07000000"  # 7 bytes follow
        "00000000"  # no checksum from this version on
        "bcb1a7b1"  # CNXN inverted
    )
    + b"host::\0"
)


def test_a_connect_packet_is_these_bytes() -> None:
    assert Packet(wire.CNXN, 0x01000001, 1 << 20, b"host::\0").encode() == CONNECT


def test_a_packet_with_checksum_carries_the_sum_of_its_bytes() -> None:
    encoded = Packet(wire.WRTE, 2, 3, b"\xff\x01").encode(checksum=True)
    assert encoded == bytes.fromhex("57525445 02000000 03000000 02000000 00010000 a8adabba ff01")
    strict = PacketReader()
    strict.checksums = True
    assert list(strict.feed(encoded)) == [Packet(wire.WRTE, 2, 3, b"\xff\x01")]


PACKETS = st.lists(
    st.builds(
        Packet,
        st.sampled_from(sorted(wire.COMMANDS)),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
        st.binary(max_size=200),
    ),
    max_size=5,
)


@given(PACKETS, st.integers(1, 60), st.booleans())
def test_packets_come_out_however_the_stream_is_cut(
    packets: list[Packet], size: int, checksum: bool
) -> None:
    stream = b"".join(packet.encode(checksum) for packet in packets)
    reader = PacketReader()
    reader.checksums = checksum
    found = [
        packet
        for start in range(0, len(stream), size)
        for packet in reader.feed(stream[start : start + size])
    ]
    assert found == packets


@pytest.mark.parametrize(
    ("stream", "rule"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "magic"),
        (CONNECT[:12] + b"\x01\0\x10\0" + CONNECT[16:], "at most 1048576"),
    ],
)
def test_what_is_no_packet_is_refused(stream: bytes, rule: str) -> None:
    with pytest.raises(WireError, match=rule):
        list(PacketReader().feed(stream))


def test_a_wrong_checksum_is_refused() -> None:
    reader = PacketReader()
    reader.checksums = True
    with pytest.raises(WireError, match="checksum"):
        list(reader.feed(Packet(wire.WRTE, 1, 1, b"x").encode()))


def test_shell_frames_are_these_bytes() -> None:
    assert ShellFrame(wire.SHELL_STDOUT, b"hi\n").encode() == b"\x01\x03\0\0\0hi\n"
    assert ShellFrame(wire.SHELL_EXIT, b"\x07").encode() == b"\x03\x01\0\0\0\x07"


@given(
    st.lists(st.builds(ShellFrame, st.integers(0, 5), st.binary(max_size=100)), max_size=6),
    st.integers(1, 20),
)
def test_shell_frames_come_out_however_the_stream_is_cut(
    frames: list[ShellFrame], size: int
) -> None:
    stream = b"".join(frame.encode() for frame in frames)
    reader = ShellFrameReader()
    found = [
        frame
        for start in range(0, len(stream), size)
        for frame in reader.feed(stream[start : start + size])
    ]
    assert found == frames
