"""Whether a runner fits the programs that are lowered here: docs/protocol.md, "What is checked"."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Iterable
from typing import Final

from netadapt.android_runner.building.versions import UNKNOWN_RUNTIME, lowering_version
from netadapt.android_runner.errors import UnsupportedDeviceError
from netadapt.android_runner.runner.program_format import read_format
from netadapt.android_runner.runner.protocol import Hello

logger = logging.getLogger(__name__)

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
_FLAGS: Final = {
    "XnnpackBackend": "-DEXECUTORCH_BUILD_XNNPACK=ON",
}


def check_runner_fits(hello: Hello, programs: Iterable[bytes]) -> None:
    """Check a runner's hello against programs that were lowered here, before any of them runs.

    Logs a warning where the runtime's patch level differs or its version is not known. Raises
    `UnsupportedDeviceError` where its major or minor version differs, or where it lacks a backend
    or all operators.
    """
    check_versions(hello.runtime, lowering_version())
    if hello.kernels == 0:
        raise UnsupportedDeviceError(
            "a runner must have operators linked in, this one has none; build it again against an "
            "ExecuTorch install with -DEXECUTORCH_BUILD_PORTABLE_OPS=ON: netadapt runner build"
        )
    for data in programs:
        found = read_format(data)
        for backend in sorted(found.backends if found else ()):
            if backend not in hello.backends:
                raise UnsupportedDeviceError(
                    f"a runner must have the backends its programs need, {backend} is not among "
                    f"{', '.join(hello.backends) or 'none'}; build ExecuTorch with "
                    f"{_FLAGS.get(backend, 'it')}, then: netadapt runner build"
                )


def check_versions(runtime: str, lowering: str | None) -> None:
    """Check a runner's ExecuTorch version against the one that lowers, as `check_runner_fits`."""
    runner_version, here = _VERSION.match(runtime), _VERSION.match(lowering or "")
    if runner_version is None or here is None:
        _warn_once(
            f"whether the runner's ExecuTorch ({runtime}) fits programs of version "
            f"{lowering or UNKNOWN_RUNTIME} is not known; name its version with "
            "`netadapt runner build --runtime-version`"
        )
    elif runner_version.group(1, 2) != here.group(1, 2):
        raise UnsupportedDeviceError(
            f"the runner's ExecuTorch must be of the version that lowers programs, got {runtime} "
            f"in the runner and {lowering} here; build the runner against ExecuTorch "
            f"{here[1]}.{here[2]}: netadapt runner build"
        )
    elif runner_version.group(3) != here.group(3):
        _warn_once(f"the runner has ExecuTorch {runtime}, programs are lowered with {lowering}")


@functools.cache
def _warn_once(message: str) -> None:
    logger.warning("%s", message)
