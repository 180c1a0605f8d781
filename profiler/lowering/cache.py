"""Programs on disk by their content, so that each is lowered once, whoever asks."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from netadapt.android_runner.files import write_atomically
from netadapt.android_runner.paths import cache_folder

logger = logging.getLogger(__name__)


class ProgramCache:
    """Programs on disk by the hash of their content; safe for any number of processes.

    Kept in `folder`, by default in the user's cache (`$NETADAPT_CACHE`). Behind a program's bytes,
    where runtimes do not look, stands a digest of them and their key: a file that was cut off,
    changed, exchanged or written without one counts as missing and is lowered again.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder() / "programs"

    def get(self, key: str) -> bytes | None:
        """The program kept under `key`, or None."""
        try:
            kept = self._path(key).read_bytes()
        except FileNotFoundError:
            return None
        data, seal = kept[:-_SEAL_BYTES], kept[-_SEAL_BYTES:]
        if data and seal == _seal(key, data):
            return data
        logger.info("the program cache's file %s is damaged or old: lowered again", key)
        return None

    def put(self, key: str, data: bytes) -> None:
        """Keep a program under `key`, whole or not at all."""
        write_atomically(self._path(key), data + _seal(key, data))

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.pte"


def _seal(key: str, data: bytes) -> bytes:
    return _SEAL_MARK + hashlib.sha256(key.encode() + b"\0" + data).digest()


_SEAL_MARK = b"netadapt"
_SEAL_BYTES = len(_SEAL_MARK) + hashlib.sha256().digest_size
