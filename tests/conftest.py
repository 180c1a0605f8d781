"""What tests of several packages need: a real adb server, and virtual phones that it knows."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import settings

from android_runner.phone import AdbServer, find_adb
from android_runner.virtual_phone import PIXEL_1, VirtualPhone

# No test depends on a timing being fast, so no example of a property does either.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs under test: a shell's background jobs are deaf to it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_locks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Virtual phones of one serial may be in use by several sessions' processes at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        yield


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbServer]:
    """A real adb server on a port of its own, keys and all; gone at the session's end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADB_SERVER_SOCKET", f"tcp:{port}")
        patch.setenv("ANDROID_USER_HOME", str(tmp_path_factory.mktemp("adb")))
        try:
            yield AdbServer("127.0.0.1", port)
        finally:
            subprocess.run(
                [find_adb().path, "-L", f"tcp:{port}", "kill-server"], timeout=30, check=False
            )


@pytest.fixture(scope="module")
def virtual_phone(
    adb_server: AdbServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VirtualPhone]:
    """A Pixel that is switched on, and that adb knows."""
    with VirtualPhone(PIXEL_1, tmp_path_factory.mktemp("phone")) as phone:
        adb_server.connect(phone.address)
        yield phone
        adb_server.disconnect(phone.address)
