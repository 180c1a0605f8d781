"""What goes wrong with a phone, at random moments: what a profile loses, doubles or gets wrong.

    python -m benchmarks.phone_faults [--quick] [--only NAME ...] [--runs N]

Each run profiles the same kernels onto a virtual phone with nothing on it yet, through the real
adb, in a process of its own; one fault strikes at a random moment while a file is being pushed or a
program runs (the phone's log records which). A process that ends before its table is whole is
started again, as a user would with the same command; only Ctrl-C and kill -9 should need that.

For each fault: `lost`, rows committed before it struck that are gone, or changed although they were
steady (what is flagged, or turns out to be, is measured anew); `doubled`, rows beyond one for each
kernel; `wrong`, rows of another program, phone or core, or not flagged and more than `WRONG_SHARE`
off an undisturbed run's; `beside_others`, the same when the sentinel, by all that the benchmark has
seen of it, shows that the machine had other work, which one short profile cannot know; `hung`, runs
that did not end `PATIENCE_S` after the phone was back; `stall_s`, the longest time from the phone's
return until the next file has come or the next program starts; `restarts`, processes started again;
`missing`, kernels that the finished tables lack.
"""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import random
import signal
import sqlite3
import stat
import struct
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Final, Literal

from benchmarks.common import own_adb_server, parser, print_result, say
from netadapt.android_runner.phone.adb import AdbServer
from netadapt.android_runner.phone.device import PhoneDevice
from netadapt.android_runner.phone.settings import PhoneSettings
from netadapt.profiler.kernels import ActivationKernel, AddKernel, Kernel, PointwiseConvKernel
from netadapt.profiler.lowering import Subject
from netadapt.profiler.profile import Profiler, course_of
from netadapt.profiler.settings import ProfileSettings
from netadapt.profiler.table import LatencyTable, Row
from netadapt.profiler.timing import Gate
from netadapt.virtual_phone import PIXEL_1, Cue, Fault, Moment, VirtualPhone
from netadapt.virtual_phone.faults import FaultKind

WRONG_SHARE: Final = 0.35
PATIENCE_S: Final = 60.0
MAX_STARTS: Final = 4
OUTPUT_TIMEOUT_S: Final = 3.0  # a silent runner is given up after that long

