"""One process writes a ledger at a time."""

import fcntl
import os
from pathlib import Path

from app.errors import ConflictError, StoreError


def remove_ledger(path: Path) -> None:
    """Remove a ledger, if no process holds it.

    Raises:
        ConflictError: If one does.
        StoreError: If it cannot be removed.
    """
    try:
        if not path.exists():
            return
        held = hold(path)
        try:
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        finally:
            os.close(held)
    except OSError as error:
        raise StoreError(
            f"Cannot remove the ledger {path}: {error.strerror}; name another with --ledger."
        ) from error


def hold(ledger: Path) -> int:
    """Take a ledger's lock, which the kernel frees when the process ends; returns its descriptor.

    Raises:
        ConflictError: If another process has it; the message names that one.
    """
    path = ledger.with_name(f"{ledger.name}.lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise ConflictError(
            f"The ledger {ledger} is in use by process {holder or 'unknown'}; wait "
            "for it, or name another with --ledger."
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
    return descriptor
