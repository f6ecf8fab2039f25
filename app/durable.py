"""Small files that are there as a whole or not at all, whatever crashes meanwhile."""

import contextlib
import json
import os
from pathlib import Path


def write_json(path: Path, content: object) -> None:
    """Replace a JSON file atomically and durably; its directory must exist."""
    write_bytes(path, json.dumps(content, ensure_ascii=False, indent=1).encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file atomically and durably; its directory must exist.

    Raises:
        OSError: If the disk does not take it; the file is as it was.
    """
    draft = path.with_name(f".{path.name}.draft")
    try:
        with draft.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)  # on a full disk every byte counts
        raise
    sync_directory(path.parent)


def remove(path: Path) -> None:
    """Remove a file durably, if it is there."""
    path.unlink(missing_ok=True)
    if path.parent.is_dir():
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make what was created, renamed or removed in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
