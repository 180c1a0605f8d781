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
from typing import TYPE_CHECKING, Protocol

from netadapt.text import duration

if TYPE_CHECKING:
    from rich.console import Console

Update = Callable[[int, int], None]
"""`update(done, total)`; the total may change on the way."""

PLAIN_INTERVAL_S = 10.0
QUIET_S = 2.0
MIN_SPAN_S = 5.0
"""No remaining time is estimated from less: first results come in a burst or after a long start."""


class Progress(Protocol):
    """How a long step reports where it is."""

    def step(self, title: str) -> AbstractContextManager[Update]:
        """Begin a step; the context's value takes (done, total)."""
        ...

    def say(self, line: str) -> None:
        """One finished fact, e.g. what a step found."""
        ...


class Pace:
    """How long a step has left, judged by what it did since its first result.

    What was there before it began costs nothing, and the first result bears the whole start.
    """

    def __init__(self) -> None:
        self._before: int | None = None
        self._first: tuple[float, int] | None = None

    def remaining_s(self, done: int, total: int, now_s: float) -> float | None:
        """Seconds left at `now_s`; None while nothing can be said."""
        if self._before is None:
            self._before = done
        if self._first is None or done < self._first[1]:
            if done > self._before:
                self._first = (now_s, done)
            return None
        since_s, since = self._first
        if done == since or now_s - since_s < MIN_SPAN_S:
            return None
        return (now_s - since_s) / (done - since) * max(total - done, 0)


class TerminalProgress:
    """Bars with remaining time."""

    def __init__(self, console: Console | None = None) -> None:
        """Bars on a console.

        Parameters
        ----------
        console: standard error when not given.
        """
        from rich.console import Console

        self._console = console or Console(stderr=True, highlight=False)

    @contextmanager
    def step(self, title: str) -> Iterator[Update]:
        """A bar for one step; what it yields moves it."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        pace = Pace()
        with Progress(*columns, console=self._console) as bars:
            task = bars.add_task(title, total=None, left="")

            def update(done: int, total: int) -> None:
                remaining_s = pace.remaining_s(done, total, time.monotonic())
                left = "" if remaining_s is None else f"{duration(remaining_s)} left"
                bars.update(task, completed=done, total=total, left=left)

            yield update
            # A step without counts, or with its last one missing, is done all the same.
            total = bars.tasks[0].total or 1
            bars.update(task, completed=total, total=total, left="")

    def say(self, line: str) -> None:
        """A line above the bars."""
        self._console.print(f"  {line}", markup=False)


class PlainProgress:
    """Lines for logs and pipes: for each step that takes a while its begin, course and end."""

    @contextmanager
    def step(self, title: str) -> Iterator[Update]:
        """Lines about one step; what it yields says how far it is."""
        started = last = time.monotonic()
        pace = Pace()
        # Steps that are over at once, one way or the other, are not worth a line.
        begin = threading.Timer(QUIET_S, _write, [f"{title} ..."])
        begin.daemon = True
        begin.start()

        def update(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            remaining_s = pace.remaining_s(done, total, now)
            if now - last < PLAIN_INTERVAL_S or not 0 < done < total:
                return
            last = now
            left = "" if remaining_s is None else f", {duration(remaining_s)} left"
            _write(f"{title}: {done} of {total}{left}")

        try:
            yield update
        finally:
            begin.cancel()
        seconds = time.monotonic() - started
        if seconds > QUIET_S:
            _write(f"{title}: done in {duration(seconds)}")

    def say(self, line: str) -> None:
        """A line on standard error."""
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
        logging.getLogger("netadapt").setLevel(logging.INFO)


def _write(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
