"""The host's side of the runner's protocol (docs/protocol.md): arguments out, messages in.

Pure: text and bytes only, no process, no file.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from netadapt.android_runner.device import OutputTensor, Program, RunSpec
from netadapt.android_runner.errors import ProtocolError

PROTOCOL_VERSION: Final = 3
SENTINEL_INDEX: Final = -1
_LARGEST: Final = 2**63
SENTINEL_FILE: Final = "sentinel.pte"

_FRAME = re.compile(rb"@netadapt (\d{1,10}) ([0-9a-f]{8}) ")
_LINE_END = re.compile(rb"[\r\n]")


@dataclass(frozen=True, slots=True)
class Hello:
    """Who the runner is; its first message.

    Attributes
    ----------
    layout: ``fixed`` or ``random`` addresses.
    backends: those linked in.
    kernels: how many operators are registered.
    """

    protocol: int
    runtime: str
    abi: str
    options: str
    layout: str
    backends: tuple[str, ...] = ()
    kernels: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The machine at one moment; None where it is not known.

    Attributes
    ----------
    freq_khz: of the first pinned core.
    temperature_c: of the hottest of the zones closest to the cores.
    zone: the kernel's name of it.
    freqs_khz, limits_khz: of each pinned core its frequency and the highest that the system allows
        it now, which falls while it throttles.
    """

    freq_khz: int | None
    temperature_c: float | None
    load_avg: float | None
    zone: str | None = None
    freqs_khz: tuple[int | None, ...] = ()
    limits_khz: tuple[int | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Start:
    """The run begins."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Step:
    """The runner is about to work on this program: the one to blame if nothing follows."""

    program: int
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Failed:
    """This program cannot be loaded or executed; the others continue."""

    program: int
    kind: Literal["load", "execute"]
    message: str


@dataclass(frozen=True, slots=True)
class Result:
    """All samples of one program, microseconds per call, by round."""

    program: int
    calls_per_sample: int
    rounds_us: tuple[tuple[float, ...], ...]
    outputs: tuple[OutputTensor, ...] | None


@dataclass(frozen=True, slots=True)
class Done:
    """The closing message.

    Attributes
    ----------
    sentinel_us: one median a round.
    round_freqs_khz: at the end of each round, the frequency of the slowest pinned core; None where
        it is not known.
    """

    snapshot: Snapshot
    sentinel_us: tuple[float, ...]
    round_freqs_khz: tuple[int | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Fatal:
    """The runner cannot do the run at all."""

    message: str


Message = Hello | Start | Step | Failed | Result | Done | Fatal


class FrameParser:
    """Finds the runner's messages in its output, fed piece by piece.

    Whatever is not a whole frame with a matching checksum is somebody else's output and skipped.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._greeted = False

    def feed(self, data: bytes) -> list[Message]:
        """Messages completed by ``data``, in order.

        Raises `ProtocolError` for another protocol version and for messages that break the rules.
        """
        *lines, self._rest = _LINE_END.split(self._rest + data)
        messages = [_message(body) for line in lines for body in _frames(line)]
        for message in messages:
            if not self._greeted and not isinstance(message, Hello):
                raise ProtocolError(
                    f"the runner must say hello first, got {type(message).__name__}; rebuild it"
                )
            self._greeted = True
        return messages


def _frames(line: bytes) -> Iterator[bytes]:
    position = 0
    while head := _FRAME.search(line, position):
        end = head.end() + int(head[1])
        body = line[head.end() : end]
        if end <= len(line) and zlib.crc32(body) == int(head[2], 16):
            yield body
            position = end
        else:  # a frame cut short by another writer may be followed by a whole one
            position = head.start() + 1


def _message(body: bytes) -> Message:
    try:
        fields = json.loads(body, parse_int=_whole, parse_float=_finite)
        kind = fields["type"]
        if kind == "hello" and fields["protocol"] != PROTOCOL_VERSION:
            raise ProtocolError(
                f"the runner must speak protocol {PROTOCOL_VERSION}, got {fields['protocol']}; "
                "rebuild it from this version's sources"
            )
        return _READERS[kind](fields)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, ProtocolError):
            raise
        raise ProtocolError(
            f"a runner's message must follow docs/protocol.md, got {body[:80]!r} "
            f"({type(error).__name__}: {error}); rebuild the runner"
        ) from error


