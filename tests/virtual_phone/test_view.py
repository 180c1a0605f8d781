"""What programs of a phone reach of this machine in namespaces: nothing to read or to harm."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from netadapt.android_runner.errors import DeviceError, InvalidRunError
from netadapt.virtual_phone import PIXEL_1, VirtualPhone
from netadapt.virtual_phone.filesystem import write
from netadapt.virtual_phone.sandbox import ISOLATION_VARIABLE
from tests.virtual_phone.conftest import Shell, raw_client, switched_on


@pytest.fixture(scope="module")
def secluded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualPhone]:
    """A phone in namespaces."""
    with switched_on(tmp_path_factory.mktemp("phone"), "namespaces") as phone:
        yield phone


@pytest.fixture
def shell(secluded: VirtualPhone) -> Iterator[Shell]:
    with raw_client(secluded) as client:
        yield Shell(client)


def test_the_owners_files_are_not_there(shell: Shell, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    assert shell(f"cat {secret}")[2] != 0
    assert shell("ls -d /run /var /mnt /srv /boot 2>/dev/null")[0] == b""
    assert shell("ls /etc")[0].split() in ([b"alternatives", b"ld.so.cache"], [b"ld.so.cache"])
    # Not by way of the phone's first process either, which began outside
    environ, root, fd = (f"/proc/1/{name}" for name in ("environ", "root/", "fd"))
    assert shell(f"cat {environ}; ls {root} {fd}")[2] != 0


@pytest.mark.parametrize(
    "place",
    [
        "/",
        "usr",
        "usr/bin",
        "bin",
        "lib",
        "etc",
        "dev",
        "system",
        "system/bin",
        "vendor",
        "state/dumpsys",
        "proc/sys/kernel",
    ],
)
def test_nothing_of_this_machines_can_be_written(shell: Shell, place: str) -> None:
    _, error, code = shell(f"echo x >/{place}/new-file")
    assert code != 0
    assert error
    assert not Path("/", place, "new-file").exists()


def test_settings_of_the_kernel_stay(shell: Shell) -> None:
    """This machine's root, too, starts phones."""
    for name in ("kernel/core_pattern", "kernel/hostname", "vm/drop_caches"):
        assert shell(f"echo x >/proc/sys/{name}")[2] != 0
    assert shell("ls /proc/sysrq-trigger && echo h >/proc/sysrq-trigger")[2] != 0


def test_programs_cannot_become_root_of_their_view(shell: Shell) -> None:
    for words in ("-U -r", "-m", "-n", "-p -f"):
        assert shell(f"/usr/bin/unshare {words} true")[2] != 0, words
    assert shell("/usr/bin/mount -t tmpfs none /data")[2] != 0
    assert shell("/usr/bin/umount /proc/cpuinfo")[2] != 0
    assert b"CapEff:\t0000000000000000" in shell("cat /proc/self/status")[0]
    assert b"NoNewPrivs:\t1" in shell("cat /proc/self/status")[0]


def test_programs_see_no_other_process_and_no_network(shell: Shell) -> None:
    pids = shell("ls /proc")[0].split()
    assert str(os.getpid()).encode() not in pids
    assert shell("cat /proc/net/tcp")[0].count(b"\n") == 1  # the head alone
    assert shell("ls /dev")[0].split() == sorted(
        b"fd full null ptmx pts random stderr stdin stdout tty urandom zero".split()
    )
    assert shell("ls /dev/pts")[0] == b"ptmx\n"  # nobody's terminals


def test_programs_speak_to_none_of_the_owners_sockets(shell: Shell) -> None:
    """Those without a file are seen throughout a network namespace; D-Bus and X11 have such."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("\0netadapt-test-of-the-view")
        listening.listen()
        assert b"netadapt-test-of-the-view" in Path("/proc/net/unix").read_bytes()
        assert b"netadapt-test-of-the-view" not in shell("cat /proc/net/unix")[0]


def test_links_of_the_phones_programs_lead_its_owner_nowhere(tmp_path: Path) -> None:
    root, outside = tmp_path / "phone", tmp_path / "outside"
    outside.mkdir()
    (outside / "name").write_text("mine")
    (root / "state").mkdir(parents=True)
    (root / "state/.name.new").symlink_to(outside / "name")
    write(root, "state/name", "text")
    assert (root / "state/name").read_text() == "text"
    (root / "state/linked").symlink_to(outside / "name")
    write(root, "state/linked", "text")
    assert not (root / "state/linked").is_symlink()
    (root / "state/folder").symlink_to(outside)
    with pytest.raises(NotADirectoryError):
        write(root, "state/folder/name", "text")
    assert (outside / "name").read_text() == "mine"


def test_without_namespaces_it_does_not_start_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ISOLATION_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "no tools"))
    phone = VirtualPhone(PIXEL_1, tmp_path / "phone")
    with pytest.raises(DeviceError, match=f"{ISOLATION_VARIABLE}=paths"):
        phone.start()
    monkeypatch.setenv(ISOLATION_VARIABLE, "path")
    with pytest.raises(InvalidRunError, match="namespaces or paths, got 'path'"):
        VirtualPhone(PIXEL_1, tmp_path / "phone")
