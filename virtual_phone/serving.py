"""A virtual phone in the foreground: what the commands run."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, get_args

from netadapt.android_runner.errors import InvalidRunError, RunnerError
from netadapt.virtual_phone.description import PhoneDescription, bundled_names
from netadapt.virtual_phone.faults import Fault, FaultKind
from netadapt.virtual_phone.phone import VirtualPhone
from netadapt.virtual_phone.sandbox import Isolation

_KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)
_USUAL_SECONDS: Final = 5.0
_FOREGROUND_EVERY_S: Final = 0.5


def describe(phone: str, serial: str | None = None) -> PhoneDescription:
    """A bundled phone by name, or a TOML file by path; with another serial number where given.

    Raises `InvalidRunError`.
    """
    if phone not in bundled_names() and (phone.endswith(".toml") or Path(phone).is_file()):
        described = PhoneDescription.load(phone)
    else:
        described = PhoneDescription.bundled(phone)
    return described if serial is None else dataclasses.replace(described, serial=serial)


def serve(
    described: PhoneDescription,
    root: Path,
    port: int,
    on_ready: Callable[[VirtualPhone], None],
    isolation: Isolation | None = None,
) -> None:
    """Run a phone until Ctrl-C, SIGTERM or SIGHUP; `on_ready` is called when it is on.

    Lines on standard input are faults to play: ``KIND [SECONDS]``; ``allow`` accepts computers.
    Raises `InvalidRunError`, `DeviceError`.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stopping.set())
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)  # in a shell's background it is to continue
    with VirtualPhone(described, root, port=port, isolation=isolation) as phone:
        on_ready(phone)
        threading.Thread(target=_take_orders, args=(phone,), daemon=True).start()
        stopping.wait()


def _take_orders(phone: VirtualPhone) -> None:
    for line in _lines():
        try:
            play_line(phone, line)
        except RunnerError as error:
            _say(str(error))


def _lines() -> Iterator[str]:
    """Lines of standard input; a terminal's as long as it is in the foreground there."""
    warned = False
    while sys.stdin is not None:
        try:
            line = sys.stdin.readline()
        except OSError as error:
            if error.errno != errno.EIO:
                return
            if not warned:
                _say("lines are taken once it runs in the terminal's foreground; try: fg")
            warned = True
            time.sleep(_FOREGROUND_EVERY_S)
            continue
        except ValueError:
            _say("a line must be text; try: cable_out 5")
            continue
        if not line:
            return
        yield line


def _say(words: str) -> None:
    with contextlib.suppress(OSError, AttributeError):  # nobody may be there to read it
        sys.stderr.write(f"virtual phone: {words}\n")
        sys.stderr.flush()


def play_line(phone: VirtualPhone, line: str) -> None:
    """Do what a line asks for: ``allow`` or ``KIND [SECONDS]``. Raises `InvalidRunError`."""
    words = line.split()
    if not words:
        return
    if words == ["allow"]:
        phone.accept_keys()
        return
    kind = next((kind for kind in _KINDS if kind == words[0]), None)
    try:
        seconds = float(words[1]) if len(words) > 1 else _USUAL_SECONDS
    except ValueError:
        kind = None
    if kind is None or len(words) > 2:
        raise InvalidRunError(
            f"a line is `allow` or a fault and its seconds ({', '.join(_KINDS)}), got "
            f"{line.strip()[:80]!r}; try: cable_out 5"
        )
    phone.play(Fault(kind, seconds=seconds))
