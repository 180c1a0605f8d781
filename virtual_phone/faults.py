"""What goes wrong with a phone, on cue, and the log that proves what it hit."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import Final, Literal

from netadapt.android_runner.errors import InvalidRunError

FaultKind = Literal[
    "nothing",
    "cable_out",
    "silence",
    "reboot",
    "runner_segv",
    "runner_sigill",
    "runner_hung",
    "bad_program",
    "storage_full",
    "corrupt_push",
    "cut_output",
    "mixed_output",
    "unauthorized",
    "throttled",
    "clock_change",
    "low_battery",
    "core_asleep",
]

Occasion = Literal["now", "push", "program", "output"]

_JUNK: Final = (
    b"WARNING: linker: unsupported flags DT_FLAGS_1=0x8000001\n",
    b"\r\nI/ActivityManager( 1204): Start proc 8123:com.example/u0a91\r\n",
    b'@netadapt 31 0123abcd {"type":"result","program":0',
    "größer ☃ \x00\x1b[31m".encode(),
)


@dataclass(frozen=True, slots=True)
class Moment:
    """When a fault comes, counted from when it is put on cue.

    ``now``; ``push``: while a file comes in, once pushed bytes exceed ``after_bytes``;
    ``program``: while a program runs, once programs have run for ``after_s`` seconds in all;
    ``output``: while a program runs, once its output exceeds ``after_bytes``.
    """

    occasion: Occasion = "now"
    after_bytes: int = 0
    after_s: float = 0.0

    @classmethod
    def during_push(cls, after_bytes: int = 0) -> Moment:
        """While a file comes in, after so many pushed bytes."""
        return cls("push", after_bytes=after_bytes)

    @classmethod
    def during_program(cls, after_s: float = 0.0) -> Moment:
        """While a program runs, after so many seconds of running ones."""
        return cls("program", after_s=after_s)

    @classmethod
    def during_output(cls, after_bytes: int = 0) -> Moment:
        """While a program runs, after so many bytes of output."""
        return cls("output", after_bytes=after_bytes)


NOW: Final = Moment()


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    nothing: the phone is as before; its moment is when to do something to the other side.
    cable_out: connections end and none is taken for ``seconds``.
    silence: nothing is heard for ``seconds``, then as a pulled cable.
    reboot: gone for ``seconds``; processes end, pushed files stay, the boot id changes.
    runner_segv, runner_sigill: the running program dies of that signal.
    runner_hung: the running program stops for good.
    bad_program: a stored ``.pte`` is damaged when the next program starts after its moment.
    storage_full: no room for files for ``seconds``.
    corrupt_push: bytes of the incoming file arrive changed.
    cut_output: the running program's output ends early while the program continues.
    mixed_output: other text comes amid the running program's output, ``amount`` pieces.
    unauthorized: keys are forgotten, connections end; accepted again after ``seconds``.
    throttled: CPU zones are at ``amount`` degrees Celsius for ``seconds``.
    clock_change: the phone's clock jumps by ``amount`` seconds.
    low_battery: ``amount`` percent, off the charger, for ``seconds``.
    core_asleep: the fastest cluster is switched off for ``seconds``, whatever work there is.
    """

    kind: FaultKind
    seconds: float = 1.0
    moment: Moment = NOW
    amount: float | None = None

    def __post_init__(self) -> None:
        if not self.seconds >= 0:
            raise InvalidRunError(
                f"a fault must last 0 or more seconds, got {self.seconds!r}; raise it"
            )

    @property
    def amount_or_default(self) -> float:
        """``amount``, or what is usual for the kind."""
        usual = {
            "throttled": 85.0,
            "clock_change": 86400.0,
            "low_battery": 4.0,
            "mixed_output": 20.0,
        }
        return self.amount if self.amount is not None else usual.get(self.kind, 0.0)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the phone's log.

    Attributes
    ----------
    time_s: of `time.monotonic`.
    kind: ``fault``, ``back``, ``push``, ``shell`` ...
    in_flight: what was under way: pushes with their bytes so far, programs with their arguments.
    """

    time_s: float
    kind: str
    detail: str
    in_flight: tuple[str, ...] = ()


@dataclass(slots=True)
class Cue:
    """A fault put on cue, and how far it has come."""

    fault: Fault
    struck: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    struck_at_s: float | None = None
    over_at_s: float | None = None
    in_flight: tuple[str, ...] = ()
    pushed_bytes: int = 0
    output_bytes: int = 0
    program_s: float = 0.0

    def due(self, occasion: Occasion) -> bool:
        """Whether its moment has come, on an ``occasion`` like this one."""
        return not self.struck.is_set() and occasion == self.fault.moment.occasion and self.ripe

    @property
    def ripe(self) -> bool:
        """Whether as much has been pushed, printed or run as its moment asks for."""
        moment = self.fault.moment
        passed = {
            "now": 0.0,
            "push": self.pushed_bytes,
            "output": self.output_bytes,
            "program": self.program_s,
        }
        return passed[moment.occasion] >= (
            moment.after_s if moment.occasion == "program" else moment.after_bytes
        )

    def strike(self, in_flight: tuple[str, ...]) -> None:
        """It hits."""
        self.struck_at_s = time.monotonic()
        self.in_flight = in_flight
        self.struck.set()

    def end(self) -> None:
        """The phone is as before."""
        self.over_at_s = time.monotonic()
        self.over.set()


def corrupted(data: bytes, generator: random.Random) -> bytes:
    """``data`` with one byte changed."""
    if not data:
        return data
    position = generator.randrange(len(data))
    changed = bytearray(data)
    changed[position] ^= generator.randrange(1, 256)
    return bytes(changed)


def mixed(data: bytes, generator: random.Random) -> bytes:
    """``data`` with somebody else's text at a random place in it."""
    position = generator.randrange(len(data) + 1)
    return data[:position] + generator.choice(_JUNK) + data[position:]
