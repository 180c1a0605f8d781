"""A runner that does not fit the programs is refused before any of them runs."""

from __future__ import annotations

import logging
import struct
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netadapt.android_runner import DeviceError, Failure, HostDevice, Program, RunSpec
from netadapt.android_runner.runner.batch import run_batch
from netadapt.android_runner.runner.compatibility import check_runner_fits, check_versions
from netadapt.android_runner.runner.program_format import ProgramFormat, format_problem, read_format
from netadapt.android_runner.runner.protocol import PROTOCOL_VERSION, Hello

QUICK = RunSpec(rounds=1, warmup_ms=0, visit_ms=0)


def _hello(runtime: str = "1.4.1", backends: tuple[str, ...] = (), kernels: int = 9) -> Hello:
    return Hello(PROTOCOL_VERSION, runtime, "aarch64-Linux", "", "fixed", backends, kernels)


def test_a_program_tells_its_format_and_backends(lowered: Mapping[str, bytes]) -> None:
    for data in lowered.values():
        assert read_format(data) == ProgramFormat("ET12", 0, frozenset({"XnnpackBackend"}))
        assert format_problem(data) is None


def test_another_format_is_named(lowered: Mapping[str, bytes]) -> None:
    data = lowered["conv"]
    problem = format_problem(data[:4] + b"ET13" + data[8:])
    assert problem is not None
    assert "ET12" in problem
    assert "ET13" in problem


def test_another_schema_version_is_named() -> None:
    # A root table with one field, laid out by hand: offset, identifier, vtable, table.
    data = struct.pack("<I4sHHHHiI", 16, b"ET12", 6, 8, 4, 0, 8, 7)
    assert read_format(data) == ProgramFormat("ET12", 7, frozenset())
    problem = format_problem(data)
    assert problem is not None
    assert "got 7" in problem


@given(st.data())
def test_damage_is_never_more_than_unreadable(
    lowered: Mapping[str, bytes], data: st.DataObject
) -> None:
    program = bytearray(lowered["two"])
    for _ in range(data.draw(st.integers(1, 4))):
        program[data.draw(st.integers(8, 400))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(program)))
    read_format(bytes(program[:cut]))


def test_a_program_of_another_format_never_reaches_the_device(
    host: HostDevice, programs: list[Program]
) -> None:
    data = programs[0].data
    other = Program("other", data[:4] + b"ET99" + data[8:])
    answers = {answer.program: answer for answer in host.run([other, programs[1]], QUICK)}
    failure = answers["other"]
    assert isinstance(failure, Failure)
    assert failure.kind == "load"
    assert "ET99" in failure.message
    assert not isinstance(answers[programs[1].name], Failure)


class _NoTransport:
    def start(
        self, files: Mapping[str, bytes], arguments: Sequence[str]
    ) -> AbstractContextManager[None]:
        raise AssertionError("nothing may be started")


def test_nothing_is_started_for_programs_of_another_format(programs: list[Program]) -> None:
    data = programs[0].data
    other = Program("other", data[:4] + b"ET99" + data[8:])
    answers = list(run_batch(_NoTransport(), [other], QUICK, (0,), None))  # type: ignore[arg-type]
    assert [answer.program for answer in answers] == ["other"]


@pytest.mark.parametrize("runtime", ["1.3.2", "1.5.0", "2.4.1"])
def test_another_minor_version_is_an_error_that_names_both(runtime: str) -> None:
    with pytest.raises(DeviceError, match="netadapt runner build") as error:
        check_versions(runtime, "1.4.1")
    assert runtime in str(error.value)
    assert "1.4.1" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("runtime", "warned"),
    [("1.4.1", False), ("1.4.1+cpu", False), ("1.4.0", True), ("unknown", True)],
)
def test_another_patch_level_or_no_version_is_a_warning(
    runtime: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    from netadapt.android_runner.runner.compatibility import _warn_once

    _warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        check_versions(runtime, "1.4.1")
        check_versions(runtime, "1.4.1")
    assert len(caplog.records) == int(warned)
    assert all(runtime in record.message for record in caplog.records)


def test_a_missing_backend_is_an_error_with_the_flag(lowered: Mapping[str, bytes]) -> None:
    with pytest.raises(DeviceError, match=r"XnnpackBackend.*EXECUTORCH_BUILD_XNNPACK=ON"):
        check_runner_fits(_hello(backends=("Other",)), lowered.values())
    check_runner_fits(_hello(backends=("XnnpackBackend",)), lowered.values())


def test_a_runner_without_operators_is_an_error() -> None:
    with pytest.raises(DeviceError, match="operators"):
        check_runner_fits(_hello(kernels=0), ())
