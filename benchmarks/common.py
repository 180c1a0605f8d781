"""What the benchmarks share: their arguments, their folder, their last line."""

from __future__ import annotations

import argparse
import json
import logging
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netadapt.android_runner.paths import cache_folder
from netadapt.android_runner.runner.host import cpu_model

if TYPE_CHECKING:
    from netadapt.android_runner.phone.adb import AdbServer

FOLDER = Path(__file__).resolve().parent
QUICK_SPACE = str(FOLDER / "quick.toml")
QUICK_COLOUR_SPACE = str(FOLDER / "quick_colour.toml")
QUICK_PROFILE: dict[str, Any] = {
    "rounds": 4,
    "visit_ms": 0.5,
    "warmup_ms": 1.0,
    "attempts": 2,
}
"""Settings of `[profile]` that take no time, and measure accordingly."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """Arguments every benchmark has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--quick", action="store_true", help="a small run that shows that it works")
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("torchao").setLevel(logging.ERROR)  # reports GPU kernels that it cannot load
    return made


def work_folder(name: str) -> Path:
    """Where the benchmark `name` keeps what it need not make again."""
    folder = cache_folder() / "benchmarks" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def own_adb_server() -> Iterator[AdbServer]:
    """An adb server on a port of its own, which knows no other phones; it ends with the context."""
    from adbutils import AdbClient

    from netadapt.android_runner.phone.adb import AdbServer

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = AdbServer(port=port)
    server.ensure()
    try:
        yield server
    finally:
        AdbClient(host="127.0.0.1", port=port).server_kill()


def standard_error(values: Sequence[float]) -> float | None:
    """Of their mean; None of fewer than two."""
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None


def commit() -> str:
    """The commit of this checkout, marked when files differ from it."""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=FOLDER,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def say(text: str) -> None:
    """Progress, for people: to standard error."""
    print(text, file=sys.stderr, flush=True)


def print_result(result: dict[str, object]) -> None:
    """The figures, for programs: one JSON line on standard output."""
    print(json.dumps({"commit": commit(), "processor": cpu_model(), **result}), flush=True)
