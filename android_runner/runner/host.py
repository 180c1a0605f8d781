"""This machine as a device: the runner as a child process."""

from __future__ import annotations

import functools
import os
import platform
import select
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from netadapt.android_runner.building.binary import RunnerBinary
from netadapt.android_runner.building.for_host import build_runner
from netadapt.android_runner.device import (
    DeviceInfo,
    Failure,
    Measurement,
    Program,
    RunProgress,
    RunSpec,
    check_names,
)
from netadapt.android_runner.errors import DeviceError
from netadapt.android_runner.machine import machine_hash
from netadapt.android_runner.runner.batch import greet, run_batch
from netadapt.android_runner.runner.serving import NotServedError, RunnerServer
from netadapt.android_runner.temporary import temporary_folder

_READ_BYTES = 1 << 16
_LAST_WORDS_BYTES = 400


class HostDevice:
    """This machine. Builds the runner on first use; raises `BuildError` when that fails.

    Parameters
    ----------
    runner, launcher: another runner instead, started by these words (an emulator's).
    """

    def __init__(self, runner: RunnerBinary | None = None, launcher: Sequence[str] = ()) -> None:
        self._runner = runner
        self._launcher = tuple(launcher)
        self._transport: ChildProcessTransport | None = None
        self._info: DeviceInfo | None = None

    def info(self) -> DeviceInfo:
        """Describe this machine (asks the runner once)."""
        if self._info is None:
            transport = self._ready_transport()
            hello = greet(transport)
            model = cpu_model()
            self._info = DeviceInfo(
                id="host",
                kind="host",
                model=model,
                soc=model,
                os=f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
                abi=hello.abi,
                cores=os.cpu_count() or 1,
                runtime_version=hello.runtime,
                runner_sha256=transport.binary.sha256,
                build_options=f"{hello.options} {hello.layout}-layout",
                machine=machine_hash(),
            )
        return self._info

    def cpus(self, spec: RunSpec) -> tuple[int, ...]:
        """See `Device.cpus`. Raises `DeviceError` where this machine lacks the cores."""
        if spec.cpus is None:
            return _last_cpus(spec.threads)
        allowed = os.sched_getaffinity(0)
        if missing := sorted(set(spec.cpus) - allowed):
            raise DeviceError(
                f"cpus must be cores that this process may use ({_listed(allowed)}), got "
                f"{_listed(missing)}; name others"
            )
        return spec.cpus

    def run(
        self,
        programs: Sequence[Program],
        spec: RunSpec,
        on_progress: Callable[[RunProgress], None] | None = None,
    ) -> Iterator[Measurement | Failure]:
        """See `Device.run`. Raises `DeviceError` where this machine lacks the cores asked for."""
        check_names(programs)
        cpus = self.cpus(spec)
        return run_batch(self._ready_transport(), list(programs), spec, cpus, on_progress)

    def _ready_transport(self) -> ChildProcessTransport:
        if self._transport is None:
            runner = self._runner or build_runner()
            self._transport = ChildProcessTransport(runner, self._launcher)
        return self._transport


def _last_cpus(threads: int) -> tuple[int, ...]:
    """The last cores this process may use: interrupts and other programs prefer the first."""
    cpus = sorted(os.sched_getaffinity(0))
    if threads > len(cpus):
        raise DeviceError(
            f"threads must be at most the {len(cpus)} cores at hand, got {threads}; ask for fewer"
        )
    return tuple(cpus[-threads:])


def _listed(cpus: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(cpus)))


@functools.cache
def cpu_model() -> str:
    """What this machine calls its processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Hardware"):
                return value.strip()
    except OSError:
        pass  # not Linux, or hidden: the platform's own word will do
    return platform.processor() or platform.machine()


class ChildProcess:
    """A `RunnerProcess` on this machine.

    Parameters
    ----------
    output: file descriptor of its standard output.
    errors: the file that its standard error goes to.
    kill, wait: end it, or wait for its end; its exit code, or a signal below 0. One of them is
        called, once.
    """

    def __init__(
        self, output: int, errors: Path, kill: Callable[[], int], wait: Callable[[], int]
    ) -> None:
        self._output = output
        self._errors = errors
        self._kill = kill
        self._wait = wait
        self._code: int | None = None

    def read(self, timeout_s: float) -> bytes | None:
        """See `RunnerProcess.read`."""
        readable, _, _ = select.select([self._output], [], [], timeout_s)
        return os.read(self._output, _READ_BYTES) if readable else None

    def kill(self) -> None:
        """See `RunnerProcess.kill`."""
        if self._code is None:
            self._code = self._kill()

    def wait(self) -> str:
        """See `RunnerProcess.wait`."""
        if self._code is None:
            self._code = self._wait()
        code = self._code
        ending = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        last_words = self._errors.read_bytes()[-_LAST_WORDS_BYTES:].decode(errors="replace")
        return f"{ending}: {' | '.join(last_words.split(chr(10))[-3:])}" if last_words else ending


class ChildProcessTransport:
    """Starts the runner as a child process in a temporary folder."""

    def __init__(self, binary: RunnerBinary, launcher: Sequence[str] = ()) -> None:
        self.binary = binary
        self._launcher = tuple(launcher)
        self._server = RunnerServer(binary.path)

    @contextmanager
    def start(self, files: Mapping[str, bytes], arguments: Sequence[str]) -> Iterator[ChildProcess]:
        """See `Transport.start`."""
        with temporary_folder("netadapt-run-") as folder:
            for file, data in files.items():
                (folder / file).write_bytes(data)
            errors = folder / "stderr.txt"
            output, written = os.pipe()
            with open(output, "rb", buffering=0), errors.open("wb") as stderr:
                start = self._launched if self._launcher else self._served
                try:
                    kill, wait = start(folder, arguments, written, stderr.fileno())
                finally:
                    os.close(written)
                process = ChildProcess(output, errors, kill, wait)
                try:
                    yield process
                finally:
                    process.kill()

    def _served(
        self, folder: Path, arguments: Sequence[str], output: int, errors: int
    ) -> tuple[Callable[[], int], Callable[[], int]]:
        try:
            run = self._server.start(folder, arguments, output, errors)
        except NotServedError:  # it says itself what it is, or is not
            return self._launched(folder, arguments, output, errors)
        return run.kill, run.wait

    def _launched(
        self, folder: Path, arguments: Sequence[str], output: int, errors: int
    ) -> tuple[Callable[[], int], Callable[[], int]]:
        process = subprocess.Popen(
            [*self._launcher, self.binary.path, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
        )

        def kill() -> int:
            process.kill()
            return process.wait()

        return kill, process.wait
