"""The phone itself: answers services, plays faults, keeps the log; lives in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import logging
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from netadapt.virtual_phone import filesystem
from netadapt.virtual_phone.auth import PublicKey, owners_keys
from netadapt.virtual_phone.body import Body
from netadapt.virtual_phone.daemon import Connection, Service, Stream
from netadapt.virtual_phone.description import PhoneDescription
from netadapt.virtual_phone.faults import Cue, Event, Fault, Occasion, corrupted, mixed
from netadapt.virtual_phone.frames import Asked, RunnerOutput, Started
from netadapt.virtual_phone.peers import is_own_user
from netadapt.virtual_phone.policy import DaemonPolicy
from netadapt.virtual_phone.sandbox import Isolation, PhoneProcess, Sandbox
from netadapt.virtual_phone.shell import OutputFilter, ShellRequest, ShellService
from netadapt.virtual_phone.sync import SyncService

logger = logging.getLogger(__name__)

_TICK_S: Final = 0.5
_FIRST_TICK_S: Final = 0.02  # after a shell has started, until something works: as governors look
_FRESH_S: Final = 1.0
_TICK_WITH_FAULT_S: Final = 0.02
_PORT_FREE_S: Final = 5.0
_MIXED_SHARE: Final = 0.2  # of the pieces of output that somebody else's text comes into
_MIXED_PIECE_BYTES: Final = 2048
_SDK_WITH_SEND_2: Final = 30
_RUNNER_SIGNALS: Final = {
    "runner_segv": signal.SIGSEGV,
    "runner_sigill": signal.SIGILL,
    "runner_hung": signal.SIGSTOP,
}
_ROOT_CONTROLS: Final = ("scaling_governor", "scaling_min_freq", "scaling_max_freq")
_PROGRAM_IDENTIFIER: Final = b"ET12"  # of ExecuTorch's files, at their fifth byte
_NEEDS_PROGRAM: Final = frozenset({*_RUNNER_SIGNALS, "cut_output", "mixed_output"})


class IncomingFile:
    """A file on its way into the phone; see `sync.Push`."""

    def __init__(self, phone: Handset, path: str, room: int) -> None:
        self._phone = phone
        self._room = room
        self.path = path
        self.taken = 0

    def take(self, data: bytes) -> bytes:
        """See `sync.Push`."""
        self.taken += len(data)
        data = self._phone.pushed(data)
        if self._phone.is_down:
            raise ConnectionAbortedError("the phone went down")
        if self._phone.storage_is_full or self.taken > self._room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return data

    def finish(self, path: Path) -> None:
        """See `sync.Push`."""
        self._phone.note("push", f"{self.path} {self.taken} bytes")

    def half_stays(self) -> bool:
        """See `sync.Push`."""
        return self._phone.is_down


@dataclasses.dataclass(slots=True)
class _ShellState:
    command: str
    cut: bool = False
    foreign_pieces: int = 0


class _Filters:
    """One channel's filters, in the order that a program's output passes them."""

    def __init__(self, *filters: OutputFilter) -> None:
        self._filters = filters

    def feed(self, data: bytes) -> bytes:
        for each in self._filters:
            data = each.feed(data)
        return data

    def end(self) -> bytes:
        data = b""
        for each in self._filters:
            data = (each.feed(data) if data else b"") + each.end()
        return data


class Handset:
    """A described phone with its private folder. Everything but `note` runs in its event loop."""

    def __init__(
        self,
        description: PhoneDescription,
        root: Path,
        host: str,
        isolation: Isolation,
        seed: int = 0,
    ) -> None:
        self.description = description
        self.root = root
        self._host = host
        self._random = random.Random(seed)
        self.sandbox = Sandbox(root, description.core_count, isolation)
        self.policy = DaemonPolicy(root)
        self.port = 0
        self.body: Body
        self.log: list[Event] = []
        self.is_down = False
        self.storage_is_full = False
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._cues: list[Cue] = []
        self._shells: dict[subprocess.Popen[bytes], _ShellState] = {}
        self._incoming: list[IncomingFile] = []
        self._cpu_s: dict[int, float] = {}
        self._keys: list[PublicKey] = []
        self._trusts_owner = description.authorized
        self._accepting = asyncio.Event()
        self._stirred = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._as_root = False
        self._clock_offset_s = 0
        self._fresh_until = 0.0

    # -- life

    async def switch_on(self, port: int) -> None:
        """Boot and listen. Raises `OSError` when the port is taken."""
        self._boot()
        room = filesystem.used_bytes(self.root) + self.description.free_bytes
        filesystem.write(self.root / "state", "capacity_kb", f"{room // 1024}\n")
        await self._listen(port)
        self._start(self._live())

    def _boot(self) -> None:
        filesystem.lay_out(self.root, self.description)
        self.body = Body(self.description, self.root)
        self.body.write_files()
        self._write_clock()
        self._set_as_root(False)
        self.sandbox.boot()
        self.is_down = False

    async def _listen(self, port: int) -> None:
        self._server = await asyncio.start_server(self._accept, self._host, port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _listen_again(self) -> None:
        """Listen where it did before.

        A process that this one is just starting holds the old socket until it runs.
        """
        deadline = time.monotonic() + _PORT_FREE_S
        while True:
            try:
                return await self._listen(self.port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_TICK_WITH_FAULT_S)

    async def switch_off(self) -> None:
        """Stop listening, end every process, clean up."""
        self.is_down = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._go_deaf()
        self.sandbox.shutdown()
        self.sandbox.remove()

    def _go_deaf(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.hang_up()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = map(writer.get_extra_info, ("peername", "sockname"))
        if there is None or not is_own_user(there[:2], here[:2]):
            logger.warning("refused a connection that is not known to be this user's")
            writer.transport.abort()
            return
        connection = Connection(reader, writer, self, self.description.max_data)
        self._connections.add(connection)
        self.note("connection", "a client has come")
        try:
            await connection.run()
        except asyncio.CancelledError:
            pass  # the loop ends
        finally:
            self._connections.discard(connection)
            self.note("connection", "a client has gone")

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _live(self) -> None:
        """Let work heat the phone, and faults strike, while anything runs."""
        last = time.monotonic()
        while True:
            watched = any(
                cue.fault.moment.occasion == "program" or cue.fault.kind in _NEEDS_PROGRAM
                for cue in self._cues
            )
            if not self.sandbox.busy:
                self._stirred.clear()
                if not self.sandbox.busy:
                    await self._stirred.wait()
                    last = time.monotonic()
            fresh = time.monotonic() < self._fresh_until and not self.body.is_working
            tick_s = _TICK_WITH_FAULT_S if watched else _FIRST_TICK_S if fresh else _TICK_S
            if await self._stirred_within(tick_s):
                continue  # what a shell has started is looked at at once
            now = time.monotonic()
            self._tick(now - last)
            last = now

    async def _stirred_within(self, seconds: float) -> bool:
        self._stirred.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # wait_for may swallow that it is cancelled
                return await self._stirred.wait()
        return False

    def _tick(self, passed_s: float) -> None:
        if self.is_down:
            return
        self.sandbox.wake_waiters()
        programs = self.sandbox.programs()
        worked = sum(
            max(program.cpu_s - self._cpu_s.get(program.pid, 0.0), 0.0) for program in programs
        )
        self._cpu_s = {program.pid: program.cpu_s for program in programs}
        self.body.advance(worked)
        self.body.cores.see_work(self.sandbox.running())
        self.body.write_files()
        if programs:
            for cue in self._cues:
                cue.program_s += passed_s
            self._strike_due("program")
            self._strike_due("now")

    # -- what connections ask (daemon.Owner)

    def banner(self) -> str:
        """See `daemon.Owner`."""
        described = self.description
        features = ["shell_v2", "stat_v2", "ls_v2", "fixed_push_mkdir"]
        if described.sdk >= _SDK_WITH_SEND_2:
            features.append("sendrecv_v2")
        name = described.properties.get("ro.product.name", described.device)
        return (
            f"device::ro.product.name={name};ro.product.model={described.model};"
            f"ro.product.device={described.device};features={','.join(features)}"
        )

    def service(self, name: str) -> Service | None:
        """See `daemon.Owner`."""
        if request := ShellRequest.parse(name):
            return lambda stream: ShellService(stream, request, self).run()
        if name == "sync:":
            return lambda stream: SyncService(stream, self).run()
        if name.startswith("reboot:"):
            return self._serve_reboot
        if name == "root:":
            return self._serve_root
        return None

    def trusted_keys(self) -> list[PublicKey]:
        """See `daemon.Owner`."""
        return [*self._keys, *(owners_keys() if self._trusts_owner else ())]

    async def ask(self, key: PublicKey) -> None:
        """See `daemon.Owner`."""
        name = repr(key.name)[1:-1] or "a computer"  # whatever it is, a line that can be shown
        self.note("unauthorized", f"allow {name}?")
        if not self._accepting.is_set():
            logger.warning("%s shows a key that is not known; `allow` accepts it", name)
        await self._accepting.wait()
        self._keys.append(key)

    def accept_keys(self) -> None:
        """Somebody taps "allow": those who ask now and later are trusted."""
        self._accepting.set()

    async def _serve_reboot(self, stream: Stream) -> None:
        self.play(Cue(Fault("reboot", seconds=2.0)))

    async def _serve_root(self, stream: Stream) -> None:
        if self._as_root:
            await stream.write(b"adbd is already running as root\n")
        elif self.description.root == "adb":
            await stream.write(b"restarting adbd as root\n")
            await stream.close()
            self._set_as_root(True)
            for connection in list(self._connections):
                connection.hang_up()
        else:
            await stream.write(b"adbd cannot run as root in production builds\n")

    def _set_as_root(self, as_root: bool) -> None:
        """What only root may write is writable from now on, or no longer."""
        self._as_root = as_root
        for control in (self.root / "sys/devices/system/cpu/cpufreq").glob("*/scaling_[gm]*"):
            if control.name in _ROOT_CONTROLS and not control.is_symlink():
                control.chmod(0o644 if as_root else 0o444)

    # -- what the shell asks (shell.ShellHost)

    def spawn(
        self, command: str | None, stdin: int, stdout: int, stderr: int, terminal: bool
    ) -> subprocess.Popen[bytes]:
        """See `shell.ShellHost`."""
        if not self.sandbox.busy:
            self.body.advance()
            self.body.cores.see_work(0)
            self.body.write_files()
        if command is not None and "programs=" in command:
            self._spoil_programs(command)
        shell = self.sandbox.spawn(
            command, stdin, stdout, stderr, terminal, {"VIRTUAL_SU": "1"} if self._as_root else {}
        )
        self._shells = {s: state for s, state in self._shells.items() if s.poll() is None}
        self._shells[shell] = _ShellState(command or "")
        self.note("shell", command if command is not None else "interactive")
        self._fresh_until = time.monotonic() + _FRESH_S
        self._stirred.set()
        return shell

    def open_terminal(self) -> tuple[int, int]:
        """See `shell.ShellHost`."""
        return self.sandbox.open_terminal()

    def output_filter(self, shell: subprocess.Popen[bytes]) -> OutputFilter:
        """See `shell.ShellHost`."""
        command = self._shells[shell].command

        def started() -> Sequence[Started]:
            if programs := self.sandbox.programs(below=shell.pid):
                return programs
            asked = Asked.by(command, self.root)
            return [asked] if asked else []

        changed = RunnerOutput(
            started,
            self.description.slow_down,
            self.body.slowness,
            None if self.sandbox.isolation == "namespaces" else self._conditions,
        )
        return _Filters(*self.sandbox.cleaners(), changed)

    def _conditions(self, cores: Sequence[int]) -> dict[str, object]:
        """The fields of the runner's frames that describe the machine (docs/protocol.md)."""
        clusters = [c for core in cores for c in self.description.clusters if core in c.cores]
        clocks = [self.body.current_khz(cluster) for cluster in clusters]
        zones = self.description.zones if self.description.zones_readable else ()
        zone_temperatures = zip(self.body.temperatures_c, zones, strict=False)
        celsius, zone = max(zone_temperatures, key=lambda pair: pair[0], default=(None, None))
        return {
            "freq_khz": clocks[0] if clocks else None,
            "freqs_khz": clocks,
            "limits_khz": [self.body.limit_khz(cluster) for cluster in clusters],
            "temperature_c": celsius,
            "zone": zone.kind if zone is not None else None,
        }

    def passing(self, shell: subprocess.Popen[bytes], data: bytes) -> bytes:
        """See `shell.ShellHost`."""
        waiting = [cue for cue in self._cues if cue.fault.moment.occasion == "output"]
        if waiting and self.sandbox.programs(below=shell.pid):
            for cue in waiting:
                cue.output_bytes += len(data)
            # The program may end at any moment; what it wrote is in flight all the same
            self._strike_due("output", f"output, {len(data)} bytes of process {shell.pid}")
        state = self._shells.get(shell)
        if state is None or not state.foreign_pieces:
            return data
        pieces = []
        for start in range(0, len(data), _MIXED_PIECE_BYTES):
            piece = data[start : start + _MIXED_PIECE_BYTES]
            if state.foreign_pieces and self._random.random() < _MIXED_SHARE:
                state.foreign_pieces -= 1
                piece = mixed(piece, self._random)
            pieces.append(piece)
        return b"".join(pieces)

    def is_cut(self, shell: subprocess.Popen[bytes]) -> bool:
        """See `shell.ShellHost`."""
        state = self._shells.get(shell)
        return state is not None and state.cut

    # -- what file transfer asks (sync.Files)

    def free_bytes(self) -> int:
        """See `sync.Files`."""
        if self.storage_is_full:
            return 0
        capacity = int(filesystem.read(self.root / "state/capacity_kb") or 0) * 1024
        return max(capacity - filesystem.used_bytes(self.root), 0)

    def clock_offset_s(self) -> int:
        """See `sync.Files`."""
        return self._clock_offset_s

    @contextmanager
    def push(self, path: str) -> Iterator[IncomingFile]:
        """See `sync.Files`."""
        incoming = IncomingFile(self, path, self.free_bytes())
        self._incoming.append(incoming)
        try:
            yield incoming
        finally:
            self._incoming.remove(incoming)

    def pushed(self, data: bytes) -> bytes:
        """A piece of a file has come in; returns what the disk gets."""
        for cue in self._cues:
            cue.pushed_bytes += len(data)
        for cue in self._strike_due("push"):
            if cue.fault.kind == "corrupt_push":
                data = corrupted(data, self._random)
        return data

    # -- faults

    def play(self, cue: Cue) -> None:
        """Put a fault on cue."""
        self._cues.append(cue)
        self._stirred.set()
        self._strike_due("now")

    def note(self, kind: str, detail: str) -> None:
        """Add a line to the log."""
        self.log.append(Event(time.monotonic(), kind, detail, tuple(self._in_flight())))

    def _in_flight(self) -> list[str]:
        pushes = [f"push {each.path} at {each.taken} bytes" for each in self._incoming]
        return pushes + [
            f"program {' '.join(program.arguments)[:200]}" for program in self.sandbox.programs()
        ]

    def _strike_due(self, occasion: Occasion, *in_flight: str) -> list[Cue]:
        """Have every fault strike whose moment has come; those that did.

        `in_flight`: what is, beside programs under way and files that are being taken.
        """
        struck = []
        for cue in list(self._cues):
            kind = cue.fault.kind
            if not cue.due(occasion):
                continue
            amid = kind in _NEEDS_PROGRAM or occasion == "program"
            programs = self.sandbox.programs() if amid else []
            if amid and not programs:  # it has just ended
                continue  # at the next program, then
            if kind == "corrupt_push" and occasion != "push":
                cue.fault = dataclasses.replace(
                    cue.fault, moment=dataclasses.replace(cue.fault.moment, occasion="push")
                )
                continue
            if kind == "bad_program":
                continue  # when a program starts
            self._strike(cue, programs, *in_flight)
            struck.append(cue)
        return struck

    def _strike(self, cue: Cue, programs: list[PhoneProcess], *in_flight: str) -> None:
        kind = cue.fault.kind
        self._cues.remove(cue)
        cue.strike((*self._in_flight(), *in_flight))
        self.note("fault", kind)
        logger.info("fault: %s, in flight: %s", kind, cue.in_flight)
        lasting: dict[str, Callable[[Cue], Coroutine[object, object, None]]] = {
            "cable_out": self._cable_out,
            "silence": self._silence,
            "reboot": self._reboot,
            "storage_full": self._storage_full,
            "unauthorized": self._unauthorized,
            "throttled": self._throttled,
            "low_battery": self._low_battery,
            "core_asleep": self._core_asleep,
        }
        if kind in lasting:
            if kind in ("cable_out", "reboot", "unauthorized"):
                self.is_down = kind == "reboot"
                self._go_deaf()
            if kind == "silence":
                for connection in self._connections:
                    connection.mute()
            if kind == "storage_full":
                self._set_storage_full(True)
            self._start(self._last(lasting[kind](cue), cue))
            return
        if kind in _RUNNER_SIGNALS:
            with contextlib.suppress(ProcessLookupError):
                os.kill(programs[0].pid, _RUNNER_SIGNALS[kind])
        elif kind == "clock_change":
            self._clock_offset_s += int(cue.fault.amount_or_default)
            self._write_clock()
        elif kind in ("cut_output", "mixed_output"):
            for shell, state in self._shells.items():
                if self.sandbox.programs(below=shell.pid):
                    state.cut = state.cut or kind == "cut_output"
                    state.foreign_pieces += int(cue.fault.amount_or_default)
        self._over(cue)

    async def _last(self, work: Coroutine[object, object, None], cue: Cue) -> None:
        await work
        self._over(cue)

    def _over(self, cue: Cue) -> None:
        cue.end()
        self.note("back", cue.fault.kind)

    async def _cable_out(self, cue: Cue) -> None:
        await asyncio.sleep(cue.fault.seconds)
        await self._listen_again()

    async def _silence(self, cue: Cue) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await asyncio.sleep(cue.fault.seconds)
        self._go_deaf()
        await self._listen_again()

    async def _reboot(self, cue: Cue) -> None:
        self.sandbox.shutdown()
        self._shells.clear()
        self._cpu_s.clear()
        await asyncio.sleep(cue.fault.seconds)
        self._boot()
        await self._listen_again()

    async def _unauthorized(self, cue: Cue) -> None:
        self._trusts_owner = False
        self._keys.clear()
        self._accepting.clear()
        await self._listen_again()
        await asyncio.sleep(cue.fault.seconds)
        self.accept_keys()

    async def _storage_full(self, cue: Cue) -> None:
        await asyncio.sleep(cue.fault.seconds)
        self._set_storage_full(False)

    def _set_storage_full(self, full: bool) -> None:
        self.storage_is_full = full
        if full:
            filesystem.write(self.root / "state", "storage_full", "")
        else:
            (self.root / "state/storage_full").unlink(missing_ok=True)

    async def _throttled(self, cue: Cue) -> None:
        self.body.force_temperature(cue.fault.amount_or_default)
        self.body.write_files()
        await asyncio.sleep(cue.fault.seconds)
        self.body.force_temperature(None)
        self.body.write_files()

    async def _low_battery(self, cue: Cue) -> None:
        before = self.body.battery
        self.body.battery = dataclasses.replace(
            before, level_pct=int(cue.fault.amount_or_default), charging=False
        )
        self.body.write_files()
        await asyncio.sleep(cue.fault.seconds)
        self.body.battery = before
        self.body.write_files()

    async def _core_asleep(self, cue: Cue) -> None:
        fastest = max(self.description.clusters, key=lambda cluster: cluster.frequencies_khz[-1])
        self.body.cores.hold_asleep(fastest.cores)
        self.body.write_files()
        await asyncio.sleep(cue.fault.seconds)
        self.body.cores.let_go()
        self.body.write_files()

    def _write_clock(self) -> None:
        filesystem.write(self.root / "state", "clock_offset_s", f"{self._clock_offset_s}\n")

    def _spoil_programs(self, command: str) -> None:
        """Damage a stored program, where a fault asks for it, just before programs start."""
        for cue in [cue for cue in self._cues if cue.fault.kind == "bad_program" and cue.ripe]:
            files = sorted(path for path in (self.root / "data").rglob("*") if _is_program(path))
            if not files:
                return
            victim = self._random.choice(files)
            with victim.open("r+b") as file:
                file.seek(4)
                file.write(bytes(8))
            self.note("spoilt", victim.name)
            self._strike(cue, [], f"program about to start: {command[-200:]}")


def _is_program(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(8)[4:] == _PROGRAM_IDENTIFIER
