"""Commands look for phones: never through the adb server of whoever runs the tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netadapt.android_runner.building.for_host import build_runner
from netadapt.android_runner.phone import AdbServer
from tests.warm import warm_program


@pytest.fixture(autouse=True, scope="session")
def _own_adb_server(adb_server: AdbServer) -> None:
    """Commands started by tests find it through the environment."""


@pytest.fixture(autouse=True, scope="session")
def _runner_is_built() -> None:
    """Else the first command that needs it says that it is being built."""
    build_runner()


Netadapt = Callable[..., tuple[int, str, str]]
"""Words of a command to its exit code, standard output and standard error."""


@pytest.fixture(scope="session")
def netadapt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Netadapt]:
    """The command line in processes of its own, in the current folder and environment."""
    with warm_program(sys.executable, tmp_path_factory.mktemp("warm")) as program:
        yield lambda *words: program.run(words, Path.cwd())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
