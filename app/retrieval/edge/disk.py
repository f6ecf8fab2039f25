"""Files: space, sparse copies, links, digests, and how they are forced to the disk."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from app.errors import StoreError

_BLOCK = 1 << 20


def write_json(path: Path, content: object) -> None:
    """Replace a JSON file atomically and durably."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_directory(path.parent)


def require_space(directory: Path, needed: int, reserve: int) -> None:
    """Refuse to write on a read-only or nearly full disk.

    The engine writes through memory maps of sparse files: where a page finds no space, the kernel
    kills the process. So the question comes before the write.

    Args:
        directory: Where the write will go.
        needed: Bytes that the write may take.
        reserve: Bytes to leave free.

    Raises:
        StoreError: If the disk is read-only or has less than both together.
    """
    disk = os.statvfs(directory)
    if disk.f_flag & os.ST_RDONLY:
        raise StoreError(f"{directory} is read-only; searches go on, writes need it writable.")
    free = disk.f_bavail * disk.f_frsize
    if free < needed + reserve:
        raise StoreError(
            f"{free >> 20} MiB are free at {directory}, {(needed >> 20) + 1} MiB and a reserve of "
            f"{reserve >> 20} MiB are needed; free some space. Searches go on."
        )


def allocated_bytes(directory: Path) -> int:
    """Sum up what the files below a directory take; sparse files count by their blocks."""
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:  # The engine removes files while we walk
            continue
    return total


def copy_tree(source: Path, target: Path) -> None:
    """Copy a directory of regular files, leaving holes where a block is all zeros.

    The engine allocates files in 32 MiB steps; a plain copy would fill the disk with zeros.
    """
    target.mkdir(parents=True)
    for path in sorted(source.rglob("*")):
        goal = target / path.relative_to(source)
        if path.is_dir():
            goal.mkdir(exist_ok=True)
        else:
            copy_file(path, goal)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file to a place where none is, leaving holes where a block is all zeros."""
    with target.open("xb") as file:
        for offset, block in _blocks(source):
            file.seek(offset)
            file.write(block)
        file.truncate(source.stat().st_size)
    shutil.copymode(source, target)


def link_tree(source: Path, target: Path) -> None:
    """Give the files of a directory second names in a new one; copy where that cannot be."""
    target.mkdir(parents=True)
    for path in sorted(source.rglob("*")):
        goal = target / path.relative_to(source)
        if path.is_dir():
            goal.mkdir(exist_ok=True)
        else:
            link_file(path, goal)


def link_file(source: Path, target: Path) -> None:
    """Give a file a second name; copy it where that cannot be."""
    try:
        target.hardlink_to(source)
    except OSError:
        copy_file(source, target)


def sync_files(directory: Path) -> None:
    """Write the dirty pages of all files to disk, outside the engine and without its lock."""
    for path in (directory, *directory.rglob("*")):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # The engine removes files while we walk
            continue
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_log(shard: Path) -> None:
    """Force the engine's log to the disk; the engine itself leaves it to the kernel."""
    try:
        for path in (shard / "wal").glob("open-*"):
            descriptor = os.open(path, os.O_RDWR)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise StoreError(
            f"The log of {shard.parent.name} did not reach the disk: {error.strerror}. A power "
            "failure may undo the last write; repeat it."
        ) from error


def sync_directory(directory: Path) -> None:
    """Make a directory's entries durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_digest(path: Path) -> str:
    """Digest a file's size and content, skipping blocks of zeros."""
    digest = hashlib.sha256(str(path.stat().st_size).encode())
    for offset, block in _blocks(path):
        digest.update(offset.to_bytes(8, "big"))
        digest.update(block)
    return digest.hexdigest()


def _blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield those 1 MiB blocks that are not all zeros, seeking over holes."""
    zeros = bytes(_BLOCK)
    with path.open("rb") as file:
        size, offset = path.stat().st_size, 0
        while offset < size:
            try:
                data = os.lseek(file.fileno(), offset, os.SEEK_DATA)
            except OSError:  # No data after offset, the rest is one hole
                return
            offset = data - data % _BLOCK
            file.seek(offset)
            block = file.read(_BLOCK)
            if not block:
                return
            if block != zeros[: len(block)]:
                yield offset, block
            offset += len(block)