Where = Literal["push", "program", "output"]
QUICK: Final = ("cable_out", "kill_9")
"""The others' ways are those of `tests/android_runner/phone/test_faults.py`."""
BOTH: Final[tuple[Where, ...]] = ("push", "program")


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault by name: what the phone plays, where it may strike.

    kind: ``nothing`` where it is played from outside (`_OUTSIDE`).
    """

    kind: FaultKind
    where: tuple[Where, ...]
    seconds: float = 0.0
    amounts: tuple[float, ...] = ()


TROUBLES: Final[dict[str, Trouble]] = {
    "cable_out": Trouble("cable_out", ("program",), 0.5),
    "cable_out_during_push": Trouble("cable_out", ("push",), 0.5),
    "adb_server_killed": Trouble("nothing", BOTH),
    "reboot": Trouble("reboot", BOTH, 0.5),
    "runner_segv": Trouble("runner_segv", ("program",)),
    "runner_sigill": Trouble("runner_sigill", ("program",)),
    "runner_hung": Trouble("runner_hung", ("program",)),
    "bad_program": Trouble("bad_program", ("program",)),
    "storage_full": Trouble("storage_full", ("push",), 1.0),
    "corrupt_push": Trouble("corrupt_push", ("push",)),
    "link_refused": Trouble("nothing", BOTH),
    "cut_output": Trouble("cut_output", ("output",)),
    "mixed_output": Trouble("mixed_output", ("output",), amounts=(20.0,)),
    "unauthorized": Trouble("unauthorized", BOTH, 1.0),
    "second_phone": Trouble("nothing", BOTH),
    "throttled": Trouble("throttled", ("program",), 1.0, (85.0,)),
    "clock_change": Trouble("clock_change", BOTH, 0.0, (86_400.0, -86_400.0)),
    "low_battery": Trouble("low_battery", BOTH, 1.0, (3.0,)),
    "core_asleep": Trouble("core_asleep", BOTH, 1.0),
    "ctrl_c": Trouble("nothing", BOTH),
    "kill_9": Trouble("nothing", BOTH),
}


@dataclass(slots=True)
class Tally:
    """What happened to the runs with one fault."""

    runs: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    beside_others: int = 0
    hung: int = 0
    missing: int = 0
    restarts: int = 0
    flagged: int = 0
    stall_s: float = 0.0
    in_flight: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Course:
    """How much there is of each thing in an undisturbed run, and what it measured."""

    push: float
    program: float
    output: float
    rows: dict[str, Row]


@dataclass(frozen=True, slots=True)
class Task:
    """What a profiling process gets."""

    table: Path
    phone_id: str
    serial: str
    port: int
    kernels: tuple[Kernel, ...]
    batch: int


def main() -> None:
    """Run undisturbed, then with each fault, and print what became of it."""
    arguments = parser(__doc__)
    arguments.add_argument("--only", nargs="*", choices=sorted(TROUBLES), help="these faults")
    arguments.add_argument("--runs", type=int, help="of each fault")
    options = arguments.parse_args()
    begin = time.perf_counter()
    kernels = _kernels()[:: 2 if options.quick else 1]
    batch = 3 if options.quick else 4
    runs = options.runs or (1 if options.quick else 5)
    workers = multiprocessing.get_context("forkserver")
    workers.set_forkserver_preload(
        ["netadapt.profiler.profile", "netadapt.android_runner.phone.device"]
    )
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as folder, own_adb_server() as server:
        bench = Bench(Path(folder), server, workers, tuple(kernels), batch, chance)
        course = bench.undisturbed(2 if options.quick else 3)
        tallies: dict[str, Tally] = {}
        for name in options.only or (QUICK if options.quick else TROUBLES):
            tally = tallies[name] = Tally()
            for number in range(runs):
                bench.disturbed(name, number, course, tally)
            say(f"{time.perf_counter() - begin:.0f} s, {name}: {tally}")
    print_result(
        {
            "benchmark": "phone_faults",
            "kernels": len(kernels),
            "faults": {
                name: {
                    key: round(value, 2) if isinstance(value, float) else value
                    for key, value in dataclasses.asdict(tally).items()
                    if key != "in_flight"
                }
                for name, tally in tallies.items()
            },
            "seconds": round(time.perf_counter() - begin, 1),
        }
    )


def _kernels() -> list[Kernel]:
    """Some kernels of 1 us to 1 ms."""
    kernels: list[Kernel] = []
    for channels, size in ((8, 56), (16, 28), (40, 14), (112, 7)):
        kernels += [
            PointwiseConvKernel(channels, channels * 4, size, size, "relu"),
            AddKernel(channels, size, size),
            ActivationKernel("hardswish", channels, size, size),
        ]
    return kernels


class Bench:
    """Runs profiles on fresh virtual phones."""

    def __init__(
        self,
        folder: Path,
        server: AdbServer,
        workers: ForkServerContext,
        kernels: tuple[Kernel, ...],
        batch: int,
        chance: random.Random,
    ) -> None:
        self._folder = folder
        self._server = server
        self._workers = workers
        self._kernels = kernels
        self._batch = batch
        self._chance = chance
        self._count = 0
        self._phones: list[VirtualPhone] = []
        self._sentinels_us: list[float] = []

    def undisturbed(self, runs: int) -> Course:
        """Runs without a fault, each kernel at its fastest; the first lowers, and warms up."""
        rows: dict[str, Row] = {}
        for _ in range(runs):
            with ExitStack() as stack:
                phone, task = self._phone(stack)
                cues = {
                    where: phone.play(Fault("nothing", moment=_moment(where, float("inf"))))
                    for where in ("push", "program", "output")
                }
                process = self._start(task)
                process.join(10 * PATIENCE_S)
                if process.exitcode != 0:
                    raise SystemExit(f"an undisturbed run failed: {_log(task)}")
                for row in _rows(task.table):
                    self._see(row)
                    rows[row.key] = min(row, rows.get(row.key, row), key=lambda r: r.latency_us)
        return Course(
            cues["push"].pushed_bytes, cues["program"].program_s, cues["output"].output_bytes, rows
        )

    def disturbed(self, name: str, number: int, course: Course, tally: Tally) -> None:
        """One run with a fault; a moment that never came is brought forward."""
        trouble = TROUBLES[name]
        where = trouble.where[number % len(trouble.where)]
        share = self._chance.random() * (0.7 if name == "bad_program" else 0.9)
        for _ in range(4):
            moment = _moment(where, share * getattr(course, where))
            if self._disturb(name, trouble, moment, course, tally):
                tally.runs += 1
                return
            share /= 2
        raise SystemExit(f"{name} never struck, in {where}; give the run more to do")

    def _disturb(
        self, name: str, trouble: Trouble, moment: Moment, course: Course, tally: Tally
    ) -> bool:
        """Whether the fault struck."""
        amount = self._chance.choice(trouble.amounts) if trouble.amounts else None
        with ExitStack() as stack:
            phone, task = self._phone(stack)
            cue = phone.play(Fault(trouble.kind, trouble.seconds, moment, amount))
            process = self._start(task)
            while not cue.struck.wait(0.02):
                if not process.is_alive():
                    break
            if not cue.struck.is_set():
                return False
            if name in _OUTSIDE:
                _OUTSIDE[name](self, stack, process)
            before = _rows(task.table) if task.table.exists() else []
            back_s = self._wait_for(cue)
            restarts, hung = self._see_through(task, process)
            tally.restarts += restarts
            tally.hung += hung
            tally.stall_s = max(tally.stall_s, _stall_s(phone, back_s))
            tally.in_flight += cue.in_flight
            if not cue.in_flight:
                raise SystemExit(f"{name} struck with nothing in flight: {phone.log[-5:]}")
            self._judge(name, task, before, course, tally)
        return True

    def _wait_for(self, cue: Cue) -> float:
        if not cue.over.wait(PATIENCE_S) or cue.over_at_s is None:
            raise SystemExit(f"the phone never came back from {cue.fault.kind}")
        return max(cue.over_at_s, time.monotonic() - 0.02)

    def _see_through(
        self, task: Task, process: multiprocessing.process.BaseProcess
    ) -> tuple[int, int]:
        """Let the profile end, starting it again while its table is not whole."""
        for start in range(MAX_STARTS):
            process.join(PATIENCE_S)
            if process.exitcode is None:
                say(f"hung: {_log(task)}")
                process.kill()
                process.join()
                return start, 1
            done = {row.key for row in _rows(task.table)} if task.table.exists() else set()
            if len(done) == len(self._kernels) or start == MAX_STARTS - 1:
                return start, 0
            process = self._start(task)
        raise AssertionError("unreachable")

    def _judge(
        self, name: str, task: Task, before: list[Row], undisturbed: Course, tally: Tally
    ) -> None:
        rows = _rows(task.table)
        by_key = {row.key: row for row in rows}
        for row in rows:
            self._see(row)
        again = _timed_once_more(task)
        # A row that is flagged later is not lost, nor is one that is measured anew for that.
        tally.lost += sum(
            row.key not in by_key
            or (
                row.quality == "ok"
                and row != dataclasses.replace(by_key[row.key], quality="ok")
                and row.key not in again
            )
            for row in before
        )
        tally.doubled += len(rows) - len(by_key)
        tally.missing += len(undisturbed.rows.keys() - by_key.keys())
        for row in rows:
            right = undisturbed.rows[row.key]
            off = abs(row.latency_us / right.latency_us - 1)
            found = (row.program_sha256, row.provenance.device.id, row.provenance.cpus)
            strange = found != (right.program_sha256, task.phone_id, right.provenance.cpus)
            if strange or (row.quality == "ok" and off > WRONG_SHARE):
                known = not strange and _disturbed(row, course_of(self._sentinels_us))
                tally.beside_others += known
                tally.wrong += not known
                say(
                    f"{name}: {row.key} took {row.latency_us:.2f} us, not {right.latency_us:.2f}, "
                    f"the sentinel {row.sentinel_us} us"
                )
        tally.flagged += sum(row.quality != "ok" for row in rows)

    def _see(self, row: Row) -> None:
        if row.sentinel_us is not None:
            self._sentinels_us.append(row.sentinel_us)

    def _phone(self, stack: ExitStack) -> tuple[VirtualPhone, Task]:
        """A phone with nothing on it, whose sensors forget quickly, and a profile's task."""
        self._count += 1
        zones = tuple(dataclasses.replace(zone, cooling_s=1.0) for zone in PIXEL_1.zones)
        described = dataclasses.replace(PIXEL_1, serial=f"FAULTS{self._count}", zones=zones)
        root = self._folder / f"phone{self._count}"
        phone = stack.enter_context(VirtualPhone(described, root))
        self._phones.append(phone)
        stack.callback(self._server.disconnect, phone.address)
        table = self._folder / f"table{self._count}.sqlite"
        return phone, Task(
            table,
            described.serial,
            phone.address,
            self._server.port,
            self._kernels,
            self._batch,
        )

    def _start(self, task: Task) -> multiprocessing.process.BaseProcess:
        process = self._workers.Process(target=profile, args=(task,), daemon=True)
        process.start()
        return process

    def kill_server(self, stack: ExitStack, process: multiprocessing.process.BaseProcess) -> None:
        """End adb's server at once."""
        from adbutils import AdbClient

        AdbClient(host="127.0.0.1", port=self._server.port).server_kill()

    def connect_second(
        self, stack: ExitStack, process: multiprocessing.process.BaseProcess
    ) -> None:
        """A second phone of the same model comes."""
        second, _ = self._phone(stack)
        self._server.connect(second.address)

    def ask_for_link(self, stack: ExitStack, process: multiprocessing.process.BaseProcess) -> None:
        """Somebody asks the phone's daemon for a link amid the programs; Android forbids that."""
        phone = self._phones[-1]
        link = "/data/local/tmp/netadapt/store/link"
        with self._server.open("sync:", OUTPUT_TIMEOUT_S, phone.address) as connection:
            name = f"{link},{stat.S_IFLNK | 0o777}".encode()
            target = b"../restore\0"
            for kind, data in ((b"SEND", name), (b"DATA", target), (b"DONE", b"")):
                connection.conn.sendall(struct.pack("<4sI", kind, len(data)) + data)
            kind, length = struct.unpack("<4sI", connection.read_exact(8))
            said = connection.read_exact(length).decode()
        if (
            kind != b"FAIL"
            or "Permission denied" not in said
            or (phone.root / link[1:]).is_symlink()
        ):
            raise SystemExit(f"the phone made a link, as no ordinary one does: {kind!r} {said}")

    def interrupt(self, stack: ExitStack, process: multiprocessing.process.BaseProcess) -> None:
        """Ctrl-C."""
        _signal(process, signal.SIGINT)

    def kill(self, stack: ExitStack, process: multiprocessing.process.BaseProcess) -> None:
        """Kill with signal 9."""
        _signal(process, signal.SIGKILL)


