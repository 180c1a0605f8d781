"""Paths rewritten into and out of the private folder, where there are no namespaces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netadapt.virtual_phone.sandbox import OutputCleaner, Sandbox, host_cores

PREFIX = b"/tmp/a phone"


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    made = Sandbox(tmp_path, cores=2, isolation="paths")
    made.boot()
    yield made
    made.remove()


@pytest.mark.parametrize(
    ("command", "rewritten"),
    [
        ("ls /data/local", "ls ROOT/data/local"),
        ("cat </sys/x >'/data/y z'", "cat <ROOT/sys/x >'ROOT/data/y z'"),
        ("dd of=/data/f", "dd of=ROOT/data/f"),
        ("cat /proc/cpuinfo /proc/self/stat", "cat ROOT/proc/cpuinfo /proc/self/stat"),
        ("cat /dev/null ./data/x a/data/x", "cat /dev/null ./data/x a/data/x"),
        ("ls /database /data-x /data", "ls /database /data-x ROOT/data"),
    ],
)
def test_the_phones_paths_are_rewritten_and_no_others(
    sandbox: Sandbox, command: str, rewritten: str
) -> None:
    assert sandbox._rewritten(command) == rewritten.replace("ROOT", str(sandbox.root))


@given(
    st.lists(st.sampled_from([PREFIX, b"/data", b"/tmp/", b"/tmp/a ", b"x", b"\0"]), max_size=8),
    st.integers(1, 9),
)
def test_the_prefix_comes_out_however_the_stream_is_cut(pieces: list[bytes], size: int) -> None:
    stream = b"".join(pieces)
    cleaner = OutputCleaner(PREFIX)
    cleaned = b"".join(
        cleaner.feed(stream[start : start + size]) for start in range(0, len(stream), size)
    )
    assert cleaned + cleaner.end() == stream.replace(PREFIX, b"")


def test_every_core_of_the_phone_is_one_of_this_machine() -> None:
    usable = os.sched_getaffinity(0)
    for count in (1, 2, 4, 64):
        cores = host_cores(count)
        assert len(cores) == count
        assert set(cores) <= usable
    assert host_cores(64)[-1] == max(usable) or host_cores(64) == list(range(64))
