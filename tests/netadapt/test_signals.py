"""However a command is ended from outside, what is under way is put back and nothing stays."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = [sys.executable, "-m", "netadapt"]

# A run that has begun: it says so, waits, and puts back what it changed.
WAITING = """
import sys, time
from netadapt import program
from netadapt.commands import search
def run(*_):
    try:
        print("begun", flush=True)
        time.sleep(600)
    finally:
        print("put back", flush=True)
search.run_search = run
sys.argv[1:] = ["demo", "--folder", "runs/it"]
program.main()
"""
LINE = "netadapt: interrupted; resume with: netadapt demo --folder runs/it\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_ending_is_orderly(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITING],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        output, errors = process.communicate(timeout=300)
    assert (output, errors, process.returncode) == ("put back\n", LINE, 128 + number)


def test_a_terminal_that_is_closed_leaves_nothing_undone(tmp_path: Path) -> None:
    """Its last words have nowhere to go, and must not get in the way of putting things back."""
    done = tmp_path / "put back"
    script = WAITING.replace(
        'print("put back", flush=True)',
        f"""
        print("put back", file=sys.stderr, flush=True)
        open({str(done)!r}, "w").close()""",
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
        os.execv(sys.executable, [sys.executable, "-c", script])
    said = b""
    while b"begun" not in said:
        said += os.read(terminal, 1000)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert done.exists()


def test_what_nohup_ignores_stays_ignored() -> None:
    script = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from netadapt import signals; signals.prepare()\n"
        "signal.raise_signal(signal.SIGHUP); print('still here')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b"still here\n"


def test_ctrl_c_while_it_is_being_loaded_is_one_line() -> None:
    """The command line takes a while to load; `typer` is among the first that it needs."""
    script = (
        "import signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer': signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from netadapt import program; program.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 130
    assert done.stderr == "netadapt: interrupted before it began; run it again\n"


def test_the_installed_program_is_the_one_that_is_ready_for_it() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '\nnetadapt = "netadapt.program:main"\n' in text


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_no_defect(closed: str) -> None:
    command = f"exec {' '.join(PROGRAM)} --help {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    command = f"exec {' '.join(PROGRAM)} virtual-phone --phone nokia {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2


LOWERING = """
import sys, time
from pathlib import Path
from netadapt import program
from netadapt.commands import search
from netadapt.profiler.kernels import LinearKernel
from netadapt.profiler.lowering import ProgramCache, Subject, lower_subjects
from netadapt.profiler.lowering.xnnpack import XnnpackFp32
class Slow(XnnpackFp32):  # exports in processes, which need not import the exporter for it
    def draft(self, *_, **__): return None
    def export(self, module, inputs): return module
    def to_program(self, exported, constants=None):
        time.sleep(0.05)
        return b"program"
def run(*_):
    subjects = [Subject(LinearKernel(in_features=8 + i, out_features=8)) for i in range(200)]
    lower_subjects(subjects, ProgramCache(Path("cache")), lowering=Slow(), workers=2)
search.run_search = run
sys.argv[1:] = ["demo", "--folder", "runs/it"]
program.main()
"""


def test_lowering_that_is_ended_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    """`netadapt profile | tee` ends with it: nobody is left who holds the pipe, or has a word."""
    with subprocess.Popen(
        [sys.executable, "-c", LOWERING],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:
        try:
            while not any((tmp_path / "cache").glob("*/*.pte")):
                assert process.poll() is None
                time.sleep(0.05)
            assert len(_session(process.pid)) >= 3  # it, and workers
            process.terminate()
            output, _ = process.communicate(timeout=300)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert (output, process.returncode) == (LINE, 128 + signal.SIGTERM)
    deadline = time.monotonic() + 60
    while _session(process.pid):  # what tidies up may end a moment after it let go of the pipe
        assert time.monotonic() < deadline
        time.sleep(0.05)
    shared = [name for name in os.listdir("/dev/shm") if str(process.pid) in re.split("[_-]", name)]
    assert not shared


def _session(leader: int) -> list[int]:
    """The session's processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(path.parent.name))
    return found
