"""What a collection is on disk, and how its files are written, copied, sealed and verified.

    root/<name>/collection.json   name, dim, model, created, and which shard directory counts
    root/<name>/shard-<hex>/      the engine's files
    root/<name>/seal.json         digests of the engine's files, there only after a clean close

Everything that becomes visible does so by one rename of something already synced. The engine keeps
no check sums, so the seal is what tells a damaged file from a sound one.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from app.errors import StoreError

FORMAT = 1
META = "collection.json"
SEAL = "seal.json"
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class CollectionMeta:
    """The content of ``collection.json``."""

    name: str
    dim: int
    model: str
    created: str
    shard: str
    format: int = FORMAT


def new_shard_name() -> str:
    """Invent the name of a shard directory."""
    return f"shard-{uuid.uuid4().hex[:12]}"


def write_json(path: Path, content: object) -> None:
    """Replace a JSON file atomically and durably."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_directory(path.parent)


def write_meta(directory: Path, meta: CollectionMeta) -> None:
    """Write a collection's metadata atomically and durably."""
    content = asdict(meta)
    content["check"] = _digest(json.dumps(asdict(meta), sort_keys=True).encode())
    write_json(directory / META, content)


def read_meta(directory: Path) -> CollectionMeta:
    """Read a collection's metadata.

    Raises:
        ValueError: If it is missing, damaged, or of another format.
    """
    try:
        content = json.loads((directory / META).read_text(encoding="utf-8"))
        check = content.pop("check")
        meta = CollectionMeta(**content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{META} cannot be read ({error})") from error
    if check != _digest(json.dumps(asdict(meta), sort_keys=True).encode()):
        raise ValueError(f"{META} does not fit its check sum")
    if meta.format != FORMAT or meta.name != directory.name:
        raise ValueError(f"{META} is of format {meta.format} for collection {meta.name!r:.80}")
    return meta


def seal(directory: Path, shard: str) -> None:
    """Record the digests of a shard's files; call it when the engine has let go of them."""
    write_json(directory / SEAL, {"shard": shard, "files": _digests(directory / shard)})


def is_sealed(directory: Path) -> bool:
    """Tell whether the collection was closed cleanly and not opened since."""
    return (directory / SEAL).exists()


def verify_seal(directory: Path, shard: str) -> None:
    """Compare a shard's files with the seal.

    Raises:
        ValueError: If a file is missing, added or changed; the message names it.
    """
    try:
        content = json.loads((directory / SEAL).read_text(encoding="utf-8"))
        sealed, files = content["shard"], dict(content["files"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{SEAL} cannot be read ({error})") from error
    if sealed != shard:
        raise ValueError(f"{SEAL} is of {sealed!r:.80}, but {META} names {shard}")
    found = _digests(directory / shard)
    changed = sorted(k for k in files.keys() | found.keys() if files.get(k) != found.get(k))
    if changed:
        raise ValueError(f"{changed[0]} was changed, lost or added since the last clean close")


def unseal(directory: Path) -> None:
    """Remove the seal, durably, before the engine may change a file."""
    (directory / SEAL).unlink(missing_ok=True)
    sync_directory(directory)


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


def copy_tree(source: Path, target: Path) -> None:
    """Copy a directory of regular files, leaving holes where a block is all zeros.

    The engine allocates files in 32 MiB steps; a plain copy would fill the disk with zeros.
    """
    target.mkdir(parents=True)
    for path in sorted(source.rglob("*")):
        goal = target / path.relative_to(source)
        if path.is_dir():
            goal.mkdir(exist_ok=True)
            continue
        with goal.open("xb") as file:
            for offset, block in _blocks(path):
                file.seek(offset)
                file.write(block)
            file.truncate(path.stat().st_size)
        shutil.copymode(path, goal)


def sync_files(directory: Path) -> None:
    """Write the dirty pages of all files to disk, outside the engine and without its lock."""
    for path in directory.rglob("*"):
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


def _digests(shard: Path) -> dict[str, str]:
    return {
        str(path.relative_to(shard)): _file_digest(path)
        for path in sorted(shard.rglob("*"))
        if not path.is_dir()
    }


def _file_digest(path: Path) -> str:
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


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
