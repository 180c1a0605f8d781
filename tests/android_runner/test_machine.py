"""Machines are told apart without saying which they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from netadapt.android_runner import machine


def found(monkeypatch: pytest.MonkeyPatch, *files: Path) -> str:
    monkeypatch.setattr(machine, "_FILES", files)
    return machine.machine_hash.__wrapped__()


def test_a_machine_has_a_hash_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("3d1219c7c4c5404aaa1f6d2a48adfda4\n")
    other.write_text("b08dfa6083e7567a1921a715000001fb\n")
    hashes = [found(monkeypatch, path) for path in (one, other)]
    assert hashes == [found(monkeypatch, path) for path in (one, other)]
    assert len(set(hashes)) == 2
    for text, path in zip(hashes, (one, other), strict=True):
        assert len(text) == 16
        assert int(text, 16) >= 0
        assert text not in path.read_text()


def test_the_next_file_counts_where_the_first_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, strange, good = tmp_path / "empty", tmp_path / "strange", tmp_path / "good"
    empty.write_text("\n")
    strange.write_bytes(b"\xff\xfe")
    good.write_text("3d1219c7c4c5404aaa1f6d2a48adfda4\n")
    expected = found(monkeypatch, good)
    assert expected
    assert found(monkeypatch, tmp_path / "none", empty, strange, good) == expected
    assert found(monkeypatch, tmp_path / "none", empty, strange) == ""


def test_this_machines_is_the_same_each_time() -> None:
    assert machine.machine_hash() == machine.machine_hash()
