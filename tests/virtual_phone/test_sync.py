"""File transfer, byte for byte; that real adb's own is understood is in test_adb.py."""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from netadapt.virtual_phone import PIXEL_1, VirtualPhone, wire
from netadapt.virtual_phone.wire import Packet
from tests.virtual_phone.conftest import Shell, Sync, raw_client, sync_request

FILE = b"/data/local/tmp/f"
A_TIME = struct.pack("<I", 1_600_000_000)


@pytest.fixture
def sync(phone: VirtualPhone) -> Iterator[Sync]:
    with raw_client(phone) as client:
        yield Sync(client)


def test_a_file_goes_in_and_comes_out(sync: Sync, phone: VirtualPhone) -> None:
    sync.send(
        b"SEND\x17\0\0\0/data/local/tmp/f,33261"  # mode 0100755
        b"DATA\x05\0\0\0hello"
        b"DATA\x01\0\0\0!"
        b"DONE" + A_TIME
    )
    assert sync.answer(8) == b"OKAY\0\0\0\0"
    there = phone.root / "data/local/tmp/f"
    assert there.read_bytes() == b"hello!"
    assert there.stat().st_mode == 0o100755
    sync.send(b"STAT\x11\0\0\0/data/local/tmp/f")
    assert sync.answer(16) == b"STAT" + struct.pack("<I", 0o100755) + b"\x06\0\0\0" + A_TIME
    sync.send(b"RECV\x11\0\0\0/data/local/tmp/f")
    assert sync.answer(22) == b"DATA\x06\0\0\0hello!DONE\0\0\0\0"


def test_pieces_may_be_cut_anywhere(sync: Sync, phone: VirtualPhone) -> None:
    stream = sync_request(b"SEND", FILE + b",33188") + b"DATA\x03\0\0\0abcDONE" + A_TIME
    for byte in stream:
        sync.send(bytes([byte]))
    assert sync.answer(8) == b"OKAY\0\0\0\0"
    assert (phone.root / "data/local/tmp/f").read_bytes() == b"abc"


def test_what_is_not_there(sync: Sync) -> None:
    sync.send(sync_request(b"STAT", b"/data/none"))
    assert sync.answer(16) == b"STAT" + bytes(12)
    sync.send(sync_request(b"STA2", b"/data/none"))
    assert sync.answer(72) == b"STA2\x02\0\0\0" + bytes(64)  # ENOENT
    sync.send(sync_request(b"LIST", b"/data/none"))
    assert sync.answer(20) == b"DONE" + bytes(16)
    sync.send(sync_request(b"RECV", b"/data/none"))
    assert sync.refusal() == b"open failed: No such file or directory"


def test_folders_are_listed_in_both_versions(sync: Sync, phone: VirtualPhone) -> None:
    folder = phone.root / "data/local/tmp/d"
    folder.mkdir()
    (folder / "größe").write_bytes(b"12345")
    os.utime(folder / "größe", (1_600_000_000, 1_600_000_000))
    (folder / "größe").chmod(0o640)
    name = "größe".encode()
    sync.send(sync_request(b"LIST", b"/data/local/tmp/d"))
    entry = b"DENT" + struct.pack("<III", 0o100640, 5, 1_600_000_000) + b"\x07\0\0\0" + name
    assert sync.answer(len(entry) + 20) == entry + b"DONE" + bytes(16)
    sync.send(sync_request(b"LIS2", b"/data/local/tmp/d"))
    answer = sync.answer(76 + len(name) + 76)
    assert answer[:8] == b"DNT2\0\0\0\0"
    assert struct.unpack_from("<I", answer, 24) == (0o100640,)
    assert struct.unpack_from("<Qqqq", answer, 40)[::2] == (5, 1_600_000_000)
    assert answer[72 : 76 + len(name)] == b"\x07\0\0\0" + name
    assert answer[76 + len(name) :] == b"DONE" + bytes(72)


def test_links_are_refused_as_by_every_phone(phone: VirtualPhone) -> None:
    """Android's policy lets the daemon make files and folders, the shell alone makes links."""
    folder = phone.root / "data/local/tmp"
    with raw_client(phone) as client:
        sync = Sync(client)
        sync.send(sync_request(b"SEND", b"/data/local/tmp/new/link,41471"))  # mode 0120777
        sync.send(sync_request(b"DATA", b"../f\0") + b"DONE" + A_TIME)
        assert sync.refusal() == b"symlink failed: Permission denied"
        assert not (folder / "new").exists()
        shell = Shell(client, greeted=True)
        assert shell("ln -s f /data/local/tmp/link; readlink /data/local/tmp/link")[0] == b"f\n"


def test_the_shells_links_are_not_followed(phone: VirtualPhone) -> None:
    outside = phone.root.parent / "outside"
    outside.write_text("secret")
    folder = phone.root / "data/local/tmp"
    (folder / "f").write_text("inside")
    (folder / "near").symlink_to("f")
    (folder / "far").symlink_to(outside)
    (folder / "up").symlink_to("../../..")
    for name in (b"near", b"far", b"up/../outside", b"up/data/local/tmp/f"):
        path = b"/data/local/tmp/" + name
        with raw_client(phone) as client:
            sync = Sync(client)
            sync.send(sync_request(b"STAT", path))
            assert sync.answer(16) == b"STAT" + bytes(12), path
            sync.send(sync_request(b"STA2", path))
            assert sync.answer(72)[:8] == b"STA2\x0d\0\0\0", path  # EACCES
            sync.send(sync_request(b"LIST", path))
            assert sync.answer(20) == b"DONE" + bytes(16)
            sync.send(sync_request(b"RECV", path))
            assert sync.refusal() == b"open failed: Permission denied"
        with raw_client(phone) as client:
            sync = Sync(client)
            sync.send(sync_request(b"SEND", path + b",33188") + b"DATA\x01\0\0\0xDONE" + A_TIME)
            assert sync.refusal() == b"couldn't create file: Permission denied"
    assert outside.read_text() == "secret"
    assert (folder / "f").read_text() == "inside"


