"""The command line in processes of its own, forked from one that has imported what they need.

Each imports for seconds otherwise, dozens of times in a run of the tests. What the program itself
does at its start is tested with the program itself (tests/netadapt/test_signals.py, the wheel's).
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

SERVER = """
import json, os, signal, sys
from netadapt import program
program.skip_teardown()
import torch, torch._dynamo, torch.export
from netadapt.commands import (
    cli, devices, fit, init, profile, report, search, spaces, table, time
)
from netadapt.report import page
from netadapt.runs import run

for line in sys.stdin:
    wanted = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(wanted["cwd"])
        os.environ.clear()
        os.environ.update(wanted["environment"])
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        for stream, path in enumerate((os.devnull, wanted["out"], wanted["err"])):
            os.dup2(os.open(path, flags if stream else os.O_RDONLY), stream)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["netadapt", *wanted["words"]]
        program.main()
        sys.exit()
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class WarmProgram:
    """`netadapt` of an environment. Start it with `warm_program`."""

    def __init__(self, process: subprocess.Popen[str], scratch: Path) -> None:
        self._process = process
        self._out, self._err = scratch / "out", scratch / "err"

    def run(
        self, words: Sequence[str], cwd: Path, environment: Mapping[str, str] | None = None
    ) -> tuple[int, str, str]:
        """Exit code, standard output, standard error; the environment is ours, where none is."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        wanted = {
            "words": list(words),
            "cwd": str(cwd),
            "environment": dict(os.environ if environment is None else environment),
            "out": str(self._out),
            "err": str(self._err),
        }
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return code, self._out.read_text(), self._err.read_text()


@contextmanager
def warm_program(
    python: str | Path, scratch: Path, environment: Mapping[str, str] | None = None
) -> Iterator[WarmProgram]:
    """A server of this interpreter's `netadapt`; `scratch`: a folder for what commands print."""
    process = subprocess.Popen(
        [python, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=scratch,
        env=None if environment is None else dict(environment),
    )
    try:
        yield WarmProgram(process, scratch)
    finally:
        process.kill()
        process.communicate()
