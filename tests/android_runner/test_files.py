"""Files are written whole or into what is no file; other threads' new files stay private."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from netadapt.android_runner.files import (
    is_leftover,
    remove_leftovers,
    write_atomically,
    writing_atomically,
)


def test_a_file_and_its_folder_are_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    before = os.umask(0o027)
    try:
        write_atomically(path, b"content")
        write_atomically(path.with_name("tool"), b"#!/bin/sh\n", executable=True)
    finally:
        os.umask(before)
    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(path.with_name("tool").stat().st_mode) == 0o750
    assert len(list(path.parent.iterdir())) == 2


def test_what_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), writing_atomically(path) as file:  # noqa: PT012
        file.write(b"half of the n")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_names_may_be_as_long_as_the_system_allows(tmp_path: Path) -> None:
    write_atomically(tmp_path / ("n" * 255), b"x")
    assert os.listdir(tmp_path) == ["n" * 255]


def test_a_link_stays_and_its_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"old")
    (tmp_path / "first").symlink_to("second")
    (tmp_path / "second").symlink_to("folder/file")
    write_atomically(tmp_path / "first", b"new")
    assert (tmp_path / "first").is_symlink()
    assert (tmp_path / "second").is_symlink()
    assert (tmp_path / "folder" / "file").read_bytes() == b"new"
    (tmp_path / "to nothing").symlink_to("folder/made")
    write_atomically(tmp_path / "to nothing", b"made")
    assert (tmp_path / "folder" / "made").read_bytes() == b"made"
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(OSError, match="round") as raised:
        write_atomically(tmp_path / "round", b"x")
    assert raised.value.errno == errno.ELOOP


def test_a_pipe_stays_and_its_reader_gets_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = bytes(range(256)) * 1000  # more than a pipe holds
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, content)
    reader.join()
    assert read == [content]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes devices")
def test_a_device_stays_one(tmp_path: Path) -> None:
    for number, name in ((3, "null"), (7, "full")):  # harmless ones, and not the machine's own
        try:
            os.mknod(tmp_path / name, 0o666 | stat.S_IFCHR, os.makedev(1, number))
            (tmp_path / name).open("wb").close()
        except OSError:
            pytest.skip("no devices in this folder")
    write_atomically(tmp_path / "null", b"content", executable=True)
    with pytest.raises(OSError, match="No space") as raised:
        write_atomically(tmp_path / "full", b"content")
    assert raised.value.errno == errno.ENOSPC
    for name in ("null", "full"):
        found = (tmp_path / name).stat().st_mode
        assert stat.S_ISCHR(found)
        assert stat.S_IMODE(found) & 0o111 == 0


def test_an_open_file_is_added_to(tmp_path: Path) -> None:
    """What `--out /dev/stdout` does, into a file and into a pipe."""
    script = (
        "from pathlib import Path; from netadapt.android_runner.files import write_atomically\n"
        "write_atomically(Path('/dev/stdout'), b'content')"
    )
    out = tmp_path / "out"
    with out.open("wb") as file:
        file.write(b"before ")
        file.flush()
        subprocess.run([sys.executable, "-c", script], stdout=file, check=True)
    assert out.read_bytes() == b"before content"
    piped = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)
    assert piped.stdout == b"content"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path, b"content")


def test_the_mask_of_new_files_is_never_lifted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the whole process's: meanwhile another thread's file would be open to everybody."""
    masks: list[int] = []
    monkeypatch.setattr(os, "umask", lambda mask: masks.append(mask) or 0o077)
    write_atomically(tmp_path / "file", b"x")
    assert not masks


def test_what_a_kill_left_is_known_and_removed(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from netadapt.android_runner import files\n"
        "with files.writing_atomically(Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "run.toml")], check=False)
    (left,) = tmp_path.iterdir()
    assert is_leftover(left)
    older = tmp_path / ".run.toml.a_b1c2d3"  # as earlier versions called theirs
    older.touch()
    for own in (".gitignore", ".run.toml", "run.toml", ".env.local", "a.0123456789abcdef.part"):
        (tmp_path / own).touch()
        assert not is_leftover(tmp_path / own)
    remove_leftovers(tmp_path)
    assert not left.exists()
    assert not older.exists()
    assert len(list(tmp_path.iterdir())) == 5
