"""One process at a time measures on a phone."""

from __future__ import annotations

import fcntl
import hashlib
import os

from netadapt.android_runner.errors import DeviceError
from netadapt.android_runner.paths import lock_folder


class PhoneLock:
    """Held while a process of this user measures on a phone; the system frees a dead one's."""

    _held: dict[str, tuple[int, int]] = {}  # noqa: RUF012  # this process's, counted

    def __init__(self, phone_id: str) -> None:
        self._id = phone_id
        descriptor, count = self._held.get(phone_id, (-1, 0))
        if not count:
            folder = lock_folder()
            folder.mkdir(parents=True, exist_ok=True)
            name = hashlib.sha256(phone_id.encode(errors="surrogateescape")).hexdigest()[:16]
            descriptor = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(descriptor)
                raise DeviceError(
                    f"a phone must be measured by one process at a time, another has {phone_id}; "
                    "wait until that has ended"
                ) from error
        self._held[phone_id] = descriptor, count + 1

    def release(self) -> None:
        """Let others have the phone, once for each time it was locked."""
        descriptor, count = self._held[self._id]
        if count == 1:
            os.close(descriptor)
            del self._held[self._id]
        else:
            self._held[self._id] = descriptor, count - 1
