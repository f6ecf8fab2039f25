"""From directories to open collections: creation, the checks before opening, and leftovers.

A collection comes into being by the rename of a finished directory, and goes by a rename too, so a
crash leaves either the whole of it or something under a name that no collection can have.
"""

import shutil
import uuid
from datetime import UTC, datetime
from pathlib import Path

from app.retrieval import layout, offline
from app.retrieval.edge_collection import EdgeCollection
from app.retrieval.edge_shard import Shard
from app.retrieval.layout import CollectionMeta
from app.retrieval.points import require_name

_EMPTY_BYTES = 8 << 20


def create_collection(
    root: Path, name: str, dim: int, model: str, reserve_bytes: int
) -> EdgeCollection:
    """Create an empty collection durably and open it.

    Raises:
        StoreError: If the disk is nearly full or the engine fails.
        OSError: If the disk does.
    """
    layout.require_space(root, _EMPTY_BYTES, reserve_bytes)
    partial = root / f".creating-{uuid.uuid4().hex}"
    created = datetime.now(UTC).isoformat(timespec="seconds")
    meta = CollectionMeta(name, dim, model, created, layout.new_shard_name())
    try:
        partial.mkdir()
        Shard.create(partial / meta.shard, dim).close()
        layout.sync_files(partial)
        layout.write_meta(partial, meta)
        partial.rename(root / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    layout.sync_directory(root)
    return EdgeCollection(root / name, meta, Shard.load(root / name / meta.shard), reserve_bytes)


def open_collection(directory: Path, reserve_bytes: int) -> EdgeCollection:
    """Verify a collection and open it.

    After a clean close its files must be those that were sealed. After a crash the log is replayed
    and every document checked, in another process, before this one maps the files.

    Raises:
        InvalidInputError: If the directory's name cannot be a collection's.
        ValueError: If the metadata or a sealed file is damaged; the message says which.
        StoreError: If recovery finds damage or the engine fails.
        OSError: If the disk does.
    """
    require_name(directory.name)
    meta = layout.read_meta(directory)
    if (directory / meta.shard).is_dir():  # Otherwise what lies beside it may be all there is
        for path in directory.glob("shard-*"):
            if path.name != meta.shard:
                shutil.rmtree(path, ignore_errors=True)  # An index build that a crash cut short
    if layout.is_sealed(directory):
        layout.verify_seal(directory, meta.shard)
        layout.unseal(directory)
    else:
        offline.recover(directory / meta.shard)
    return EdgeCollection(directory, meta, Shard.load(directory / meta.shard), reserve_bytes)


def remove_collection(directory: Path) -> None:
    """Delete a closed collection's directory; it is gone at once, whatever happens meanwhile."""
    doomed = directory.with_name(f".dropped-{uuid.uuid4().hex}")
    directory.rename(doomed)
    layout.sync_directory(directory.parent)
    shutil.rmtree(doomed, ignore_errors=True)


def sweep(root: Path) -> None:
    """Remove what a crash left of creating or dropping a collection."""
    for path in sorted(root.iterdir()):
        if path.name.startswith((".creating-", ".dropped-")):
            shutil.rmtree(path, ignore_errors=True)
