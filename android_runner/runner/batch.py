"""Drives the native runner over any transport: chunks, blame, and the restart after a crash."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable, Iterator, Sequence

from netadapt.android_runner.device import (
    Conditions,
    Failure,
    FailureKind,
    Measurement,
    Program,
    RunProgress,
    RunSpec,
)
from netadapt.android_runner.errors import DeviceError, InvalidRunError, ProtocolError
from netadapt.android_runner.runner.compatibility import check_runner_fits
from netadapt.android_runner.runner.program_format import format_problem
from netadapt.android_runner.runner.protocol import (
    SENTINEL_FILE,
    SENTINEL_INDEX,
    Done,
    Failed,
    Fatal,
    FrameParser,
    Hello,
    Message,
    Result,
    Snapshot,
    Start,
    Step,
    program_file,
    runner_arguments,
)
from netadapt.android_runner.runner.transport import Transport

logger = logging.getLogger(__name__)

# What one process holds in memory at a time; phones have little.
CHUNK_PROGRAMS = 64
CHUNK_BYTES = 128 * 2**20

# The runner may be killed for no fault of a program's (memory, somebody's hand): once is forgiven.
MAX_UNEXPLAINED_DEATHS = 2


def greet(transport: Transport, timeout_s: float = 60.0) -> Hello:
    """Ask the runner who it is. Raises `DeviceError` if it does not answer within ``timeout_s``."""
    parser = FrameParser()
    with transport.start({}, []) as process:
        deadline = time.monotonic() + timeout_s
        # Some other program may talk without end
        while data := process.read(max(deadline - time.monotonic(), 0)):
            for message in parser.feed(data):
                if isinstance(message, Hello):
                    return message
        process.kill()
        raise DeviceError(f"the runner must say hello, got nothing ({process.wait()}); rebuild it")


def run_batch(
    transport: Transport,
    programs: Sequence[Program],
    spec: RunSpec,
    cpus: tuple[int, ...],
    on_progress: Callable[[RunProgress], None] | None,
) -> Iterator[Measurement | Failure]:
    """Time programs with unique names; one answer each, chunk by chunk.

    Raises `DeviceError` when the runner cannot work at all, `ProtocolError` when it breaks
    the protocol.
    """
    steps = spec.rounds + 2  # loading and warming up are steps too
    total = steps * len(programs)
    finished = 0  # programs answered for good
    shown = 0

    def show(step: Step, program: str) -> None:
        nonlocal shown  # a restart after a crash must not turn a progress bar back
        shown = max(shown, min(finished * steps + step.done, total))
        if on_progress is not None:
            on_progress(RunProgress(shown, total, program))

    for program in programs:
        if problem := format_problem(program.data):
            finished += 1
            yield Failure(program.name, "load", problem)
    for chunk in _chunks([program for program in programs if not format_problem(program.data)]):
        pending = chunk
        deaths = 0
        while pending:
            attempt = _Attempt(pending, spec, cpus, show)
            ending = attempt.run(transport)
            yield from attempt.answers.values()
            finished += len(attempt.answers)
            pending = [
                program for index, program in enumerate(pending) if index not in attempt.answers
            ]
            if attempt.answers:
                continue
            deaths += 1
            logger.warning("the runner died with no program to blame: %s", ending)
            if deaths == MAX_UNEXPLAINED_DEATHS:
                raise DeviceError(
                    f"the runner must survive, but died with no program to blame ({ending}); "
                    "check the device's memory and installation, then run again"
                )


def _chunks(programs: Sequence[Program]) -> Iterator[list[Program]]:
    chunk: list[Program] = []
    size = 0
    for program in programs:
        if chunk and (len(chunk) == CHUNK_PROGRAMS or size + len(program.data) > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(program)
        size += len(program.data)
    if chunk:
        yield chunk


class _Attempt:
    """One runner process: its programs by index, and what it answered."""

    def __init__(
        self,
        programs: Sequence[Program],
        spec: RunSpec,
        cpus: tuple[int, ...],
        show: Callable[[Step, str], None],
    ) -> None:
        self._programs = programs
        self._spec = spec
        self._cpus = cpus
        self._show = show
        self._in_flight: int | None = None
        self._start: Snapshot | None = None
        self._results: list[Result] = []
        self._done: Done | None = None
        self._started_at = ""
        self.answers: dict[int, Measurement | Failure] = {}

    def run(self, transport: Transport) -> str:
        """Fill `answers`: all of them, or those known when the process died or hung.

        Returns how the process ended. Raises `DeviceError` when the runner refuses the run.
        """
        files = {program_file(i): program.data for i, program in enumerate(self._programs)}
        if self._spec.sentinel is not None:
            files[SENTINEL_FILE] = self._spec.sentinel.data
        arguments = runner_arguments(self._programs, self._spec, self._cpus)
        parser = FrameParser()
        hung = False
        self._started_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with transport.start(files, arguments) as process:
            while self._done is None:
                data = process.read(self._spec.timeout_s)
                hung = data is None
                if not data:
                    break
                for message in parser.feed(data):
                    self._take(message)
            process.kill()  # it has sent its last message, or never will
            ending = process.wait()
        self._conclude(hung, ending)
        return ending

    def _take(self, message: Message) -> None:
        match message:
            case Hello():
                check_runner_fits(message, {program.data for program in self._programs})
            case Start(snapshot):
                self._start = snapshot
            case Step(program):
                self._in_flight = program
                self._show(message, self._name(program))
            case Failed(program, _, text) if program == SENTINEL_INDEX:
                raise DeviceError(
                    f"the sentinel must run, but {self._name(program)!r} did not ({text}); "
                    "choose another sentinel"
                )
            case Failed(program, kind, text):
                self.answers[program] = Failure(self._name(program), kind, text)
            case Result(program):
                self._check_index(program)
                self._results.append(message)
            case Done():
                self._done = message
            case Fatal(text):
                raise DeviceError(f"the runner refused to run ({text}); change the run's settings")

    def _conclude(self, hung: bool, ending: str) -> None:
        """Turn what was heard into answers; without the closing message, find who is to blame."""
        if self._done is not None and self._start is not None:
            conditions = self._conditions(self._start, self._done)
            for result in self._results:
                self.answers[result.program] = self._measurement(result, conditions)
            for index in range(len(self._programs)):
                if index not in self.answers:
                    self._fail(index, "protocol", "its result got lost; measure it again")
        elif self._in_flight is not None and self._in_flight != SENTINEL_INDEX:
            if hung:
                self._fail(
                    self._in_flight,
                    "timeout",
                    f"nothing was heard for {self._spec.timeout_s:g} s while it ran; "
                    "raise timeout_s or leave it out",
                )
            else:
                self._fail(self._in_flight, "crash", f"the runner died while it ran ({ending})")

    def _fail(self, index: int, kind: FailureKind, message: str) -> None:
        self.answers.setdefault(index, Failure(self._name(index), kind, message))

    def _measurement(self, result: Result, conditions: Conditions) -> Measurement | Failure:
        program = self._programs[result.program]
        try:
            return Measurement(
                program=program.name,
                program_sha256=program.sha256,
                rounds_us=result.rounds_us,
                calls_per_sample=result.calls_per_sample,
                conditions=conditions,
                outputs=result.outputs,
            )
        except InvalidRunError as error:
            return Failure(program.name, "protocol", str(error))

    def _conditions(self, before: Snapshot, done: Done) -> Conditions:
        after = done.snapshot
        return Conditions(
            cpus=self._cpus,
            threads=self._spec.threads,
            freq_khz_before=before.freq_khz,
            freq_khz_after=after.freq_khz,
            temperature_c_before=before.temperature_c,
            temperature_c_after=after.temperature_c,
            load_avg_before=before.load_avg,
            load_avg_after=after.load_avg,
            sentinel_us=done.sentinel_us,
            started_at=self._started_at,
            limits_khz_before=before.limits_khz,
            limits_khz_after=after.limits_khz,
            round_freqs_khz=done.round_freqs_khz,
        )

    def _name(self, index: int) -> str:
        if index == SENTINEL_INDEX and self._spec.sentinel is not None:
            return self._spec.sentinel.name
        self._check_index(index)
        return self._programs[index].name

    def _check_index(self, index: int) -> None:
        if not 0 <= index < len(self._programs):
            raise ProtocolError(
                f"the runner must name programs 0 to {len(self._programs) - 1}, got {index}; "
                "rebuild it"
            )