_OUTSIDE: Final[
    dict[str, Callable[[Bench, ExitStack, multiprocessing.process.BaseProcess], None]]
] = {
    "adb_server_killed": Bench.kill_server,
    "second_phone": Bench.connect_second,
    "link_refused": Bench.ask_for_link,
    "ctrl_c": Bench.interrupt,
    "kill_9": Bench.kill,
}


def _disturbed(row: Row, course_us: float | None) -> bool:
    """Whether its sentinel was slower than a profile that knows its course lets it be."""
    if row.sentinel_us is None or course_us is None:
        return False
    return row.sentinel_us > course_us * (1 + Gate().max_sentinel_dev)


def profile(task: Task) -> None:
    """What the profiling process does: the kernels that the table lacks, until it has them."""
    logging.basicConfig(filename=f"{task.table}.log", level=logging.INFO, force=True)
    logging.getLogger(Profiler.__module__).setLevel(logging.DEBUG)  # `_timed_once_more`
    os.environ["ANDROID_ADB_SERVER_PORT"] = str(task.port)
    settings = ProfileSettings(rounds=6, visit_ms=1.0, batch=task.batch, workers=1)
    spec = dataclasses.replace(settings.spec(), timeout_s=OUTPUT_TIMEOUT_S)
    phone = PhoneDevice(
        task.serial,
        PhoneSettings(wait_s=PATIENCE_S, watch_s=0.2, cool_timeout_s=20.0),
        server=AdbServer(port=task.port),
    )
    try:
        with phone, LatencyTable(task.table) as table:
            profiler = Profiler(phone, table, settings=settings, spec=spec)
            profiler.kernels([Subject(k) for k in task.kernels])
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _signal(process: multiprocessing.process.BaseProcess, number: signal.Signals) -> None:
    assert process.pid is not None
    os.kill(process.pid, number)


