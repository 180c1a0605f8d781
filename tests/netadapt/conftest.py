"""Commands look for phones: never through the adb server of whoever runs the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from netadapt.android_runner.building.for_host import build_runner
from netadapt.android_runner.phone import AdbServer


@pytest.fixture(autouse=True, scope="session")
def _own_adb_server(adb_server: AdbServer) -> None:
    """Commands started by tests find it through the environment."""


@pytest.fixture(autouse=True, scope="session")
def _runner_is_built() -> None:
    """Else the first command that needs it says that it is being built."""
    build_runner()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
