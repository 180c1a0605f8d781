"""Files that are whole or not there; what every package writes, it writes with this."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

_LINKS_AT_MOST: Final = 40  # as Linux
_NAME_AT_MOST: Final = 200  # of the 255 that a file's name may have
# Ours since there are random names of 16 digits; before, those of Python's tempfile.
_LEFTOVER: Final = re.compile(r"\..+\.([0-9a-f]{16}\.part|[a-z0-9_]{8})", re.DOTALL)


def write_atomically(
    path: Path, content: bytes, *, executable: bool = False, durable: bool = True
) -> None:
    """Put `content` at `path` so that a kill at any moment leaves the old file or the new one.

    Makes the folder where it is missing. Where `path` is a link, the file that it names is
    written; where it is a device, a pipe or the like, the content goes into it.

    Parameters
    ----------
    executable: for whoever may read it.
    durable: on the disk before it is there under its name. A power failure may leave a file that
        is not so empty: for what is checked when it is read, and made again.
    """
    with writing_atomically(path, executable=executable, durable=durable) as file:
        file.write(content)


@contextmanager
def writing_atomically(
    path: Path, *, executable: bool = False, durable: bool = True
) -> Iterator[BinaryIO]:
    """As `write_atomically`, for what is written a part at a time: into the file that is given.

    An exception within leaves `path` as it was.
    """
    target = _regular_target(path)
    if target is None:
        with tempfile.TemporaryFile() as whole:
            yield whole
            whole.seek(0)
            # Neither made nor emptied: at a regular file's descriptor this adds to what is there.
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY)
            with os.fdopen(descriptor, "wb") as file:
                shutil.copyfileobj(whole, file)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name[:_NAME_AT_MOST]}.{secrets.token_hex(8)}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o777 if executable else 0o666), "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def cut_torn_line(path: Path) -> None:
    """Take off a last line that a kill tore, so that the next one stands by itself."""
    content = path.read_bytes() if path.exists() else b""
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def is_leftover(path: Path) -> bool:
    """Whether a file is a temporary one, left behind by a write that was killed."""
    return _LEFTOVER.fullmatch(path.name) is not None and not path.is_dir()


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writes left in `folder`. Only where nobody else writes meanwhile."""
    for path in folder.iterdir():
        if is_leftover(path):
            with suppress(OSError):
                path.unlink()


def _regular_target(path: Path) -> Path | None:
    """Where the regular file at `path` is or will be, links followed; None: no regular file.

    Raises `OSError` for a folder and for links without end.
    """
    for _ in range(_LINKS_AT_MOST):
        if not path.is_symlink():
            break
        folder = path.parent.resolve()
        if folder.is_relative_to("/proc"):  # an open file of a process, such as /dev/stdout
            return None
        path = folder / os.readlink(path)
    else:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return path
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return path if stat.S_ISREG(mode) else None
