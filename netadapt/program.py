"""What `netadapt` and `python -m netadapt` start: ready for a signal before anything is loaded."""

from __future__ import annotations

import sys

from netadapt import signals


def main() -> None:
    """Run the command line; leaves with its exit code."""
    signals.prepare()
    try:
        from netadapt.commands.cli import main as run

        run()
    except KeyboardInterrupt:  # while it was still being loaded
        sys.stderr.write("netadapt: interrupted before it began; run it again\n")
        sys.exit(signals.exit_code())
