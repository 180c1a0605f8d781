"""What Android's policy lets adb's daemon do with files.

From the published rules (``adbd.te``, ``shell.te``, ``domain.te`` of Android 7.1 to 15, user
builds): the daemon creates and writes files and folders of the types ``shell_data_file`` and
``sdcard_type``, nothing else; no links anywhere, which only the shell may make, and it may not even
look at one of the shell's. It reads these, ``system_file``, and what every process may read. A
daemon that was restarted as root could do more; this one does not.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

_OWN: Final = ("data/local/tmp", "sdcard")
_READ_ONLY_DISKS: Final = ("system", "vendor")
_READABLE: Final = (
    *_OWN,
    "system",
    "sys/devices/system/cpu",
    "proc/cpuinfo",
    "proc/sys/kernel/random",
)
_MOST_LINKS: Final = 40  # as the kernel has it


class DaemonPolicy:
    """Finds where a phone's path lies on this machine, for what the daemon may do there.

    Every method raises `OSError` as a phone's system would; no path leads out of ``root``.

    Parameters
    ----------
    root: the phone's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def to_look_at(self, path: str, *, follow: bool) -> Path:
        """Somewhere to ``stat``; ``follow`` a link at the path's end."""
        place = self._find(path, follow=follow)
        found = (self._root / place).lstat()  # before the rules: what is not there is just that
        above = not place or any(_is_in(each, (place,)) for each in _READABLE)
        if not above and not _is_in(place, _READABLE):
            raise _error(errno.EACCES)
        return self._plain(place, found)

    def to_read(self, path: str) -> Path:
        """A file to read or a folder to list."""
        place = self._find(path, follow=True)
        found = (self._root / place).lstat()
        if place and not _is_in(place, _READABLE):
            raise _error(errno.EACCES)
        return self._plain(place, found)

    def to_write(self, path: str) -> Path:
        """A file to be made, in a folder that may have to be made too."""
        place = self._find(path, follow=False)
        if _is_in(place, _READ_ONLY_DISKS):
            raise _error(errno.EROFS)
        if place in _OWN or not _is_in(place, _OWN):
            raise _error(errno.EISDIR if place in _OWN else errno.EACCES)
        target = self._root / place
        above = next(folder for folder in target.parents if folder.exists())
        if not above.stat().st_mode & stat.S_IWUSR:
            raise _error(errno.EACCES)  # the daemon is no root, even where this process is
        try:
            found = target.lstat()
        except OSError:
            return target
        return self._plain(place, found)

    def _find(self, path: str, *, follow: bool) -> str:
        """The path without links and dots, from ``root``; its end need not be there."""
        todo = path.split("/")[::-1]
        done: list[str] = []
        links = 0
        while todo:
            word = todo.pop()
            if word in ("", "."):
                continue
            if word == "..":
                del done[-1:]
                continue
            done.append(word)
            try:
                target = os.readlink(self._root.joinpath(*done))
            except OSError:
                continue  # no link, or nothing
            last = not any(rest not in ("", ".") for rest in todo)
            if _is_in("/".join(done), _OWN):
                raise _error(errno.EACCES)
            if last and not follow:
                continue
            links += 1
            if links > _MOST_LINKS:
                raise _error(errno.ELOOP)
            del done[-1:]
            if target.startswith("/"):
                done = []
            todo += target.split("/")[::-1]
        return "/".join(done)

    def _plain(self, place: str, found: os.stat_result) -> Path:
        """The place, unless it is of a kind that the daemon may not touch (a pipe, a socket)."""
        kinds = (stat.S_ISREG, stat.S_ISDIR, stat.S_ISLNK)
        if not any(is_kind(found.st_mode) for is_kind in kinds):
            raise _error(errno.EACCES)
        return self._root / place


def _is_in(place: str, folders: tuple[str, ...]) -> bool:
    return any(place == folder or place.startswith(f"{folder}/") for folder in folders)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
