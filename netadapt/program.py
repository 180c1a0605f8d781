"""What `netadapt` and `python -m netadapt` start: ready for a signal before anything is loaded."""

from __future__ import annotations

import atexit
import os
import sys

from netadapt import signals

_exit_codes: list[int] = []
"""The last one is what the program leaves with."""


def main() -> None:
    """Run the command line; leaves with its exit code."""
    signals.prepare()
    skip_teardown()
    _exit_codes.append(1)  # a traceback's
    try:
        from netadapt.commands.cli import main as run

        run()
    except KeyboardInterrupt:  # while it was still being loaded
        sys.stderr.write("netadapt: interrupted before it began; run it again\n")
        _exit_codes.append(signals.exit_code())
        sys.exit(_exit_codes[-1])
    except SystemExit as left:
        _exit_codes.append(left.code if isinstance(left.code, int) else int(bool(left.code)))
        raise


def skip_teardown() -> None:
    """Have the process end without taking down what it loads: of torch that alone takes a second.

    To be called before anything else is loaded: so it comes behind everybody's farewell.
    """
    if not _exit_codes:  # not yet in this process, nor in one that it was forked from
        _exit_codes.append(0)
        atexit.register(_leave)


def _leave() -> None:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # Python says so, and leaves with a code of its own
        return
    os._exit(_exit_codes[-1])