def _whole(text: str) -> int:
    value = int(text)
    if abs(value) >= _LARGEST:
        raise ValueError(f"{text[:20]} is beyond 63 bits")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


def _snapshot(fields: dict[str, Any]) -> Snapshot:
    zone = fields["zone"]
    return Snapshot(
        _int_or_none(fields["freq_khz"]),
        _float_or_none(fields["temperature_c"]),
        _float_or_none(fields["load_avg"]),
        None if zone is None else str(zone),
        tuple(map(_int_or_none, fields["freqs_khz"])),
        tuple(map(_int_or_none, fields["limits_khz"])),
    )


def _int_or_none(value: Any) -> int | None:
    return None if value is None else int(value)


def _float_or_none(value: Any) -> float | None:
    return None if value is None else _measured(value)


def _measured(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} was never measured")
    return number


def _times_us(values: Any) -> tuple[float, ...]:
    times = tuple(map(_measured, values))
    if any(time < 0 for time in times):
        raise ValueError("a time is 0 or more")
    return times


def _outputs(tensors: Any) -> tuple[OutputTensor, ...]:
    return tuple(
        OutputTensor(
            tuple(map(int, tensor["shape"])),
            str(tensor["dtype"]),
            tuple(map(float, tensor["values"])),
        )
        for tensor in tensors
    )


def _failure_kind(kind: object) -> Literal["load", "execute"]:
    if kind == "load" or kind == "execute":
        return kind
    raise ValueError(f"unknown kind of failure {kind!r}")


_READERS: Final[dict[str, Callable[[dict[str, Any]], Message]]] = {
    "hello": lambda f: Hello(
        int(f["protocol"]),
        str(f["runtime"]),
        str(f["abi"]),
        str(f["options"]),
        str(f["layout"]),
        tuple(map(str, f["backends"])),
        int(f["kernels"]),
    ),
    "start": lambda f: Start(_snapshot(f)),
    "progress": lambda f: Step(int(f["program"]), int(f["done"]), int(f["total"])),
    "failure": lambda f: Failed(int(f["program"]), _failure_kind(f["kind"]), str(f["message"])),
    "result": lambda f: Result(
        int(f["program"]),
        int(f["calls_per_sample"]),
        tuple(map(_times_us, f["rounds_us"])),
        _outputs(f["outputs"]) if "outputs" in f else None,
    ),
    "done": lambda f: Done(
        _snapshot(f),
        _times_us(f["sentinel_us"]),
        tuple(map(_int_or_none, f["round_freqs_khz"])),
    ),
    "fatal": lambda f: Fatal(str(f["message"])),
}


def program_file(index: int) -> str:
    """Name of the file that holds program ``index`` of a batch."""
    return f"{index}.pte"


def runner_arguments(programs: Sequence[Program], spec: RunSpec, cpus: Sequence[int]) -> list[str]:
    """The runner's command line (without the binary) for a batch.

    Programs go by index and method names are identifiers, so no text of the caller's gets near a
    shell: every argument matches ``[a-z_0-9.]+=[A-Za-z_0-9.,+-]*``.
    """
    arguments = [
        f"threads={spec.threads}",
        f"cpus={','.join(map(str, cpus))}",
        f"rounds={spec.rounds}",
        f"warmup_ms={spec.warmup_ms!r}",
        f"visit_ms={spec.visit_ms!r}",
        f"min_sample_us={spec.min_sample_us!r}",
        f"seed={spec.seed}",
        f"outputs={int(spec.outputs)}",
        f"programs={len(programs)}",
    ]
    arguments += [
        f"method.{index}={program.method}"
        for index, program in enumerate(programs)
        if program.method != "forward"
    ]
    if spec.sentinel is not None:
        arguments.append(f"sentinel={spec.sentinel.method}")
    return arguments
