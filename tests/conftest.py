"""What tests of several packages need: a real adb server, and virtual phones that it knows."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from netadapt.android_runner.errors import DeviceError
from netadapt.android_runner.phone import AdbServer, find_adb
from netadapt.virtual_phone import PIXEL_1, VirtualPhone
from netadapt.virtual_phone.sandbox import ISOLATION_VARIABLE
from tests.wheel import Installed, install_wheel

# No test depends on a timing being fast, so no example of a property does either.
settings.register_profile("unhurried", deadline=None, max_examples=50)
settings.load_profile("unhurried")


if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling
    from xdist.workermanage import WorkerController

EACH_BY_ITSELF = "tests/benchmarks/test_quick.py"
"""Its tests share nothing, and are long."""

TOGETHER = {
    "tests/netadapt/test_readme.py": "the wheel",
    "tests/test_packaging.py": "the wheel",
    # What kills processes forks them from one that imported for seconds
    "tests/profiler/test_profile.py": "killed",
    "tests/profiler/test_table.py": "killed",
    "tests/search/test_driver.py": "killed",
    "tests/search/test_ranks.py": "killed",
    "tests/search/test_training.py": "killed",
}
"""Files that share what takes seconds to make."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules with slow tests come first: a long one that is left to the end keeps one core."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(
    config: pytest.Config, log: WorkerController
) -> LoadScopeScheduling:
    """A file's tests share fixtures: they run in one process, as they were collected."""
    from xdist.scheduler import LoadScopeScheduling

    class BySharedFixtures(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith(EACH_BY_ITSELF):
                return nodeid
            file = nodeid.partition("::")[0]
            return TOGETHER.get(file, file)

    return BySharedFixtures(config, log)


def pytest_configure() -> None:
    """What holds for all processes of the tests, before any of them loads torch.

    Signals reach the programs under test: background jobs are deaf to Ctrl-C, those of nohup to the
    end of a terminal. And processes side by side with a thread for each core would wait for each
    other most of the time.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One program cache for all tests, in all of pytest's processes; the user's stays as it is.

    It knows that programs of every kind of layer are written as the exporter makes them: that is
    what tests/profiler/test_direct.py proves, with caches of its own. Else the first process of
    each kind of test would import the exporter to see it again; nor is a share of all others
    exported, which takes seconds each.
    """
    # Not where pytest's own process would import it too, which runs no test and waits for torch
    from netadapt.profiler.lowering import (
        DEFAULT_RECIPE,
        NATIVE_RECIPE,
        ProgramCache,
        find_lowering,
        writing,
    )
    from netadapt.profiler.lowering.direct.operators import KNOWN_LAYERS

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NETADAPT_CACHE", str(folder / "cache"))
        for recipe in (DEFAULT_RECIPE, NATIVE_RECIPE):
            wholes = ("Network", "_Chain", *(f"{layer} alone" for layer in KNOWN_LAYERS))
            layers = [*KNOWN_LAYERS, *wholes]
            ProgramCache().note_compared(writing.stamp_of(find_lowering(recipe)), layers)
        patch.setattr(writing, "COMPARED_SHARE", 10**9)
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_locks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Virtual phones of one serial may be in use by several sessions' processes at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        yield


@pytest.fixture(scope="session", autouse=True)
def owners_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of keys that this user's virtual phones know, beside those of the user's adb."""
    folder = tmp_path_factory.mktemp("keys")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADB_VENDOR_KEYS", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def _isolation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where namespaces are not allowed, the tests ask for virtual phones without them."""
    with pytest.MonkeyPatch.context() as patch:
        if ISOLATION_VARIABLE not in os.environ:
            try:
                with VirtualPhone(PIXEL_1, tmp_path_factory.mktemp("probe")):
                    pass
            except DeviceError:
                patch.setenv(ISOLATION_VARIABLE, "paths")
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


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an environment of its own."""
    return install_wheel(tmp_path_factory.mktemp("wheel"))
