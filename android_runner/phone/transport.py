"""Programs and the runner on a phone: a content-addressed folder, and processes started in it.

/data/local/tmp/netadapt/
    store/<sha256>     programs and the runner, verified before each use
    runs/<set>/        where the runner works on a batch; holds `pid`
    restore            what to put back after a crash (`netadapt.android_runner.phone.keeper`)

The runner's arguments say where in the store each program lies, so a batch costs no links:
Android's policy lets adb's daemon make none, and a process for each takes a phone longer than a
small program.
"""

from __future__ import annotations

import hashlib
import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from netadapt.android_runner.building.binary import RunnerBinary
from netadapt.android_runner.errors import (
    DeviceError,
    DeviceLostError,
    FullStorageError,
    StorageError,
    UnsupportedDeviceError,
)
from netadapt.android_runner.phone.adb import Adb, ShellStream, quote, refusal
from netadapt.android_runner.phone.parsing import parse_free_bytes, parse_sums, split_sections

logger = logging.getLogger(__name__)

FOLDER: Final = "/data/local/tmp/netadapt"
MARK: Final = "@@netadapt"

SPARE_BYTES: Final = 64 * 2**20
"""What stays free on the phone's storage; Android itself complains when it is nearly full."""

STORE_BYTES: Final = 256 * 2**20
"""What is left in the store for next time when a session ends."""

_TRIM_TIMEOUT_S = 120.0
_NAMES_A_REQUEST = 500  # adb takes 64 KiB at once
_PUSHES = 3  # a file that does not arrive whole is pushed again
_DIGESTS = ("sha256sum", "sha1sum", "md5sum")  # old phones lack the first
_SLICE_S = 1.0  # how often a silent runner's phone is looked after
_EXIT_S = 5.0
_NO_FOLDER = 125
_NO_RUNNER = (126, 127)  # the shell's codes for what cannot be executed or is not there