def _moment(where: Where, amount: float) -> Moment:
    if where == "program":
        return Moment.during_program(amount)
    most = 2**62 if amount == float("inf") else int(amount)
    return Moment.during_push(most) if where == "push" else Moment.during_output(most)


def _rows(path: Path) -> list[Row]:
    try:
        with LatencyTable(path) as table:
            return table.rows()
    except sqlite3.Error:
        return []


def _stall_s(phone: VirtualPhone, back_s: float) -> float:
    """From the phone's return until the next file has come or the next program starts."""
    later = (
        event.time_s
        for event in phone.log
        if event.time_s > back_s
        and (event.kind == "push" or (event.kind == "shell" and "programs=" in event.detail))
    )
    return next(later, back_s) - back_s


def _timed_once_more(task: Task) -> set[str]:
    """The keys of what turned out to be disturbed when all was measured, as the profile told."""
    path = Path(f"{task.table}.log")
    lines = path.read_text().splitlines() if path.exists() else []
    told = [line.partition("timed once more: ")[2] for line in lines]
    return {key for keys in told for key in keys.split("; ")}


def _log(task: Task) -> str:
    path = Path(f"{task.table}.log")
    return path.read_text()[-2000:] if path.exists() else "no log"


if __name__ == "__main__":
    main()
