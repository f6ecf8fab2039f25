"""One process holds a store: an advisory lock on a file that names the holder's process id.

The kernel releases the lock when the process ends, however it ends, so no stale lock can remain
and the file itself is never removed.
"""

import fcntl
import os
from pathlib import Path

from app.errors import ConflictError, StoreError


class RootLock:
    """The exclusive lock of a store's directory, held from construction to ``release``.

    Args:
        path: The lock file; it is created if missing and stays behind.

    Raises:
        ConflictError: If another opener holds the lock; the message names its process id.
        StoreError: If the lock file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StoreError(
                f"Cannot open the lock file {path} for writing: {error.strerror}. "
                "Give a directory that this user may write to."
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise ConflictError(
                f"The store {path.parent} is open in process {holder or 'unknown'}; one process "
                "may hold it at a time. Stop that process or choose another directory."
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Let another process open the store."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
