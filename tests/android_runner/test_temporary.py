"""Folders of processes that were killed are removed, those in use and other people's are not."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from netadapt.android_runner.temporary import temporary_folder

HOLDING = (
    "import sys; from netadapt.android_runner.temporary import temporary_folder\n"
    "with temporary_folder('mine-') as folder: print(folder, flush=True); sys.stdin.read()"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_gone_afterwards(folder: Path) -> None:
    with temporary_folder("mine-") as made:
        (made / "file").touch()
        assert list(folder.iterdir()) == [made]
    assert list(folder.iterdir()) == []


def test_a_killed_ones_is_removed_at_the_next_start(folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        held = Path(process.stdout.readline().strip())
        (folder / "theirs-x").mkdir()
        (folder / "mine-link").symlink_to(folder / "theirs-x")
        (folder / "mine-file").touch()
        new = folder / "mine-new"
        new.mkdir()
        before = time.time() - 3600
        os.utime(held, (before, before))
        os.utime(folder / "theirs-x", (before, before))
        with temporary_folder("mine-"):
            assert held.is_dir()  # in use, however old
        process.kill()
    assert held.is_dir()
    with temporary_folder("mine-"):
        assert not held.exists()
    assert sorted(path.name for path in folder.iterdir()) == [
        *("mine-file", "mine-link", "mine-new", "theirs-x")
    ]
