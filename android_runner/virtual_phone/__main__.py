"""``python -m android_runner.virtual_phone``: a virtual phone in the foreground."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from android_runner.errors import RunnerError
from android_runner.virtual_phone.description import PhoneDescription, bundled_names
from android_runner.virtual_phone.faults import Fault, FaultKind
from android_runner.virtual_phone.phone import VirtualPhone
from android_runner.virtual_phone.sandbox import Isolation

logger = logging.getLogger(__name__)


def describe(name: str) -> PhoneDescription:
    """A bundled phone by name, or a TOML file by path. Raises `InvalidRunError`."""
    if name in bundled_names() or not Path(name).is_file():
        return PhoneDescription.bundled(name)
    return PhoneDescription.load(name)


def serve(phone: str, root: Path, port: int, isolation: Isolation | None = None) -> None:
    """Run a phone until Ctrl-C or SIGTERM; prints its address when it is on.

    Lines on standard input are faults to play: ``KIND [SECONDS]``.
    """
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, lambda *_: stopping.set())
    with VirtualPhone(describe(phone), root, port=port, isolation=isolation) as on:
        sys.stdout.write(f"{on.address}\n")
        sys.stdout.flush()
        threading.Thread(target=_take_orders, args=(on,), daemon=True).start()
        stopping.wait()


def _take_orders(phone: VirtualPhone) -> None:
    for line in sys.stdin:
        words = line.split()
        try:
            if words == ["accept_keys"]:
                phone.accept_keys()
            elif words:
                play_line(phone, words)
        except (RunnerError, ValueError) as error:
            sys.stderr.write(f"{error}\n")


def play_line(phone: VirtualPhone, words: list[str]) -> None:
    """Play ``KIND [SECONDS]``. Raises `ValueError` for an unknown kind."""
    kinds = FaultKind.__args__  # type: ignore[attr-defined]
    if words[0] not in kinds:
        raise ValueError(f"a fault is one of {', '.join(kinds)}, got {words[0]!r}; name one")
    phone.play(Fault(words[0], seconds=float(words[1]) if len(words) > 1 else 5.0))  # type: ignore[arg-type]


def main() -> None:
    """Parse arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phone", default="pixel_1", help="a bundled phone or a TOML file")
    parser.add_argument("--root", type=Path, required=True, help="folder for the phone's files")
    parser.add_argument("--port", type=int, default=0, help="0 chooses one")
    parser.add_argument("--isolation", choices=("namespaces", "paths"), help="see sandbox.py")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO if arguments.verbose else logging.WARNING)
    try:
        serve(arguments.phone, arguments.root, arguments.port, arguments.isolation)
    except RunnerError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
