"""Ctrl-C, `kill` and a terminal that is closed: each ends a command as an orderly interruption.

Imported before all else, so nothing heavy.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Final

_ENDINGS: Final = (signal.SIGTERM, signal.SIGHUP)
_STANDARD: Final = (0, 1, 2)

_received: list[int] = []
_terminals: list[int] = []


def prepare() -> None:
    """Make the endings that a system sends interrupt as Ctrl-C does: what is under way is put back.

    One that is ignored stays so (`nohup`). Standard streams that are closed become empty ones: else
    the next file to be opened would take the place of one, and get what is said there.
    """
    _open_standard_streams()
    _terminals[:] = filter(os.isatty, _STANDARD)
    for number in _ENDINGS:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _interrupt)


def exit_code() -> int:
    """Of a program that was interrupted: 128 and the number of the signal that did it."""
    return 128 + (_received[0] if _received else signal.SIGINT)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if _received:
        return  # on the way out already; whoever cannot wait has Ctrl-C and kill -9
    _received.append(number)
    for descriptor in _terminals:
        if not os.isatty(descriptor):  # it is gone, and whatever is said there would fail
            _empty(descriptor)
    raise KeyboardInterrupt


def _open_standard_streams() -> None:
    for descriptor in _STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            _empty(descriptor)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def _empty(descriptor: int) -> None:
    """Have nothing come from there, and what goes there be lost."""
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != descriptor:
        os.dup2(opened, descriptor)
        os.close(opened)
    os.set_inheritable(descriptor, True)
