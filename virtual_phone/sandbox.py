"""Where a phone's programs run: a private folder that they see as the phone's file system.

Two ways, the first where the system allows it:

- ``namespaces``: user, mount, process, network and message namespaces. Programs see the private
  folder's ``/data``, ``/sys``, ``/system`` ..., this machine's programs and libraries (``/usr``,
  ``/bin``, ``/lib`` ...) read-only, six harmless devices, and nothing else: no home, no ``/tmp``,
  no sockets, no network, no other process. All of them end when the phone's process does.
- ``paths``: absolute paths that begin with one of the phone's folders are prefixed with the private
  folder in the command's text, and the prefix is taken out of what comes back. Programs see this
  machine's ``/sys``; a path put together by the shell from pieces is not found. **Nothing keeps a
  program from the files of who started the phone**, so this way has to be asked for.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from netadapt.android_runner.errors import DeviceError, InvalidRunError
from netadapt.virtual_phone.cores import SLEEPS_FILE
from netadapt.virtual_phone.view import PHONE_FOLDERS, PROC_FILES, boot_command

logger = logging.getLogger(__name__)

Isolation = Literal["namespaces", "paths"]
ISOLATION_VARIABLE: Final = "NETADAPT_VIRTUAL_PHONE_ISOLATION"

_SAFE_PATH: Final = re.compile(r"[\w./+-]+", re.ASCII)
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_UNLOCK_TERMINAL: Final = 0x40045431  # TIOCSPTLCK of Linux's tty_ioctl(2)
_OPEN_PEER: Final = 0x5441  # TIOCGPTPEER, since Linux 4.13


@dataclass(frozen=True, slots=True)
class PhoneProcess:
    """A program of the phone's under way: its executable lies in the phone's ``/data``.

    Attributes
    ----------
    cpu_s: processor time so far.
    arguments: without the executable.
    """

    pid: int
    arguments: tuple[str, ...]
    cpu_s: float

    @property
    def folder(self) -> Path:
        """Its working directory, as this machine can open it."""
        return Path(f"/proc/{self.pid}/cwd")


class Sandbox:
    """Starts and finds processes on one phone whose file system is ``root``.

    Raises `DeviceError` where the way to isolate does not work; never takes a weaker one instead.
    """

    def __init__(self, root: Path, cores: int, isolation: Isolation) -> None:
        self.root = root.resolve()
        self.marker = f"VIRTUAL_PHONE={uuid.uuid4()}"
        self.isolation: Isolation = isolation
        self._cores = cores
        self._init: subprocess.Popen[bytes] | None = None
        self._init_pid = 0
        self._shells: list[subprocess.Popen[bytes]] = []
        self._cores_library: Path | None = None
        self._private = Path(tempfile.mkdtemp(prefix="virtual-phone-"))
        self._plain = self.root  # the root's path in words a shell leaves alone
        if not _SAFE_PATH.fullmatch(str(self.root)):
            self._plain = self._private / "root"
            self._plain.symlink_to(self.root)
        self._phone_path = re.compile(
            rf"(?<![\w./-])/(?=(?:{'|'.join(PHONE_FOLDERS)})(?![\w.-])"
            rf"|proc/(?:{'|'.join(PROC_FILES)})(?![\w.-]))",
            re.ASCII,
        )

    def boot(self) -> None:
        """Make programs possible. Raises `DeviceError` where no way works."""
        self._cores_library = _cores_library(self._private)
        if self.isolation == "paths":
            return
        if why := self._enter_namespaces():
            raise DeviceError(
                "a virtual phone keeps what runs on it to its own folder, which takes namespaces, "
                f"not to be had here ({why!r}); where nobody else uses this machine, go "
                f"without by setting {ISOLATION_VARIABLE}=paths"
            )

    def _enter_namespaces(self) -> str:
        """Start the namespaces' first process. Returns why it cannot be had, or nothing."""
        view = self._private / "view"
        view.mkdir(exist_ok=True)
        command = boot_command(self.root, view, self._cores_library)
        try:
            init = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={"PATH": os.environ.get("PATH", os.defpath)},  # programs can read it
            )
        except OSError as error:
            return str(error)
        assert init.stdout is not None
        line = init.stdout.readline()
        if line.strip() != b"ready":
            _end(init)
            return line.decode(errors="replace").strip()
        children = Path(f"/proc/{init.pid}/task/{init.pid}/children").read_text().split()
        self._init, self._init_pid = init, int(children[0])
        return ""

    def shutdown(self) -> None:
        """Kill every process of the phone's."""
        forgotten = [pid for pid in _all_pids() if _is_marked(pid, self.marker)]
        for pid in {*self._pids(), *forgotten} - {os.getpid()}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._init is not None:
            _end(self._init)
            self._init = None
        for shell in self._shells:
            shell.kill()
            shell.wait()
            for stream in (shell.stdin, shell.stdout, shell.stderr):
                if stream is not None:
                    stream.close()
        self._shells.clear()

    def remove(self) -> None:
        """Forget what was made beside the root, after `shutdown`."""
        shutil.rmtree(self._private, ignore_errors=True)

    def spawn(
        self,
        command: str | None,
        stdin: int,
        stdout: int,
        stderr: int,
        terminal: bool,
        environment: Mapping[str, str],
    ) -> subprocess.Popen[bytes]:
        """Start the phone's shell on ``command``; None is an interactive one."""
        prefix: list[str] = [_host_tool("setsid"), "--ctty"] if terminal else []
        if self.isolation == "namespaces":
            prefix += [
                _host_tool("nsenter"),
                "-t",
                str(self._init_pid),
                "-U",
                "-m",
                "-p",
                "-n",
                "-i",
                "-r",
                "-w",
            ]
            prefix += ["--preserve-credentials"]
        setpriv = shutil.which("setpriv")
        if self.isolation == "namespaces":
            setpriv = _host_tool("setpriv")  # without it a program could undo its view
        if setpriv and (os.geteuid() == 0 or self.isolation == "namespaces"):
            # Files that are read-only on a phone are so for this machine's root as well.
            prefix += [setpriv, "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        arguments = ["/bin/sh"]
        if command is not None:
            arguments += ["-c", self._rewritten(command)]
        shell = subprocess.Popen(
            [*prefix, *map(os.fsencode, arguments)],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={**self._environment(terminal), **environment},
            cwd=self.root,
            start_new_session=not terminal,
        )
        self._shells = [old for old in self._shells if old.poll() is None]
        self._shells.append(shell)
        return shell

    def open_terminal(self) -> tuple[int, int]:
        """Descriptors of a new terminal of the phone's: our end, and its programs'."""
        if self.isolation == "paths":
            return os.openpty()
        flags = os.O_RDWR | os.O_NOCTTY
        view = Path("/proc", str(self._init_pid), "root")
        ours = os.open(view / "dev/pts/ptmx", flags | os.O_CLOEXEC)
        try:
            fcntl.ioctl(ours, _UNLOCK_TERMINAL, struct.pack("i", 0))
            return ours, fcntl.ioctl(ours, _OPEN_PEER, flags)
        except OSError:
            os.close(ours)
            raise

    def _environment(self, terminal: bool) -> dict[str, str]:
        base = "" if self.isolation == "namespaces" else str(self._plain)
        key, _, value = self.marker.partition("=")
        environment = {
            key: value,
            "PHONE_ROOT": base,
            "PATH": f"{base}/system/bin:{base}/system/xbin",
            "HOME": base or "/",
            "TMPDIR": f"{base}/data/local/tmp",
            "ANDROID_DATA": f"{base}/data",
            "ANDROID_ROOT": f"{base}/system",
            "USER": "shell",
            "LOGNAME": "shell",
            "HOSTNAME": "localhost",
            "TERM": "xterm-256color" if terminal else "dumb",
        }
        if self._cores_library is not None:
            environment["LD_PRELOAD"] = str(self._cores_library)
            environment["VIRTUAL_PHONE_CORES"] = ",".join(map(str, host_cores(self._cores)))
            environment["VIRTUAL_PHONE_SLEEPS"] = f"{base}/{SLEEPS_FILE}"
        return environment

    def _rewritten(self, command: str) -> str:
        if self.isolation == "namespaces":
            return command
        return self._phone_path.sub(f"{self._plain}/", command)

    def cleaners(self) -> list[OutputCleaner]:
        """What turns a program's output into the phone's, for one stream."""
        if self.isolation == "namespaces":
            return []
        return [OutputCleaner(os.fsencode(path)) for path in {self._plain, self.root}]

    @property
    def busy(self) -> bool:
        """Whether a shell runs."""
        self._shells = [shell for shell in self._shells if shell.poll() is None]
        return bool(self._shells)

    def programs(self, below: int | None = None) -> list[PhoneProcess]:
        """Programs of the phone's under way; those that process ``below`` started if given."""
        # How the system calls a file in a namespace: by where its folder hangs on this machine
        homes = (f"{self.root}/data/", f"{self._private / 'view'}/data/")
        found = (_program(pid, homes) for pid in self._pids(below))
        return [program for program in found if program is not None]

    def running(self) -> int:
        """How many processes of the phone's want to run now."""
        return sum(_state(pid) == "R" for pid in self._pids())

    def wake_waiters(self) -> None:
        """Let commands end whose program was stopped and is now dead.

        ``nsenter`` stops with the program it waits for, and has to be woken when that was killed.
        """
        for shell in self._shells:
            if _state(shell.pid) == "T":
                if any(
                    _state(pid) not in "ZX" for pid in _descendants([shell.pid], self_too=False)
                ):
                    continue
                with contextlib.suppress(ProcessLookupError):
                    os.kill(shell.pid, signal.SIGCONT)

    def _pids(self, below: int | None = None) -> list[int]:
        if below is not None:
            return list(_descendants([below]))
        tops = [shell.pid for shell in self._shells]
        if self._init is not None:
            tops.append(self._init_pid)  # adopts what a shell leaves behind
        return [pid for pid in _descendants(tops) if pid != self._init_pid]


def isolation_by_environment() -> Isolation:
    """What ``NETADAPT_VIRTUAL_PHONE_ISOLATION`` names; ``namespaces`` without it.

    Raises `InvalidRunError`.
    """
    chosen = os.environ.get(ISOLATION_VARIABLE) or "namespaces"
    match chosen:
        case "namespaces" | "paths":
            return chosen
    raise InvalidRunError(
        f"{ISOLATION_VARIABLE} must be namespaces or paths, got {chosen!r}; correct or unset it"
    )


def _host_tool(name: str) -> str:
    """Its path: the programs' own ``PATH`` is the phone's."""
    found = shutil.which(name)
    if found is None:
        raise DeviceError(f"a virtual phone needs {name} of util-linux, not found; install it")
    return found


def host_cores(count: int) -> list[int]:
    """This machine's core for each of a phone's ``count``: its own number where there are enough.

    Else the last stands for the last, and so on round.
    """
    usable = sorted(os.sched_getaffinity(0))
    if usable[:count] == list(range(count)):
        return list(range(count))
    return [usable[(index - count) % len(usable)] for index in range(count)]


def _cores_library(folder: Path) -> Path | None:
    """What makes programs see the phone's cores, not this machine's; built into ``folder``.

    None where no C compiler is found: programs then are refused cores that this machine lacks, and
    may use such as sleep.
    """
    source = Path(__file__).parent / "cores.c"
    built = folder / "cores.so"
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        logger.warning("no C compiler found: programs may only use this machine's cores")
        return None
    if not built.is_file():
        command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(built), str(source)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    return built


class OutputCleaner:
    """Takes ``prefix`` out of a byte stream fed piece by piece."""

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be passed on; a possible beginning of the prefix is held back."""
        data = (self._held + data).replace(self._prefix, b"")
        keep = next(
            (n for n in range(len(self._prefix) - 1, 0, -1) if data.endswith(self._prefix[:n])), 0
        )
        self._held = data[len(data) - keep :]
        return data[: len(data) - keep]

    def end(self) -> bytes:
        """What was held back, at the stream's end."""
        held, self._held = self._held, b""
        return held


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _state(pid: int) -> str:
    """The process's state as a letter: ``T`` stopped, ``Z`` dead and waited for; ``X`` gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _descendants(pids: Sequence[int], self_too: bool = True) -> Iterator[int]:
    todo = list(pids)
    seen: set[int] = set()
    while todo:
        pid = todo.pop()
        if pid in seen:
            continue
        seen.add(pid)
        if self_too or pid not in pids:
            yield pid
        with contextlib.suppress(OSError):
            todo += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def _all_pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _is_marked(pid: int, marker: str) -> bool:
    try:
        return marker.encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def _program(pid: int, homes: tuple[str, ...]) -> PhoneProcess | None:
    """The process as a `PhoneProcess`, None for the phone's own shell and tools."""
    try:
        executable = os.readlink(f"/proc/{pid}/exe")
        if not executable.startswith(homes):
            return None
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1:-1]
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] == "Z":
        return None
    cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return PhoneProcess(pid, tuple(map(os.fsdecode, words)), cpu_s)
