"""Files opened without following a link anywhere on their way.

The phone's programs own the same files as the process that serves them, and may put a link where a
folder was; it must lead that process nowhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW


@contextmanager
def folder_of(path: Path, make: bool = False) -> Iterator[int]:
    """A descriptor of the folder that holds the absolute ``path``, for ``dir_fd``.

    Raises `OSError`, `NotADirectoryError` at a link.

    Parameters
    ----------
    make: folders that are missing.
    """
    folder = os.open(path.anchor, _FOLDER)
    try:
        for part in path.parts[1:-1]:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=folder)
            below = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        yield folder
    finally:
        os.close(folder)


def open_plain(path: Path, flags: int, mode: int = 0o666) -> int:
    """A descriptor of the file at the absolute ``path``; waits for nobody at a pipe.

    Raises `OSError`.
    """
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    with folder_of(path) as folder:
        return os.open(path.name, flags, mode, dir_fd=folder)


def create_plain(path: Path) -> int:
    """A descriptor of a new file at the absolute ``path``, in place of one that was there.

    Makes folders that are missing. Raises `OSError`.
    """
    with folder_of(path, make=True) as folder:
        with suppress(FileNotFoundError):
            os.unlink(path.name, dir_fd=folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path.name, flags, 0o600, dir_fd=folder)


def remove_plain(path: Path) -> None:
    """Remove the file at the absolute ``path``, where there is one. Raises `OSError`."""
    with suppress(FileNotFoundError), folder_of(path) as folder:
        os.unlink(path.name, dir_fd=folder)
