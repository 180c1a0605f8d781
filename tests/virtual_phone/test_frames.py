"""What the virtual phone changes in the runner's reports, and what it must leave alone."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netadapt.android_runner.runner.protocol import (
    PROTOCOL_VERSION,
    Done,
    FrameParser,
    Message,
    Result,
    Start,
)
from netadapt.virtual_phone import sandbox
from netadapt.virtual_phone.frames import Asked, RunnerOutput


def frame(kind: str, **fields: Any) -> bytes:
    """A frame as the runner writes it."""
    body = json.dumps({"type": kind, **fields}).encode()
    return b"@netadapt %d %08x %s\n" % (len(body), zlib.crc32(body), body)


HELLO = frame(
    "hello",
    protocol=PROTOCOL_VERSION,
    runtime="1.4.1",
    abi="x",
    options="o",
    layout="fixed",
    backends=[],
    kernels=0,
)
SNAPSHOT = {
    "freq_khz": 1000,
    "temperature_c": 40.0,
    "load_avg": 0.5,
    "zone": "cpu",
    "freqs_khz": [1000],
    "limits_khz": [2000],
}
START = frame("start", **SNAPSHOT)
FIRST, SECOND = b"the first program", b"the second"


class Here(sandbox.PhoneProcess):
    """A program that runs in a folder of this machine's."""

    @property
    def folder(self) -> Path:
        return Path(os.environ["FRAMES_FOLDER"])


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    (tmp_path / "0.pte").write_bytes(FIRST)
    (tmp_path / "1.pte").write_bytes(SECOND)
    (tmp_path / "stored").write_bytes(b"the sentinel")
    monkeypatch.setenv("FRAMES_FOLDER", str(tmp_path))
    arguments = ("cpus=2,3", "programs=2", "rounds=2", "method.1=other", "sentinel=forward")
    return Here(1, (*arguments, "at.sentinel.pte=stored"), 0)


class Clock:
    """A clock that is set."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def passed_through(output: RunnerOutput, *pieces: bytes) -> list[Message]:
    parser = FrameParser()
    return [m for p in [*map(output.feed, pieces), output.end()] for m in parser.feed(p)]


def slower(
    running: Here, factors: Mapping[str, float], slowness: float = 1.0, clock: Clock | None = None
) -> RunnerOutput:
    return RunnerOutput(
        lambda: [running], factors, lambda start, end: slowness, None, clock or Clock()
    )


def test_a_programs_factor_is_found_by_its_hash(running: Here) -> None:
    factors = {
        hashlib.sha256(FIRST).hexdigest(): 2.0,
        hashlib.sha256(SECOND).hexdigest(): 5.0,  # its method `other` has another hash
        hashlib.sha256(SECOND + b"\0other").hexdigest(): 3.0,
        hashlib.sha256(b"the sentinel").hexdigest(): 1.5,
    }
    messages = passed_through(
        slower(running, factors),
        HELLO + START,
        frame("result", program=0, calls_per_sample=4, rounds_us=[[1.0, 2.0], [3.0]]),
        frame("result", program=1, calls_per_sample=1, rounds_us=[[1.0], [1.0]]),
        frame("done", **SNAPSHOT, sentinel_us=[10.0, 20.0], round_freqs_khz=[1000, 1000]),
    )
    results = [m for m in messages if isinstance(m, Result)]
    assert results[0].rounds_us == ((2.0, 4.0), (6.0,))
    assert results[0].calls_per_sample == 4
    assert results[1].rounds_us == ((3.0,), (3.0,))
    assert isinstance(messages[-1], Done)
    assert messages[-1].sentinel_us == (15.0, 30.0)


def test_a_throttled_spell_shows_in_its_rounds_only(running: Here) -> None:
    clock = Clock()
    hot_from, hot_to = 10.0, 20.0

    def slowness(start: float, end: float) -> float:
        return 2.0 if hot_from <= start < hot_to else 1.0

    output = RunnerOutput(lambda: [running], {}, slowness, None, clock)
    output.feed(HELLO + START)
    # Two programs: steps 0-1 load, 2-3 warm up, 4-5 are the first round, 6-7 the second
    for step in range(8):
        clock.now_s = 12.0 if step >= 6 else 5.0
        output.feed(frame("progress", program=step % 2, done=step, total=8))
    clock.now_s = 25.0
    changed = output.feed(frame("result", program=0, calls_per_sample=1, rounds_us=[[1.0], [1.0]]))
    (result,) = FrameParser().feed(HELLO + changed)[1:]
    assert isinstance(result, Result)
    assert result.rounds_us == ((1.0,), (2.0,))


def test_conditions_are_the_phones_where_the_runner_sees_this_machines(running: Here) -> None:
    output = RunnerOutput(
        lambda: [running],
        {},
        lambda start, end: 1.0,
        lambda cores: {"freq_khz": 1000 * cores[0], "temperature_c": 50.0},
    )
    messages = passed_through(output, HELLO + START)
    assert isinstance(messages[1], Start)
    assert (messages[1].snapshot.freq_khz, messages[1].snapshot.temperature_c) == (2000, 50.0)
    assert messages[1].snapshot.load_avg == 0.5


@given(
    st.lists(
        st.binary(max_size=30) | st.sampled_from([START, b"@netadapt ", b"@net", b"\n", b"\r\n"]),
        max_size=8,
    ),
    st.integers(1, 50),
)
def test_without_a_factor_every_byte_passes_as_it_is(pieces: list[bytes], size: int) -> None:
    output = RunnerOutput(list, {}, lambda start, end: 1.0, None)
    stream = b"".join(pieces)
    passed = b"".join(
        output.feed(stream[start : start + size]) for start in range(0, len(stream), size)
    )
    assert passed + output.end() == stream


def test_what_is_no_frame_is_not_held_back() -> None:
    output = RunnerOutput(list, {}, lambda start, end: 1.0, None)
    assert output.feed(b"a prompt without an end $ ") == b"a prompt without an end $ "


def test_what_a_shell_was_asked_to_start_is_known_when_it_is_gone(tmp_path: Path) -> None:
    script = (
        "mkdir -p /data/runs/1 && cd /data/runs/1 || exit 125\necho $$ >pid || exit 125\n"
        "exec ../../store/runner programs=1 'cpus=2,3' at.0.pte=../../store/one"
    )
    asked = Asked.by(script, tmp_path)
    assert asked is not None
    assert asked.arguments == ("programs=1", "cpus=2,3", "at.0.pte=../../store/one")
    assert asked.folder == tmp_path / "data/runs/1"
    for other in ("", "echo 'unfinished", "cd", "input keyevent WAKEUP"):
        assert Asked.by(other, tmp_path) is None
