"""The parser hears every whole message, and nothing else, whatever happens on the line."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import subprocess
import zlib
from contextlib import AbstractContextManager, nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netadapt.android_runner import HostDevice, Program, ProtocolError, RunSpec
from netadapt.android_runner.building.for_host import build_runner
from netadapt.android_runner.runner.batch import run_batch
from netadapt.android_runner.runner.check import known_program
from netadapt.android_runner.runner.protocol import (
    PROTOCOL_VERSION,
    Done,
    Failed,
    Fatal,
    FrameParser,
    Hello,
    Message,
    Result,
    Snapshot,
    Step,
    runner_arguments,
)

HELLO: dict[str, object] = {
    "type": "hello", "protocol": PROTOCOL_VERSION, "runtime": "1", "abi": "a", "options": "o",
    "layout": "fixed", "backends": ["XnnpackBackend"], "kernels": 240,
}  # fmt: skip


def _frame(fields: object) -> bytes:
    body = json.dumps(fields).encode()
    return b"@netadapt %d %08x %s" % (len(body), zlib.crc32(body), body)


_numbers = st.floats(0.001, 1e6)
_fields = st.one_of(
    st.builds(
        lambda p, d: {"type": "progress", "program": p, "done": d, "total": 9},
        st.integers(-1, 99), st.integers(0, 9),
    ),
    st.builds(
        lambda p, m: {"type": "failure", "program": p, "kind": "load", "message": m},
        st.integers(0, 99), st.text(),
    ),
    st.builds(
        lambda r: {"type": "result", "program": 1, "calls_per_sample": 2, "rounds_us": r},
        st.lists(st.lists(_numbers, min_size=1, max_size=3), min_size=1, max_size=3),
    ),
    st.builds(lambda m: {"type": "fatal", "message": m}, st.text()),
)  # fmt: skip
_line_ends = st.sampled_from([b"\n", b"\r\n", b"\r", b"\r\r\n"])
# Other processes' output: any bytes, and things that look like ours but are not.
_garbage = st.one_of(
    st.binary(max_size=40).map(lambda noise: noise.replace(b"@netadapt", b"")),
    st.sampled_from(
        [b"@netadapt ", b"@netadapt 9 ", b"@netadapt 2 00000000 {}", _frame(HELLO)[:-3],
         b"@netadapt 99999 1234abcd {", _frame(HELLO).replace(b"hello", b"jello")]
    ),
)  # fmt: skip


def _parse(data: bytes, cuts: list[int] | None = None) -> list[Message]:
    parser = FrameParser()
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts or ()), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(bounds)]
    return [message for piece in pieces for message in parser.feed(piece)]


@given(
    st.lists(st.tuples(_fields, _line_ends, st.lists(st.tuples(_garbage, _line_ends), max_size=2))),
    st.lists(st.integers(0), max_size=5),
)
def test_garbage_lines_and_line_ends_change_nothing(
    parts: list[tuple[dict[str, object], bytes, list[tuple[bytes, bytes]]]], cuts: list[int]
) -> None:
    clean = b"".join(_frame(fields) + b"\n" for fields in (HELLO, *(p[0] for p in parts)))
    dirty = _frame(HELLO) + b"\n"
    for fields, line_end, garbage in parts:
        dirty += b"".join(noise + end for noise, end in garbage) + _frame(fields) + line_end
    expected = _parse(clean)
    assert len(expected) == len(parts) + 1
    assert _parse(dirty, cuts) == expected


@given(st.lists(_fields, min_size=1, max_size=4), st.integers(0))
def test_truncated_output_gives_the_whole_messages_only(
    fields: list[dict[str, object]], cut: int
) -> None:
    lines = [_frame(HELLO) + b"\n", *(_frame(f) + b"\n" for f in fields)]
    data = b"".join(lines)
    cut %= len(data) + 1
    whole = 0
    while whole < len(lines) and len(b"".join(lines[: whole + 1])) <= cut:
        whole += 1
    assert _parse(data[:cut]) == _parse(b"".join(lines[:whole]))


@given(_garbage, _garbage, _fields)
def test_text_before_and_after_on_the_same_line(
    before: bytes, after: bytes, fields: dict[str, object]
) -> None:
    before = re.sub(rb"[\r\n]", b"", before)
    data = _frame(HELLO) + b"\n" + before + _frame(fields) + after + b"\n"
    assert _parse(data) == _parse(_frame(HELLO) + b"\n" + _frame(fields) + b"\n")


@given(st.integers(0), st.integers(1, 255))
def test_a_damaged_frame_is_no_message(position: int, flip: int) -> None:
    frame = bytearray(_frame({"type": "fatal", "message": "a longer text to damage"}))
    frame[position % len(frame)] ^= flip
    assert len(_parse(_frame(HELLO) + b"\n" + bytes(frame) + b"\n")) == 1


def test_reads_every_kind_of_message() -> None:
    snapshot = {
        "freq_khz": 1800000, "freqs_khz": [1800000, None], "limits_khz": [2400000, None],
        "temperature_c": 31.5, "zone": "cpu-0-0-usr", "load_avg": None,
    }  # fmt: skip
    output = {"type": "tensor", "shape": [2], "dtype": "Float", "values": [1.0, float("inf")]}
    sent = [
        HELLO,
        {"type": "start", **snapshot},
        {"type": "progress", "program": 0, "done": 1, "total": 2},
        {"type": "failure", "program": 1, "kind": "execute", "message": "because"},
        {"type": "result", "program": 0, "calls_per_sample": 3, "rounds_us": [[1, 2.5]],
         "outputs": [output]},
        {"type": "done", **snapshot, "sentinel_us": [1.0], "round_freqs_khz": [1, None]},
        {"type": "fatal", "message": "no"},
    ]  # fmt: skip
    hello, _, step, failed, result, done, fatal = _parse(b"".join(_frame(f) + b"\n" for f in sent))
    assert hello == Hello(PROTOCOL_VERSION, "1", "a", "o", "fixed", ("XnnpackBackend",), 240)
    assert step == Step(0, 1, 2)
    assert failed == Failed(1, "execute", "because")
    assert isinstance(result, Result)
    assert result.rounds_us == ((1.0, 2.5),)
    assert result.outputs is not None
    assert result.outputs[0].values == (1.0, float("inf"))
    snapshot_read = Snapshot(1800000, 31.5, None, "cpu-0-0-usr", (1800000, None), (2400000, None))
    assert done == Done(snapshot_read, (1.0,), (1, None))
    assert fatal == Fatal("no")


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({**HELLO, "protocol": PROTOCOL_VERSION + 1}, "must speak protocol"),
        ({"type": "fatal", "message": "too early"}, "hello first"),
        ({"type": "song"}, "must follow docs/protocol.md"),
        ({"type": "progress", "program": "x", "done": 0, "total": 1}, "must follow"),
        (["a", "list"], "must follow"),
    ],
)
def test_a_whole_message_that_breaks_the_rules_is_an_error(fields: object, match: str) -> None:
    with pytest.raises(ProtocolError, match=match) as error:
        _parse(_frame(fields) + b"\n")
    assert "\n" not in str(error.value)


class _Recorded:
    """A transport, and its one process: the runner says `output` and ends."""

    def __init__(self, output: bytes) -> None:
        self._output = output

    def start(self, files: object, arguments: object) -> AbstractContextManager[_Recorded]:
        return nullcontext(self)

    def read(self, timeout_s: float) -> bytes:
        output, self._output = self._output, b""
        return output

    def kill(self) -> None:
        pass

    def wait(self) -> str:
        return "ended"


@pytest.mark.parametrize("index", [-1, -2, 2, 2**62])
@pytest.mark.parametrize("sentinel", [None, known_program()])
def test_a_result_of_a_program_that_was_not_given_is_an_error(
    index: int, sentinel: Program | None
) -> None:
    snapshot = {
        **dict.fromkeys(("freq_khz", "temperature_c", "zone", "load_avg")),
        "freqs_khz": [None], "limits_khz": [None],
    }  # fmt: skip
    result = {"type": "result", "calls_per_sample": 1, "rounds_us": [[5.0]]}
    said = [
        {**HELLO, "runtime": "1.4.1"},
        {"type": "start", **snapshot},
        {**result, "program": index},
        {"type": "done", **snapshot, "sentinel_us": [], "round_freqs_khz": []},
    ]
    transport = _Recorded(b"".join(_frame(fields) + b"\n" for fields in said))
    programs = [dataclasses.replace(known_program(), name=name) for name in ("first", "last")]
    spec = RunSpec(sentinel=sentinel)
    with pytest.raises(ProtocolError, match="programs 0 to 1"):
        list(run_batch(transport, programs, spec, (0,), None))


_specs = st.builds(
    RunSpec,
    threads=st.integers(1, 64),
    rounds=st.integers(1, 10**6),
    warmup_ms=st.floats(0, 1e9),
    visit_ms=st.floats(0, 1e9),
    min_sample_us=st.floats(0, 1e9),
    seed=st.integers(0, 2**63 - 1),
    sentinel=st.none() | st.just(Program("s", b"s", method="other")),
    outputs=st.booleans(),
)


_RESULT = '{"type": "result", "program": 0, "calls_per_sample": 1, "rounds_us": [[%s]]}'
_DONE = (
    '{"type": "done", "freq_khz": %s, "temperature_c": %s, "load_avg": 1.0, "zone": null, '
    '"freqs_khz": [], "limits_khz": [], "sentinel_us": [%s], "round_freqs_khz": []}'
)


@pytest.mark.parametrize(
    "text",
    [
        '{"type": "progress", "program": 1e999, "done": 0, "total": 1}',
        '{"type": "progress", "program": Infinity, "done": 0, "total": 1}',
        '{"type": "progress", "program": NaN, "done": 0, "total": 1}',
        '{"type": "progress", "program": %s, "done": 0, "total": 1}' % ("9" * 5000),
        '{"type": "progress", "program": %s, "done": 0, "total": 1}' % ("9" * 25),
        _RESULT % ("9" * 400),
        _RESULT % "1e999",
        _RESULT % "Infinity",
        _RESULT % "NaN",
        _RESULT % "-1.0",
        _DONE % ("1", "NaN", "1.0"),
        _DONE % ("Infinity", "1.0", "1.0"),
        _DONE % ("1", "1.0", "NaN"),
        "[" * 100_000,
    ],
)
def test_numbers_that_nothing_can_have_are_errors(text: str) -> None:
    parser = FrameParser()
    parser.feed(_frame(HELLO) + b"\n")
    body = text.encode()
    with pytest.raises(ProtocolError, match=r"docs/protocol\.md"):
        parser.feed(b"@netadapt %d %08x %s\n" % (len(body), zlib.crc32(body), body))


def test_a_networks_outputs_may_be_anything() -> None:
    parser = FrameParser()
    tensor = '{"shape": [3], "dtype": "float", "values": [NaN, Infinity, -Infinity]}'
    body = f'{_RESULT[:-1] % "1.5"}, "outputs": [{tensor}]}}'.encode()
    (message,) = parser.feed(
        _frame(HELLO) + b"\n@netadapt %d %08x %s\n" % (len(body), zlib.crc32(body), body)
    )[1:]
    assert isinstance(message, Result)
    assert message.outputs is not None
    assert message.outputs[0].values[1:] == (float("inf"), float("-inf"))


@given(
    _specs,
    st.lists(st.tuples(st.text(min_size=1), st.sampled_from(["forward", "m_1"])), max_size=4),
    st.lists(st.integers(0, 127), min_size=1, max_size=4, unique=True),
)
def test_arguments_are_safe_for_any_shell(
    spec: RunSpec, programs: list[tuple[str, str]], cpus: list[int]
) -> None:
    batch = [Program(name, b"p", method) for name, method in programs]
    arguments = runner_arguments(batch, spec, cpus)
    for argument in arguments:
        assert re.fullmatch(r"[a-z_0-9.]+=[A-Za-z_0-9.,+-]+", argument)
    pairs = dict(argument.split("=", 1) for argument in arguments)
    assert len(pairs) == len(arguments)
    assert int(pairs["seed"]) == spec.seed
    assert float(pairs["visit_ms"]) == spec.visit_ms
    assert int(pairs["programs"]) == len(programs)
    for index, (_, method) in enumerate(programs):
        assert pairs.get(f"method.{index}", "forward") == method


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["colour=red"], "unknown argument colour"),
        (["rounds"], "key=value"),
        (["rounds=1", "rounds=2"], "twice"),
        (["rounds=many"], "must be a number"),
        (["rounds=1"], "cpus"),
        (["cpus=0,x"], "must be a number"),
    ],
)
def test_the_runner_refuses_bad_arguments(arguments: list[str], match: str) -> None:
    process = subprocess.run(
        [build_runner().path, *arguments], capture_output=True, check=False, timeout=60
    )
    messages = _parse(process.stdout)
    assert process.returncode == 1
    assert isinstance(messages[0], Hello)
    assert isinstance(messages[-1], Fatal)
    assert match in messages[-1].message


def test_the_runner_reads_extreme_numbers(host: HostDevice, programs: list[Program]) -> None:
    spec = RunSpec(rounds=1, warmup_ms=1e-9, visit_ms=5e-324, min_sample_us=0, seed=2**63 - 1)
    assert len(list(host.run(programs[:1], spec))) == 1