class PhoneStore:
    """Files on the phone by their content; what is there and whole is not pushed again."""

    def __init__(self, adb: Adb) -> None:
        self.adb = adb
        self._digest = ""

    def prepare(self) -> None:
        """Make the folders; end and remove what an interrupted session left running.

        Raises `UnsupportedDeviceError` for a phone that cannot check its files.
        """
        out = self.adb.ask(
            f"umask 077; mkdir -p {FOLDER}/store {FOLDER}/runs && cd {FOLDER} || exit 1\n"
            "for file in runs/*/pid; do\n"
            '  [ -f "$file" ] && read -r pid <"$file" || continue\n'
            # A number may long be another process's
            '  case "$(tr "\\0" " " <"/proc/$pid/cmdline")" in *../store/*) kill -9 "$pid";; esac\n'
            "done 2>/dev/null\n"
            "rm -rf runs/*\n"
            f"for tool in {' '.join(_DIGESTS)}; do\n"
            '  command -v "$tool" >/dev/null 2>&1 && echo "$tool" && break\n'
            "done; true"
        )
        found = out.split()
        if not found or found[-1] not in _DIGESTS:
            raise UnsupportedDeviceError(
                f"a phone must be able to check files, {self.adb.serial} has none of "
                f"{', '.join(_DIGESTS)}; use one with Android 7 or newer"
            )
        self._digest = found[-1]

    def put(self, contents: Sequence[bytes], executable: bytes | None = None) -> dict[bytes, str]:
        """See that the store has these contents, whole; the name of each, relative to the store.

        Raises `FullStorageError` when there is no room, `StorageError` when nothing can be written
        or the phone does not keep what it was given.
        """
        wanted = dict.fromkeys((*contents, *(() if executable is None else (executable,))))
        names = {data: hashlib.sha256(data).hexdigest() for data in wanted}
        missing, free_bytes = self._missing(names, with_room=True)
        for attempt in range(_PUSHES):
            if not missing:
                return names
            if attempt:
                logger.warning("%d file(s) did not arrive whole; pushing again", len(missing))
            self._see_room(sum(map(len, missing)), free_bytes, names)
            for group, mode in (
                ([d for d in missing if d != executable], 0o644),
                ([d for d in missing if d == executable], 0o755),
            ):
                if group:
                    self.adb.push([(f"{FOLDER}/store/{names[d]}", d) for d in group], mode)
            missing, _ = self._missing({data: names[data] for data in missing})
        if missing:
            raise StorageError(
                f"phone {self.adb.serial} must keep what is pushed to it, {len(missing)} file(s) "
                f"came out different {_PUSHES} times; check the cable and the phone's storage"
            )
        return names

    def trim(self, limit_bytes: int, keep: frozenset[str] = frozenset()) -> None:
        """Remove the oldest files until the store holds at most ``limit_bytes``, ``keep`` apart."""
        # Thousands of files: a process for each takes a slow phone minutes
        out = self.adb.ask(
            f"cd {FOLDER}/store && find . -type f -exec stat -c '%Y %s %n' {{}} +\ntrue",
            timeout_s=_TRIM_TIMEOUT_S,
        )
        files = []
        for line in out.splitlines():
            words = line.split()
            if len(words) == 3 and words[0].isdecimal() and words[1].isdecimal():
                files.append((int(words[0]), int(words[1]), words[2].removeprefix("./")))
        held, gone = 0, []
        for _, size, name in sorted(files, reverse=True):
            held += size
            if held > limit_bytes and name not in keep:
                gone.append(name)
        for start in range(0, len(gone), _NAMES_A_REQUEST):
            names = quote(["rm", "-f", "--", *gone[start : start + _NAMES_A_REQUEST]])
            self.adb.ask(
                f"cd {FOLDER}/store && {names}",
                timeout_s=_TRIM_TIMEOUT_S,
            )

    def _missing(
        self, names: Mapping[bytes, str], *, with_room: bool = False
    ) -> tuple[list[bytes], int | None]:
        """Which contents the store lacks or has damaged, and the free bytes where asked for."""
        if not names:
            return [], None
        out = self.adb.ask(
            f"cd {FOLDER}/store || exit 1\n"
            f"echo {quote([f'{MARK} sums'])}\n"
            f"{self._digest} {quote(list(names.values()))} 2>/dev/null\n"
            f"echo {quote([f'{MARK} free'])}\n"
            f"{'df -k .' if with_room else ''}\n"
            "true",
            timeout_s=60.0,
        )
        sections = split_sections(out, MARK)
        sums = parse_sums(sections.get("sums", ""))
        algorithm = self._digest.removesuffix("sum")
        lacking = [
            data
            for data, name in names.items()
            if sums.get(name) != hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()
        ]
        return lacking, parse_free_bytes(sections.get("free", ""))

    def _see_room(
        self, needed_bytes: int, free_bytes: int | None, names: Mapping[bytes, str]
    ) -> None:
        if free_bytes is None or free_bytes >= needed_bytes + SPARE_BYTES:
            return
        self.trim(0, frozenset(names.values()))
        _, free_bytes = self._missing(dict(list(names.items())[:1]), with_room=True)
        if free_bytes is not None and free_bytes < needed_bytes + SPARE_BYTES:
            raise FullStorageError(
                f"phone {self.adb.serial} must have {_mb(needed_bytes + SPARE_BYTES)} MB free "
                f"under /data/local/tmp, it has {_mb(free_bytes)}; free some space on the phone"
            )


def _mb(size: int) -> str:
    return f"{size / 2**20:.0f}"


