"""A virtual phone in a thread of its own: what tests and the command start."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import random
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from netadapt.android_runner.errors import DeviceError, InvalidRunError
from netadapt.virtual_phone.description import PhoneDescription
from netadapt.virtual_phone.faults import Cue, Event, Fault
from netadapt.virtual_phone.handset import Handset
from netadapt.virtual_phone.sandbox import Isolation, isolation_by_environment


class VirtualPhone:
    """A described phone that adb connects to over TCP on this machine.

    Use it as a context, or `start` and `stop`. Raises `InvalidRunError` for a host that is not the
    loopback, `DeviceError` when the phone cannot be switched on.

    Parameters
    ----------
    root: the folder that holds the phone's files; kept, so that a phone switched on again has what
        was pushed before.
    port: 0 chooses one.
    isolation: see `sandbox`; None takes what the environment's ``NETADAPT_VIRTUAL_PHONE_ISOLATION``
        names, and ``namespaces`` without it.
    """

    def __init__(
        self,
        description: PhoneDescription,
        root: Path | str,
        host: str = "127.0.0.1",
        port: int = 0,
        isolation: Isolation | None = None,
    ) -> None:
        try:
            loopback = ipaddress.IPv4Address(host).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise InvalidRunError(
                f"a virtual phone listens on the loopback only, got host {host!r}; use 127.0.0.1"
            )
        self.description = description
        self.root = Path(root).resolve()
        self._host = host
        self._port = port
        self._isolation = isolation or isolation_by_environment()
        self._handset: Handset | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def __enter__(self) -> VirtualPhone:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Switch on; returns when adb can connect."""
        self.root.mkdir(parents=True, exist_ok=True)
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(ready,), name="virtual-phone", daemon=True
        )
        self._thread.start()
        ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise DeviceError(
                f"the virtual phone must start, but did not ({self._failure}); "
                "choose another port or folder"
            ) from self._failure

    def stop(self) -> None:
        """Switch off: connections and processes end. Harmless when it is off."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._loop = None

    @property
    def address(self) -> str:
        """``host:port``: what ``adb connect`` takes, and adb's serial from then on."""
        return f"{self._host}:{self._on.port}"

    @property
    def isolation(self) -> Isolation:
        """Which way the phone's programs are kept to its folder."""
        return self._on.sandbox.isolation

    @property
    def log(self) -> list[Event]:
        """What has happened so far, oldest first."""
        return list(self._on.log)

    def play(self, fault: Fault) -> Cue:
        """Put a fault on cue; the cue records when it struck, what it hit and when it was over."""
        cue = Cue(fault)
        assert self._loop is not None, "the phone is on"
        self._loop.call_soon_threadsafe(self._on.play, cue)
        return cue

    def accept_keys(self) -> None:
        """Answer "allow this computer?" with yes, now and for those who ask later."""
        assert self._loop is not None, "the phone is on"
        self._loop.call_soon_threadsafe(self._on.accept_keys)

    def set_slow_down(self, slow_down: Mapping[str, float]) -> None:
        """Replace the description's factors, for runs that start from now on."""
        self.description = dataclasses.replace(self.description, slow_down=dict(slow_down))
        self._on.description = self.description

    @property
    def _on(self) -> Handset:
        if self._handset is None:
            raise DeviceError("a virtual phone must be on to be asked, it is off; start it")
        return self._handset

    def _run(self, ready: threading.Event) -> None:
        try:
            asyncio.run(self._main(ready))
        except BaseException as error:
            self._failure = error
            ready.set()

    async def _main(self, ready: threading.Event) -> None:
        self._stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        handset = Handset(self.description, self.root, self._host, self._isolation)
        try:
            await handset.switch_on(self._port or _free_port(self._host))
            self._handset = handset
            ready.set()
            await self._stopping.wait()
        finally:
            await handset.switch_off()


def _free_port(host: str) -> int:
    """A port below those that outgoing connections get.

    A client that tries again and again to connect to a port among those may be given that very
    port to come from, and so be connected to itself.
    """
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise OSError("no free port found")
