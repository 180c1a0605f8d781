"""Programs on disk by their content, so that each is lowered once, whoever asks."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

from netadapt.android_runner.files import write_atomically
from netadapt.android_runner.paths import cache_folder

logger = logging.getLogger(__name__)

PROGRAM, GRAPH = ".pte", ".graph.json"
"""Suffixes of what is kept: programs, and beside some what their runtime executes."""


class ProgramCache:
    """Programs on disk by the hash of their content; safe for any number of processes.

    Kept in `folder`, by default in the user's cache (`$NETADAPT_CACHE`). Behind a program's bytes,
    where runtimes do not look, stands a digest of them and their key: a file that was cut off,
    changed, exchanged or written without one counts as missing and is lowered again.

    Programs that were written without the exporter are marked, so that they all count as missing
    once one of them was found to differ from the exporter's (`distrust_written`).
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder() / "programs"

    def get(self, key: str, suffix: str = PROGRAM) -> bytes | None:
        """The program kept under `key`, or None; with `GRAPH`, what its runtime executes."""
        try:
            kept = self._path(key, suffix).read_bytes()
        except FileNotFoundError:
            return None
        data, mark, seal = (
            kept[:-_SEAL_BYTES],
            kept[-_SEAL_BYTES:-_DIGEST_BYTES],
            kept[-_DIGEST_BYTES:],
        )
        if data and mark in (_EXPORTED, _WRITTEN) and seal == _seal(key, data):
            return None if mark == _WRITTEN and not self.trusts_written() else data
        logger.info("the program cache's file %s is damaged or old: lowered again", key)
        return None

    def put(self, key: str, data: bytes, suffix: str = PROGRAM, *, written: bool = False) -> None:
        """Keep a program under `key`, whole or not at all; `written` without the exporter."""
        mark = _WRITTEN if written else _EXPORTED
        sealed = data + mark + _seal(key, data)
        # A thousand programs would wait for the disk for seconds; a lost one is lowered again.
        write_atomically(self._path(key, suffix), sealed, durable=False)

    def trusts_written(self) -> bool:
        """Whether no program written without the exporter was found to differ from its own."""
        return not self._distrusted.exists()

    def distrust_written(self, why: str) -> Path:
        """From now on all programs are exported; the file that says so, to be removed by hand."""
        write_atomically(self._distrusted, f"{why}\n".encode())
        return self._distrusted

    def compared(self, stamp: str) -> set[str]:
        """Layers of which a program written under this stamp was compared with the exporter's."""
        try:
            return {path.name for path in (self.folder / "compared" / stamp).iterdir()}
        except FileNotFoundError:
            return set()

    def note_compared(self, stamp: str, layers: Iterable[str]) -> None:
        """Remember these for `compared`."""
        for layer in layers:
            write_atomically(self.folder / "compared" / stamp / layer, b"")

    @property
    def _distrusted(self) -> Path:
        return self.folder / "written-programs-differ"

    def _path(self, key: str, suffix: str) -> Path:
        return self.folder / key[:2] / f"{key}{suffix}"


def _seal(key: str, data: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\0" + data).digest()


_EXPORTED, _WRITTEN = b"netadapt", b"netadirw"
_DIGEST_BYTES = hashlib.sha256().digest_size
_SEAL_BYTES = len(_EXPORTED) + _DIGEST_BYTES
