"""What a person at a terminal sees: progress with remaining time, log lines, errors.

Everything here goes to standard error, so that standard output holds results alone.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from netadapt.text import duration

Update = Callable[[int, int], None]
"""`update(done, total)`; the total may change on the way."""

PLAIN_INTERVAL_S = 10.0
QUIET_S = 2.0


class Progress(Protocol):
    """How a long step reports where it is."""

    def step(self, title: str) -> AbstractContextManager[Update]:
        """Begin a step; the context's value takes (done, total)."""
        ...

    def say(self, line: str) -> None:
        """One finished fact, e.g. what a step found."""
        ...


class TerminalProgress:
    """Bars with remaining time."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)

    @contextmanager
    def step(self, title: str) -> Iterator[Update]:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Remaining

        columns = (
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            # Batches are uneven: a speed over minutes says more than one over seconds.
            Remaining(),
        )
        with Progress(*columns, console=self._console, speed_estimate_period=120) as bars:
            task = bars.add_task(title, total=None)

            def update(done: int, total: int) -> None:
                bars.update(task, completed=done, total=total)

            yield update

    def say(self, line: str) -> None:
        self._console.print(f"  {line}", markup=False)


class PlainProgress:
    """Lines for logs and pipes: for each step that takes a while its begin, course and end."""

    @contextmanager
    def step(self, title: str) -> Iterator[Update]:
        started = last = time.monotonic()
        # Steps that are over at once, one way or the other, are not worth a line.
        begin = threading.Timer(QUIET_S, _write, [f"{title} ..."])
        begin.daemon = True
        begin.start()

        def update(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < PLAIN_INTERVAL_S or not 0 < done < total:
                return
            last = now
            remaining_s = (now - started) * (total - done) / done
            _write(f"{title}: {done} of {total}, {duration(remaining_s)} left")

        try:
            yield update
        finally:
            begin.cancel()
        seconds = time.monotonic() - started
        if seconds > QUIET_S:
            _write(f"{title}: done in {duration(seconds)}")

    def say(self, line: str) -> None:
        _write(f"  {line}")


def progress() -> Progress:
    """Bars on a terminal, plain lines elsewhere."""
    return TerminalProgress() if sys.stderr.isatty() else PlainProgress()


def configure_logging(verbose: bool) -> None:
    """Warnings of our packages as single lines; with `verbose`, their information too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    if verbose:
        for package in ("android_runner", "profiler", "predictor", "search", "netadapt"):
            logging.getLogger(package).setLevel(logging.INFO)


def _write(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
