"""Changes what the runner reports as a described phone would: slower programs, throttled clocks.

Works on the runner's output as it passes, so nothing outside this package knows of it. The frames'
format is docs/protocol.md's.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from netadapt.android_runner.runner.protocol import SENTINEL_FILE, SENTINEL_INDEX, program_file

_FRAME: Final = re.compile(rb"@netadapt \d{1,10} [0-9a-f]{8} (\{.*\})$")
_LONGEST_LINE: Final = 64 << 20
_STEPS_BEFORE_ROUNDS: Final = 2  # loading and warming up


class Started(Protocol):
    """A program of the phone's, however one knows of it."""

    @property
    def arguments(self) -> Sequence[str]:
        """Without the executable."""
        ...

    @property
    def folder(self) -> Path:
        """Its working directory, as this machine can open it."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A program that a shell was asked to start.

    One that is soon done may be gone when its first line is read.
    """

    arguments: tuple[str, ...]
    folder: Path

    @classmethod
    def by(cls, command: str, root: Path) -> Asked | None:
        """The runner that ``command`` starts in a folder of the phone at ``root``, if it does."""
        try:
            words = shlex.split(command)
            folder = words[words.index("cd") + 1]
        except (ValueError, IndexError):
            return None
        arguments = tuple(word for word in words if "=" in word)
        return cls(arguments, root / folder.lstrip("/"))


class RunnerOutput:
    """One stream of a program's output, fed piece by piece.

    Parameters
    ----------
    started: the phone's programs that this stream's shell started.
    slow_down: by `_digest`.
    slowness: how much longer work took between two times.
    conditions: of pinned cores, fields of the frames ``start`` and ``done`` that the runner could
        not see (where it sees this machine's files).
    """

    def __init__(
        self,
        started: Callable[[], Sequence[Started]],
        slow_down: Mapping[str, float],
        slowness: Callable[[float, float], float],
        conditions: Callable[[Sequence[int]], Mapping[str, Any]] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._started = started
        self._slow_down = slow_down
        self._slowness = slowness
        self._conditions = conditions
        self._clock = clock
        self._held = b""
        self._factors: dict[int, float] = {}
        self._count = 0
        self._cpus: Sequence[int] = (0,)
        self._round_starts: list[float] = []
        self._round_freqs_khz: list[object] = []

    def feed(self, data: bytes) -> bytes:
        """What may be passed on: whole lines that hold frames, all else as it comes."""
        data = self._held + data
        *lines, rest = data.split(b"\n")
        passed = b"".join(self._line(line) + b"\n" for line in lines)
        if b"@netadapt " in rest or b"@netadapt ".startswith(rest[-10:]):
            self._held = rest[-_LONGEST_LINE:]
            return passed
        self._held = b""
        return passed + rest

    def end(self) -> bytes:
        """What was held back, at the stream's end."""
        held, self._held = self._held, b""
        return held

    def _line(self, line: bytes) -> bytes:
        found = _FRAME.search(line.rstrip(b"\r"))
        if found is None:
            return line
        try:
            message = json.loads(found[1])
            if not self._changed(message):
                return line
        except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError):
            return line  # no message of the runner's, whatever printed it
        body = json.dumps(message, separators=(",", ":")).encode()
        frame = b"@netadapt %d %08x %s" % (len(body), zlib.crc32(body), body)
        return line[: found.start()] + frame + line[found.end() :]

    def _changed(self, message: dict[str, Any]) -> bool:
        kind = message["type"]
        if kind == "progress":
            self._progress(message)
        if kind == "start":
            self._begin()
        return kind in ("start", "result", "done") and self._change(kind, message)

    def _begin(self) -> None:
        """A run starts: find its programs' files in the runner's folder."""
        self._round_starts = []
        self._round_freqs_khz = []
        self._factors = {}
        for process in self._started():
            words = dict(word.partition("=")[::2] for word in process.arguments)
            if not words.get("programs", "").isdigit():
                continue
            self._count = int(words["programs"])
            self._cpus = [int(cpu) for cpu in words.get("cpus", "0").split(",")]
            if self._slow_down:
                for index in range(SENTINEL_INDEX, self._count):
                    self._factors[index] = self._factor(process.folder, words, index)

    def _factor(self, folder: Path, words: Mapping[str, str], index: int) -> float:
        sentinel = index == SENTINEL_INDEX
        file = SENTINEL_FILE if sentinel else program_file(index)
        method = words.get("sentinel" if sentinel else f"method.{index}") or "forward"
        try:
            data = (folder / words.get(f"at.{file}", file)).read_bytes()
        except OSError:
            return 1.0
        return self._slow_down.get(_digest(data, method), 1.0)

    def _progress(self, message: Mapping[str, Any]) -> None:
        if self._count:
            index = int(message["done"]) // self._count - _STEPS_BEFORE_ROUNDS
            if index >= 0 and index >= len(self._round_starts):
                self._round_starts.append(self._clock())
                if self._conditions is not None:
                    self._round_freqs_khz.append(self._conditions(self._cpus)["freq_khz"])

    def _change(self, kind: str, message: dict[str, Any]) -> bool:
        changed = False
        if kind in ("start", "done") and self._conditions is not None:
            message.update(self._conditions(self._cpus))
            if kind == "done":
                message["round_freqs_khz"] = self._round_freqs_khz
            changed = True
        if kind == "result":
            factors = self._round_factors(int(message["program"]), len(message["rounds_us"]))
            if any(factor != 1.0 for factor in factors):
                message["rounds_us"] = [
                    [sample * factor for sample in samples]
                    for samples, factor in zip(message["rounds_us"], factors, strict=True)
                ]
                changed = True
        if kind == "done":
            factors = self._round_factors(SENTINEL_INDEX, len(message["sentinel_us"]))
            if any(factor != 1.0 for factor in factors):
                message["sentinel_us"] = [
                    value * factor
                    for value, factor in zip(message["sentinel_us"], factors, strict=True)
                ]
                changed = True
        return changed

    def _round_factors(self, program: int, rounds: int) -> list[float]:
        own = self._factors.get(program, 1.0)
        now = self._clock()
        starts = [*self._round_starts[:rounds]]
        if not starts:
            return [own] * rounds
        starts += [starts[-1]] * (rounds - len(starts))
        ends = [*starts[1:], now]
        return [own * self._slowness(start, end) for start, end in zip(starts, ends, strict=True)]


def _digest(data: bytes, method: str) -> str:
    """What names a program: the SHA-256 of its file, and of a method other than ``forward``."""
    digest = hashlib.sha256(data)
    if method != "forward":
        digest.update(b"\0" + method.encode())
    return digest.hexdigest()
