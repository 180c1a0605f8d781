"""The adb binary, its server, and what is asked of a phone through it.

adb's client side is `adbutils`; on top of it stands what measuring needs and adbutils leaves out:
a time-out on everything, output as it comes, and errors that name the next step.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import select
import shlex
import shutil
import socket
import stat
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import adbutils

from netadapt.android_runner.errors import (
    AdbError,
    DeviceError,
    DeviceLostError,
    DeviceStateError,
    FullStorageError,
    InvalidRunError,
    NoSuchDeviceError,
    StorageError,
)
from netadapt.android_runner.phone.parsing import ListedPhone, parse_adb_version, parse_devices

logger = logging.getLogger(__name__)

CALL_TIMEOUT_S: Final = 20.0
"""What one question to a phone may take."""

_START_TIMEOUT_S = 30.0
_READ_BYTES = 1 << 16
_PUSH_BYTES = 1 << 16  # the largest DATA of adb's sync protocol
_LAST_WORDS_BYTES = 400
_STDOUT, _STDERR, _EXIT = 1, 2, 3  # packets of adb's shell protocol, version 2

UNAUTHORIZED_REMEDY = (
    "unlock the phone and accept the question whether to allow USB debugging from this computer"
)
REMEDIES: Final = {
    "unauthorized": UNAUTHORIZED_REMEDY,
    "authorizing": UNAUTHORIZED_REMEDY,
    "offline": "plug the cable in again or switch USB debugging off and on; for a phone on the "
    "network `netadapt devices --connect HOST:PORT`",
    "connecting": "wait a moment and try again",
    "no permissions": "let your user use the phone's USB device: on Debian and Ubuntu `sudo apt "
    "install android-sdk-platform-tools-common` and `sudo usermod -aG plugdev $USER`, elsewhere a "
    "udev rule; then log in again and plug the phone in again",
    "recovery": "start the phone into Android: `adb reboot`",
    "rescue": "start the phone into Android: `adb reboot`",
    "sideload": "start the phone into Android: `adb reboot`",
    "bootloader": "start the phone into Android: `fastboot reboot`",
}
"""What to do about a phone whose state in `adb devices` is not ``device``."""


@dataclass(frozen=True, slots=True)
class AdbBinary:
    """An adb that runs; version of its platform tools, e.g. (36, 0, 0)."""

    path: Path
    version: tuple[int, ...]


def find_adb() -> AdbBinary:
    """The newest of ``$ADB``, the adb on the path and the one in adbutils' wheel.

    Raises `AdbError` when ``$ADB`` names something else, or there is none at all.
    """
    return _find_adb(os.environ.get("ADB"), shutil.which("adb"))


@functools.lru_cache(maxsize=8)
def _find_adb(chosen: str | None, installed: str | None) -> AdbBinary:
    bundled = Path(adbutils.__file__).parent / "binaries" / "adb"
    found = [_adb(Path(path)) for path in (chosen, installed, bundled) if path]
    if chosen and found[0] is None:
        raise AdbError(f"ADB must name an adb program, {chosen!r} is none; correct or unset it")
    usable = [binary for binary in found if binary is not None]
    if not usable:
        raise AdbError(
            "phones are reached through adb, none found; install Android's platform tools "
            "(apt install adb) or name the program in ADB"
        )
    return max(usable, key=lambda binary: binary.version)  # of equals the first


def _adb(path: Path) -> AdbBinary | None:
    try:
        answer = subprocess.run(
            [path, "version"], capture_output=True, text=True, errors="replace", check=True,
            stdin=subprocess.DEVNULL, timeout=CALL_TIMEOUT_S,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    if "Android Debug Bridge" not in answer.stdout:
        return None
    return AdbBinary(path, parse_adb_version(answer.stdout))


def quote(words: Sequence[str]) -> str:
    """A shell command of exactly these words, whatever is in them.

    Raises `InvalidRunError` for a NUL, which no command line can hold.
    """
    for word in words:
        if "\0" in word:
            raise InvalidRunError(
                f"a word for a phone's shell must have no NUL character, got {word!r}; rename it"
            )
    return shlex.join(words)


@dataclass(frozen=True, slots=True)
class ShellResult:
    """How a command on the phone ended."""

    exit_code: int
    out: str
    err: str


class _Connection(adbutils.AdbConnection):
    """adbutils' connection to a server; starting one is `AdbServer.ensure`'s alone."""

    def _safe_connect(self) -> socket.socket:
        made: socket.socket = self._create_socket()
        return made


class AdbServer:
    """adb's server: finds it, starts it where there is none, and asks it."""

    def __init__(self, host: str = "127.0.0.1", port: int = 5037) -> None:
        self.host = host
        self.port = port

    @classmethod
    def from_environment(cls) -> AdbServer:
        """Where adb itself would look: ``$ADB_SERVER_SOCKET``, ``$ANDROID_ADB_SERVER_PORT``, 5037.

        Raises `AdbError` for a socket that is not ``tcp:[host:]port``.
        """
        text = os.environ.get("ADB_SERVER_SOCKET") or (
            f"tcp:{os.environ.get('ANDROID_ADB_SERVER_ADDRESS', '127.0.0.1')}:"
            f"{os.environ.get('ANDROID_ADB_SERVER_PORT', '5037')}"
        )
        found = re.fullmatch(r"tcp:(?:(?P<host>.+):)?(?P<port>\d{1,5})", text, re.ASCII)
        if found is None:
            raise AdbError(
                f"adb's server is at tcp:PORT or tcp:HOST:PORT, got {text!r}; correct or unset "
                "ADB_SERVER_SOCKET"
            )
        return cls(found["host"] or "127.0.0.1", int(found["port"]))

    def ensure(self) -> None:
        """See that a server listens, starting one on this machine. Raises `AdbError`."""
        if self._listens():
            return
        if self.host not in ("127.0.0.1", "localhost", "::1"):
            raise AdbError(
                f"adb's server must listen at {self.host}:{self.port}, nobody does; start it there "
                "(adb -a start-server) or unset ADB_SERVER_SOCKET"
            )
        binary = find_adb()
        try:
            # The server inherits what is open: give it nothing that somebody may wait for
            subprocess.run(
                [binary.path, "-L", f"tcp:{self.port}", "start-server"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                check=True, timeout=_START_TIMEOUT_S,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            if self._listens():
                return  # somebody else was faster
            raise AdbError(
                f"adb's server must start on port {self.port}, it did not "
                f"({type(error).__name__}); see what `{binary.path} start-server` prints"
            ) from error

    def _listens(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=2):
                return True
        except OSError:
            return False

    def devices(self) -> tuple[ListedPhone, ...]:
        """The phones that the server knows of, whatever their state."""
        return parse_devices(self._ask("host:devices-l"))

    def connect(self, address: str, timeout_s: float = CALL_TIMEOUT_S) -> str:
        """Have the server connect to a phone on the network; its answer, good or bad."""
        return self._ask(f"host:connect:{address}", timeout_s)

    def disconnect(self, address: str) -> None:
        """Have the server forget a phone on the network; one it does not know is none too."""
        try:
            self._ask(f"host:disconnect:{address}")
        except DeviceError as error:
            logger.info("not disconnected: %s", error)

    def _ask(self, request: str, timeout_s: float = CALL_TIMEOUT_S) -> str:
        self.ensure()
        with self.open(request, timeout_s) as connection, _plainly("adb's server"):
            return str(connection.read_string_block())

    @contextmanager
    def open(
        self, request: str, timeout_s: float, serial: str | None = None
    ) -> Iterator[adbutils.AdbConnection]:
        """A connection that the server accepted (OKAY), with a time-out on every read and write.

        Raises `DeviceLostError`, `DeviceStateError` or `NoSuchDeviceError` as the server answers.
        """
        name = "adb's server" if serial is None else f"phone {serial}"
        with _plainly(name):
            connection = _Connection(self.host, self.port)
        try:
            with _plainly(name):
                connection.conn.settimeout(timeout_s)
                # A file is pushed in three writes and answered once: not 40 ms for each
                connection.conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if serial is not None:
                    _send(connection, f"host:transport:{serial}")
                _send(connection, request)
            yield connection
        finally:
            connection.conn.close()  # adbutils' own close sleeps


def _send(connection: adbutils.AdbConnection, request: str) -> None:
    data = request.encode("utf-8", "surrogateescape")
    if len(data) > 0xFFFF:
        raise InvalidRunError(
            f"a request to adb must be at most 65535 bytes, got {len(data)}; use smaller batches"
        )
    connection.conn.sendall(b"%04x" % len(data) + data)
    connection.check_okay()


@contextmanager
def _plainly(name: str) -> Iterator[None]:
    """Raise adbutils' and the socket's errors as ours; ``name`` is who did not answer."""
    try:
        yield
    except DeviceError:
        raise
    except adbutils.AdbError as error:
        raise _error_of(name, str(error)) from error
    except (OSError, EOFError, ValueError) as error:
        raise DeviceLostError(
            f"{name} must answer, but did not ({type(error).__name__}: {error}); "
            "check the cable or the network"
        ) from error


def _error_of(name: str, message: str) -> DeviceError:
    """What the server complains about, as the fitting error."""
    line = " ".join(message.split())[:200]
    for state, remedy in REMEDIES.items():
        if f"device {state}" in line or f"still {state}" in line:
            if state == "offline":
                return DeviceLostError(f"{name} must be online, it is offline; {remedy}")
            return DeviceStateError(f"{name} must let this computer in, it is {state}; {remedy}")
    if "insufficient permissions" in line:
        return DeviceStateError(
            f"{name} must let this computer in, got {line!r}; {REMEDIES['no permissions']}"
        )
    if "not found" in line or "no devices" in line:
        return NoSuchPhoneError(f"{name} must be connected, it is not; see `netadapt devices`")
    return DeviceLostError(
        f"{name} must answer, but adb's server answers {line!r}; check the cable or the network"
    )


class NoSuchPhoneError(NoSuchDeviceError, DeviceLostError):
    """A phone that the server does not know, or no longer."""


class Adb:
    """One phone, by its serial in `adb devices`.

    Every method raises `DeviceLostError` when the connection breaks and `DeviceStateError` when
    the phone does not let us in.
    """

    def __init__(self, server: AdbServer, serial: str) -> None:
        if not serial or any(c in serial for c in "\0\n\r"):
            raise NoSuchDeviceError(
                f"a serial is a line of text, got {serial!r}; see `netadapt devices`"
            )
        self.server = server
        self.serial = serial

    def shell(self, script: str, timeout_s: float = CALL_TIMEOUT_S) -> ShellResult:
        """Run a script with the phone's shell; `quote` what comes from elsewhere.

        Raises `DeviceLostError` when it does not end in ``timeout_s``.
        """
        deadline = time.monotonic() + timeout_s
        out = bytearray()
        with self.open_shell(script) as stream:
            while True:
                data = stream.read(max(deadline - time.monotonic(), 0))
                if data is None:
                    raise DeviceLostError(
                        f"phone {self.serial} must answer within {timeout_s:g} s, it did not; "
                        "check the cable or the network"
                    )
                if not data:
                    break
                out += data
        assert stream.exit_code is not None
        return ShellResult(
            stream.exit_code,
            bytes(out).decode(errors="replace"),
            stream.last_words.decode(errors="replace"),
        )

    def ask(self, script: str, timeout_s: float = CALL_TIMEOUT_S) -> str:
        """What a script prints. Raises `DeviceError` for an exit code other than 0."""
        result = self.shell(script, timeout_s)
        if result.exit_code != 0:
            answer = " ".join((result.err or result.out).split())[-200:]
            raise refusal(
                f"phone {self.serial} must run a command, `{script[:80]}` ended with exit "
                f"code {result.exit_code} ({answer})",
                answer,
            )
        return result.out

    @contextmanager
    def open_shell(self, script: str) -> Iterator[ShellStream]:
        """Start a script; its output is read as it comes."""
        with self.server.open(f"shell,v2,raw:{script}", CALL_TIMEOUT_S, self.serial) as connection:
            yield ShellStream(connection.conn, self.serial)

    def features(self) -> frozenset[str]:
        """What the phone's adb daemon can do, e.g. ``shell_v2``."""
        request = f"host-serial:{self.serial}:features"
        with (
            self.server.open(request, CALL_TIMEOUT_S) as connection,
            _plainly(f"phone {self.serial}"),
        ):
            return frozenset(connection.read_string_block().split(","))

    def push(
        self,
        files: Sequence[tuple[str, bytes]],
        mode: int = 0o644,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:
        """Write files, as (path, content), over one connection; ``timeout_s`` is of silence.

        Raises `StorageError` where the phone refuses one. What a broken connection leaves behind
        may be cut short: whoever reads it has to look at it.
        """
        with self.server.open("sync:", timeout_s, self.serial) as connection:
            for path, data in files:
                with _plainly(f"phone {self.serial}"):
                    self._push_one(connection, path, data, stat.S_IFREG | mode)
            with _plainly(f"phone {self.serial}"):
                connection.conn.sendall(struct.pack("<4sI", b"QUIT", 0))

    def _push_one(
        self, connection: adbutils.AdbConnection, path: str, data: bytes, mode: int
    ) -> None:
        sock = connection.conn
        name = f"{path},{mode}".encode("utf-8", "surrogateescape")
        try:
            sock.sendall(struct.pack("<4sI", b"SEND", len(name)) + name)
            for start in range(0, len(data), _PUSH_BYTES):
                piece = data[start : start + _PUSH_BYTES]
                sock.sendall(struct.pack("<4sI", b"DATA", len(piece)) + piece)
                if select.select([sock], [], [], 0)[0]:
                    break  # an answer before the end is a refusal
            else:
                sock.sendall(struct.pack("<4sI", b"DONE", int(time.time())))
        except (BrokenPipeError, ConnectionResetError):
            pass  # the phone may have answered before it hung up
        kind, length = struct.unpack("<4sI", connection.read_exact(8))
        if kind == b"OKAY":
            return
        answer = connection.read_exact(min(length, 1000)).decode(errors="replace")
        raise refusal(f"phone {self.serial} must store {path}, it did not ({answer[:200]})", answer)


def refusal(what: str, answer: str) -> DeviceError:
    """What a phone did not do, as the error that fits its ``answer``."""
    if "no space" in answer.lower():
        return FullStorageError(f"{what}; free some space on the phone")
    if "read-only" in answer.lower() or "denied" in answer.lower():
        return StorageError(f"{what}; see that /data/local/tmp is writable for adb's shell")
    return DeviceError(f"{what}; see `netadapt devices`")


class ShellStream:
    """A command under way on a phone (adb's shell protocol, version 2).

    Attributes
    ----------
    exit_code: None until it has ended; 128 + n when signal n ended it.
    last_words: the end of its standard error.
    """

    def __init__(self, sock: socket.socket, serial: str) -> None:
        self._socket = sock
        self._serial = serial
        self._unread = bytearray()
        self.exit_code: int | None = None
        self.last_words = b""

    def read(self, timeout_s: float) -> bytes | None:
        """Standard output as it comes: ``b""`` at the command's end, None after ``timeout_s``.

        Raises `DeviceLostError` when the connection ends before the command does.
        """
        deadline = time.monotonic() + timeout_s
        out = bytearray()
        while True:
            out += self._take()
            if out:
                return bytes(out)
            if self.exit_code is not None:
                return b""
            remaining_s = max(deadline - time.monotonic(), 0)
            try:
                if not select.select([self._socket], [], [], remaining_s)[0]:
                    return None
                data = self._socket.recv(_READ_BYTES)
            except (OSError, ValueError) as error:
                raise self._lost(str(error)) from error
            if not data:
                raise self._lost("the connection ended before the command")
            self._unread += data

    def _take(self) -> bytes:
        """The standard output in what was received; the other packets are kept."""
        out = bytearray()
        while len(self._unread) >= 5 and self.exit_code is None:
            kind, length = struct.unpack_from("<BI", self._unread)
            if len(self._unread) < 5 + length:
                break
            data = bytes(self._unread[5 : 5 + length])
            del self._unread[: 5 + length]
            if kind == _STDOUT:
                out += data
            elif kind == _STDERR:
                self.last_words = (self.last_words + data)[-_LAST_WORDS_BYTES:]
            elif kind == _EXIT and data:
                self.exit_code = data[0]
        return bytes(out)

    def _lost(self, why: str) -> DeviceLostError:
        return DeviceLostError(
            f"phone {self._serial} must stay connected, it did not ({why}); "
            "check the cable or the network"
        )
