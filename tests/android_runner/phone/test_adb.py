"""adb's client against the real server and a virtual phone: words, files, endings, errors."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netadapt.android_runner import (
    AdbError,
    DeviceError,
    DeviceLostError,
    InvalidRunError,
    NoSuchDeviceError,
    StorageError,
)
from netadapt.android_runner.phone import Adb, AdbServer, adb, find_adb
from netadapt.virtual_phone import Fault, Moment, VirtualPhone

HOSTILE = [
    "$(reboot)",
    "`reboot`; reboot",
    "a b\tc",
    'it\'s "quoted" \\ back',
    "line\nbreak\r\n",
    "größe 层 \N{PILE OF POO}",
    "",
    "-rf",
    "~/*?[a]{b,c}!#&|<>(){}=%",
    "'",
    "$HOME ${PATH} $$",
]


@pytest.fixture
def phone(adb_server: AdbServer, virtual_phone: VirtualPhone) -> Adb:
    return Adb(adb_server, virtual_phone.address)


class TestBinary:
    def test_the_newest_is_taken(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        bundled = find_adb()
        assert bundled.version >= (30,)
        for version, taken in (("99.0.0", True), ("1.0.32", False)):
            own = tmp_path / f"adb-{version}"
            own.write_text(
                f"#!/bin/sh\necho Android Debug Bridge version 1.0.41\necho Version {version}-1\n"
            )
            own.chmod(0o755)
            monkeypatch.setenv("ADB", str(own))
            assert (find_adb().path == own) is taken

    def test_one_that_is_none_is_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for wrong in (str(tmp_path / "nothing"), "/bin/true"):
            monkeypatch.setenv("ADB", wrong)
            with pytest.raises(AdbError, match="ADB must name an adb program"):
                find_adb()


class TestServer:
    @pytest.mark.parametrize(
        ("variables", "expected"),
        [
            ({}, ("127.0.0.1", 5037)),
            ({"ADB_SERVER_SOCKET": "tcp:5038"}, ("127.0.0.1", 5038)),
            ({"ADB_SERVER_SOCKET": "tcp:box:5038"}, ("box", 5038)),
            ({"ANDROID_ADB_SERVER_PORT": "5039"}, ("127.0.0.1", 5039)),
        ],
    )
    def test_is_looked_for_where_adb_does(
        self,
        variables: dict[str, str],
        expected: tuple[str, int],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for name in ("ADB_SERVER_SOCKET", "ANDROID_ADB_SERVER_PORT", "ANDROID_ADB_SERVER_ADDRESS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        server = AdbServer.from_environment()
        assert (server.host, server.port) == expected

    def test_another_kind_of_socket_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ADB_SERVER_SOCKET", "localabstract:adb")
        with pytest.raises(AdbError, match="localabstract"):
            AdbServer.from_environment()

    def test_lists_the_phone(self, adb_server: AdbServer, virtual_phone: VirtualPhone) -> None:
        (listed,) = [p for p in adb_server.devices() if p.serial == virtual_phone.address]
        assert (listed.state, listed.model) == ("device", "Pixel")


class TestShell:
    def test_hostile_words_arrive_as_they_are(self, phone: Adb) -> None:
        assert _echoed(phone, HOSTILE) == HOSTILE

    @settings(max_examples=40, deadline=None)
    @given(
        words=st.lists(
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30),
            min_size=1,
            max_size=5,
        )
    )
    def test_any_words_arrive_as_they_are(
        self, adb_server: AdbServer, virtual_phone: VirtualPhone, words: list[str]
    ) -> None:
        assert _echoed(Adb(adb_server, virtual_phone.address), words) == words

    def test_a_nul_cannot_be_a_word(self) -> None:
        with pytest.raises(InvalidRunError, match="NUL"):
            adb.quote(["a\0b"])

    def test_exit_codes_and_standard_error_are_told_apart(self, phone: Adb) -> None:
        result = phone.shell("echo out; echo err >&2; exit 7")
        assert (result.exit_code, result.out, result.err) == (7, "out\n", "err\n")
        assert phone.shell("kill -SEGV $$").exit_code == 128 + 11

    def test_long_output_comes_whole(self, phone: Adb) -> None:
        assert len(phone.ask("seq 1 100000")) == 588895

    def test_a_command_that_does_not_end_is_left_in_time(self, phone: Adb) -> None:
        begin = time.monotonic()
        with pytest.raises(DeviceLostError, match="within 1 s"):
            phone.shell("sleep 600", timeout_s=1.0)
        assert time.monotonic() - begin < 30

    def test_a_silent_phone_is_left_in_time(self, phone: Adb, virtual_phone: VirtualPhone) -> None:
        cue = virtual_phone.play(Fault("silence", seconds=2.0))
        assert cue.struck.wait(10)
        with pytest.raises(DeviceLostError):
            phone.shell("true", timeout_s=1.0)
        assert cue.over.wait(10)
        _connected_again(phone)

    @pytest.mark.parametrize("serial", ["", "a\nb", "a\0b"])
    def test_no_serials_that_are_no_line(self, adb_server: AdbServer, serial: str) -> None:
        with pytest.raises(NoSuchDeviceError, match="line of text"):
            Adb(adb_server, serial)

    @pytest.mark.parametrize("serial", [word for word in HOSTILE if word and "\n" not in word])
    def test_hostile_serials_name_no_phone(self, adb_server: AdbServer, serial: str) -> None:
        with pytest.raises(NoSuchDeviceError):
            Adb(adb_server, serial).shell("true")


class TestPush:
    def test_contents_and_modes_arrive(self, phone: Adb) -> None:
        contents = [b"", b"x", os.urandom(65536), os.urandom(300_000)]
        files = [
            (f"/data/local/tmp/{name} {i}", content)
            for name in ("it's", "größe $(x)")
            for i, content in enumerate(contents)
        ]
        phone.push(files, mode=0o700)
        for path, content in files:
            assert phone.ask(adb.quote(["stat", "-c", "%s %a", path])) == f"{len(content)} 700\n"
            digest = hashlib.sha256(content).hexdigest()
            assert phone.ask(f"sha256sum < {adb.quote([path])}").split()[0] == digest
        phone.ask(adb.quote(["rm", *(path for path, _ in files)]))

    def test_where_nothing_can_be_written(self, phone: Adb) -> None:
        phone.push([("/data/local/tmp/file", b"data")])
        with pytest.raises(DeviceError, match="must store /data/local/tmp/file/x"):
            phone.push([("/data/local/tmp/file/x", b"data"), ("/data/local/tmp/y", b"data")])
        phone.ask("rm /data/local/tmp/file")

    def test_a_full_storage_says_so(self, phone: Adb, virtual_phone: VirtualPhone) -> None:
        cue = virtual_phone.play(
            Fault("storage_full", seconds=0.5, moment=Moment.during_push(70_000))
        )
        with pytest.raises(StorageError, match="free some space"):
            phone.push([("/data/local/tmp/big", os.urandom(4_000_000))])
        assert cue.over.wait(10)


def _echoed(phone: Adb, words: list[str]) -> list[str]:
    *echoed, rest = phone.ask(adb.quote(["printf", "%s\\0", *words])).split("\0")
    assert rest == ""
    return echoed


def _connected_again(phone: Adb) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        phone.server.disconnect(phone.serial)
        phone.server.connect(phone.serial)
        try:
            phone.ask("true")
        except DeviceLostError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError("the phone did not come back")
