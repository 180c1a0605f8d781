"""The README's commands, from top to bottom, in the folder in which the demo was made.

They run as they stand, with `netadapt` installed from the wheel. What makes them short is in that
installation: its `digits` space, demo, new run files and samples are small ones.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from netadapt.android_runner.phone import AdbServer
from tests.warm import warm_program
from tests.wheel import ROOT, Installed

HEADING = "## The command line"
TOY = Path(__file__).parent / "toy"
TIMEOUT_S = 900


def commands() -> list[list[str]]:
    """The words of each command in the first fenced block below `HEADING`, comments left out."""
    _, _, below = (ROOT / "README.md").read_text().partition(f"\n{HEADING}\n")
    block = re.search(r"^```\w*\n(.*?)^```", below, re.DOTALL | re.MULTILINE)
    assert block, f"{HEADING} has a block of commands"
    lines = block[1].replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def make_small(installed: Installed) -> None:
    """Give the installation a `digits` space and runs that take seconds."""
    space = (TOY / "timed_space.toml").read_text()
    digits = installed.packages / "netadapt/search/spaces/digits.toml"
    digits.write_text(space.replace('name = "toy"', 'name = "digits"'))
    examples = installed.packages / "netadapt/examples"
    run = (TOY / "timed_run.toml").read_text()
    run = run.replace('name = "timed_space.toml"', 'name = "digits"')
    # What a search does with its candidates is tested elsewhere.
    run = run.replace('loop = "top_k"\ntop_k = 2', 'loop = "predictor"\nguard = false')
    assert "predictor" in run
    (examples / "demo.toml").write_text(run.replace('name = "toy"', 'name = "demo"'))
    settings = installed.packages / "netadapt/profiler/settings.py"
    few = re.sub(r"(chains|networks)(: .*) = \d+\n", r"\1\2 = 2\n", settings.read_text())
    few = re.sub(r"kernels(: .*) = \d+\n", r"kernels\1 = 40\n", few)
    few = few.replace("= _USUAL.rounds", "= 4").replace("= _USUAL.visit_ms", "= 0.5")
    few = re.sub(r"attempts(: .*) = 4\n", r"attempts\1 = 2\n", few)
    assert few.count(" = 2\n") == 3
    assert few.count("_USUAL.") == 1
    assert " = 40\n" in few
    settings.write_text(few)
    # That a share of what is written is exported as well is tested elsewhere, too.
    writing = installed.packages / "netadapt/profiler/lowering/writing.py"
    writing.write_text(
        writing.read_text().replace("COMPARED_SHARE = 50\n", "COMPARED_SHARE = 10**9\n")
    )
    assert "10**9" in writing.read_text()
    template = (examples / "run.toml").read_text()
    heads = [line for line in template.splitlines() if re.search(r"= \$\w+|\[(run|device)\]", line)]
    assert len(heads) == 5, heads
    name, device, space = (line for line in heads if "$" in line)
    _, _, rest = run.partition("[sample]")
    (examples / "run.toml").write_text(
        f"[run]\n{name}\n[device]\n{device}\n[space]\n{space}\n[sample]{rest}"
    )


@contextmanager
def started(program: Path, words: list[str], folder: Path) -> Iterator[str]:
    """`netadapt virtual-phone` in another terminal; yields the phone's address."""
    process = subprocess.Popen(
        [program, *words], cwd=folder, stdout=subprocess.PIPE, text=True, stdin=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_commands_run_from_top_to_bottom(
    installed: Installed, adb_server: AdbServer, tmp_path: Path
) -> None:
    make_small(installed)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    done = subprocess.run(
        [installed.program, "demo"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    (scratch := tmp_path / "printed").mkdir()
    serial = ""
    with ExitStack() as stack:
        # The others, each in a process of its own, without importing for seconds again
        warm = stack.enter_context(warm_program(installed.python, scratch, environment))
        for program, *words in commands():
            assert program == "netadapt", "the block holds commands of netadapt alone"
            if words[0] == "virtual-phone":
                serial = stack.enter_context(started(installed.program, words, tmp_path))
                # Before it is switched off, or adb lists it as offline for as long as it lives
                stack.callback(adb_server.disconnect, serial)
                continue
            if "SERIAL" in words:
                assert serial, "a phone is switched on before it is asked for"
            words = [serial if word == "SERIAL" else word for word in words]
            code, output, errors = warm.run(words, tmp_path, environment)
            assert code == 0, f"netadapt {shlex.join(words)}\n{output}{errors}"
            assert output
