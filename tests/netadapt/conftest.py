"""Commands look for phones: never through the adb server of whoever runs the tests."""

from __future__ import annotations

import pytest

from android_runner.phone import AdbServer


@pytest.fixture(autouse=True, scope="session")
def _own_adb_server(adb_server: AdbServer) -> None:
    """Commands started by tests find it through the environment."""