class AdbTransport:
    """Starts the runner on a phone.

    Parameters
    ----------
    look: called every second while a runner is under way, and free to abort it by raising.
    """

    def __init__(
        self, store: PhoneStore, runner: RunnerBinary, look: Callable[[], None] | None = None
    ) -> None:
        self.store = store
        self.binary = runner
        self._runner = runner.path.read_bytes()
        self._look = look

    @contextmanager
    def start(self, files: Mapping[str, bytes], arguments: Sequence[str]) -> Iterator[AdbProcess]:
        """See `Transport.start`. Raises `DeviceLostError` and `StorageError`."""
        adb = self.store.adb
        names = self.store.put(list(files.values()), self._runner)
        places = [f"at.{file}=../../store/{names[data]}" for file, data in files.items()]
        digest = hashlib.sha256(repr(sorted(places)).encode()).hexdigest()[:16]
        folder = f"{FOLDER}/runs/{digest}"
        script = (
            f"mkdir -p {folder} && cd {folder} || exit {_NO_FOLDER}\n"
            f"echo $$ >pid || exit {_NO_FOLDER}\n"
            f"exec {quote([f'../../store/{names[self._runner]}', *arguments, *places])}"
        )
        with adb.open_shell(script) as stream:
            process = AdbProcess(stream, adb, folder, self._look)
            try:
                yield process
            finally:
                # Interrupted, by Ctrl-C or for a reason of ours: the phone must not work on
                with suppress(DeviceError):
                    process.leave()


class AdbProcess:
    """A `RunnerProcess` on a phone."""

    def __init__(
        self, stream: ShellStream, adb: Adb, folder: str, look: Callable[[], None] | None
    ) -> None:
        self._stream = stream
        self._adb = adb
        self._folder = folder
        self._look = look

    def read(self, timeout_s: float) -> bytes | None:
        """See `RunnerProcess.read`.

        Raises `DeviceLostError` when the connection broke, or the phone does not answer either.
        """
        silent_s = 0.0
        while True:
            if self._look is not None:
                self._look()
            slice_s = min(_SLICE_S, timeout_s - silent_s)
            data = self._stream.read(slice_s)
            if data == b"":
                self._see_that_it_ran()
            if data is not None:
                return data
            silent_s += slice_s
            if silent_s >= timeout_s:
                self._adb.ask("true")  # only a phone that answers has a runner that hangs
                return None

    def _see_that_it_ran(self) -> None:
        """Raises `DeviceError` when it was the phone's shell that ended, before there was a runner.

        The runner itself never ends with these codes.
        """
        if self._stream.exit_code not in (_NO_FOLDER, *_NO_RUNNER):
            return
        words = " ".join(self._stream.last_words.decode(errors="replace").split())
        if self._stream.exit_code == _NO_FOLDER:
            raise refusal(
                f"phone {self._adb.serial} must make a folder for a run, it did not ({words})",
                words,
            )
        raise UnsupportedDeviceError(
            f"the runner must start on phone {self._adb.serial}, it did not ({words}); build one "
            "for its ABI with `netadapt runner build --android`"
        )

    def kill(self) -> None:
        """See `RunnerProcess.kill`. A runner that has sent its last message gets time to leave."""
        if not self._drain(0.5):
            self.end()

    def leave(self) -> None:
        """End the process unless it is just ending."""
        if not self._drain(0.1):
            self.end()

    def end(self) -> None:
        """End the process at once; harmless when it has ended."""
        if self._stream.exit_code is None:
            self._adb.shell(f'read -r pid <{self._folder}/pid && kill -9 "$pid"')

    def wait(self) -> str:
        """See `RunnerProcess.wait`. Raises `DeviceLostError` where its end is not reported."""
        if not self._drain(_EXIT_S):
            raise DeviceLostError(
                f"phone {self._adb.serial} must end a killed process, it did not within "
                f"{_EXIT_S:g} s; restart the phone"
            )
        code = self._stream.exit_code
        assert code is not None
        ending = f"exit code {code}"
        if code > 128:
            with suppress(ValueError):
                ending = f"signal {signal.Signals(code - 128).name}"
        words = self._stream.last_words.decode(errors="replace").split("\n")
        last_words = " | ".join(line for line in words if line.strip())
        return f"{ending}: {last_words}" if last_words else ending

    def _drain(self, timeout_s: float) -> bool:
        """Whether the process ended within that long; its output is dropped."""
        deadline = time.monotonic() + timeout_s
        while self._stream.exit_code is None:
            if time.monotonic() >= deadline:
                return False
            self._stream.read(max(deadline - time.monotonic(), 0))
        return True