def test_files_go_only_where_policy_lets_the_daemon_write(phone: VirtualPhone) -> None:
    os.mkfifo(phone.root / "data/local/tmp/pipe")

    def contents() -> set[Path]:
        return {each for part in ("data", "system", "vendor", ".") for each in
                (phone.root / part).glob("*" if part == "." else "**/*")}  # fmt: skip

    before = contents()
    for path, why in (
        (b"/data/new", b"Permission denied"),
        (b"/data/local/new/new", b"Permission denied"),
        (b"/data/local/tmp/../new", b"Permission denied"),
        (b"/sys/devices/system/cpu/cpu0/online", b"Permission denied"),
        (b"/proc/cpuinfo", b"Permission denied"),
        (b"/state/sdk", b"Permission denied"),
        (b"/new", b"Permission denied"),
        (b"/../new", b"Permission denied"),
        (b"/system/bin/getprop", b"Read-only file system"),
        (b"/vendor/new", b"Read-only file system"),
        (b"/data/local/tmp", b"Is a directory"),
        (b"/data/local/tmp/pipe", b"Permission denied"),
    ):
        with raw_client(phone) as client:
            sync = Sync(client)
            sync.send(sync_request(b"SEND", path + b",33188") + b"DATA\x01\0\0\0xDONE" + A_TIME)
            assert sync.refusal() == b"couldn't create file: " + why, path
    assert contents() == before
    assert (phone.root / "state/sdk").read_text() == "29\n"


def test_what_policy_hides_from_the_daemon(phone: VirtualPhone) -> None:
    (phone.root / "data/secret").write_text("secret")
    os.mkfifo(phone.root / "data/local/tmp/pipe")
    for path in (b"/state/sdk", b"/data/secret", b"/data/local/tmp/pipe"):
        with raw_client(phone) as client:
            sync = Sync(client)
            sync.send(sync_request(b"STAT", path))
            assert sync.answer(16) == b"STAT" + bytes(12)
            sync.send(sync_request(b"LIST", b"/data"))
            assert sync.answer(20) == b"DONE" + bytes(16)
            sync.send(sync_request(b"RECV", path))
            assert sync.refusal() == b"open failed: Permission denied"


def test_a_folder_is_no_file(sync: Sync) -> None:
    sync.send(sync_request(b"RECV", b"/data/local/tmp"))
    assert sync.refusal() == b"read failed: Is a directory"


def test_what_every_process_may_read(sync: Sync) -> None:
    online = b"/sys/devices/system/cpu/cpu3/cpufreq/cpuinfo_max_freq"  # over a link of the system's
    sync.send(sync_request(b"RECV", online))
    assert sync.answer(24) == sync_request(b"DATA", b"2150400\n") + b"DONE\0\0\0\0"


def test_a_full_phone_says_so_takes_the_rest_and_hangs_up(tmp_path: Path) -> None:
    full = dataclasses.replace(PIXEL_1, free_bytes=100_000)
    with VirtualPhone(full, tmp_path) as phone, raw_client(phone) as client:
        sync = Sync(client)
        chunk = b"DATA" + struct.pack("<I", 60_000) + bytes(60_000)
        sync.send(sync_request(b"SEND", FILE + b",33188") + chunk + chunk + b"DONE" + A_TIME)
        assert sync.refusal() == b"write failed: No space left on device"
        assert not (phone.root / "data/local/tmp/f").exists()
        assert Shell(client, greeted=True)("echo still there")[0] == b"still there\n"


def test_half_a_file_is_removed_when_its_sender_goes(phone: VirtualPhone) -> None:
    with raw_client(phone) as client:
        sync = Sync(client)
        sync.send(sync_request(b"SEND", FILE + b",33188") + b"DATA\x03\0\0\0abc")
        sync.send(sync_request(b"DATA", b"more"))
        assert client.receive().command == wire.OKAY
        assert client.receive().command == wire.OKAY
        assert (phone.root / "data/local/tmp/f").exists()
    with raw_client(phone) as client:
        sync = Sync(client)
        for _ in range(50):
            sync.send(sync_request(b"STAT", FILE))
            if sync.answer(16) == b"STAT" + bytes(12):
                return
    pytest.fail("half a file stayed")


@pytest.mark.parametrize(
    "stream",
    [
        b"NOPE\x01\0\0\0x",
        b"STAT\xff\xff\xff\xff",
        sync_request(b"SEND", FILE + b",33188") + b"DATA\0\0\x01\x01",
        sync_request(b"SEND", FILE + b",33188") + b"WHAT\0\0\0\0",
    ],
)
def test_nonsense_ends_the_stream_not_the_phone(sync: Sync, stream: bytes) -> None:
    sync.send(stream)
    while (packet := sync.client.receive()).command != wire.CLSE:
        if packet.command == wire.WRTE:
            assert packet.data.startswith(b"FAIL")
            sync.client.send(Packet(wire.OKAY, 1, 1))
    sync.client.send(Packet(wire.OPEN, 2, 0, b"exec:true\0"))
    assert sync.client.receive().command == wire.OKAY
