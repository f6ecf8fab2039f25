"""Small files that are there as a whole or not at all, whatever crashes meanwhile."""

import json
import os
from pathlib import Path


def write_json(path: Path, content: object) -> None:
    """Replace a JSON file atomically and durably; its directory must exist."""
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("w", encoding="utf-8") as out:
        json.dump(content, out, ensure_ascii=False, indent=1)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(path)
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
