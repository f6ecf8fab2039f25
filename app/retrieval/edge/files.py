"""From directories to open collections and back: creation, checks before opening, leftovers.

A collection comes into being by the rename of a finished directory, and goes by a rename too, so a
crash leaves either the whole of it or something under a name that no collection can have.
"""

import logging
import shutil
import uuid
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from app.errors import InvalidInputError
from app.retrieval.edge import disk, layout, offline
from app.retrieval.edge.account import Account
from app.retrieval.edge.collection import EdgeCollection
from app.retrieval.edge.held import Books
from app.retrieval.edge.layout import CollectionMeta
from app.retrieval.edge.shard import Shard
from app.retrieval.edge.tally import Tally
from app.retrieval.points import require_name
from app.retrieval.store import Options

_EMPTY_BYTES = 8 << 20
_log = logging.getLogger(__name__)


def create_collection(
    root: Path, name: str, dim: int, model: str, options: Options, reserve_bytes: int
) -> EdgeCollection:
    """Create an empty collection durably and open it.

    Raises:
        StoreError: If the disk is nearly full or the engine fails.
        OSError: If the disk does.
    """
    disk.require_space(root, _EMPTY_BYTES, reserve_bytes)
    partial = root / f".creating-{uuid.uuid4().hex}"
    created = datetime.now(UTC).isoformat(timespec="seconds")
    plain = asdict(options) | {"fields": dict(options.fields)}
    meta = CollectionMeta(name, dim, model, created, layout.new_shard_name(), options=plain)
    try:
        partial.mkdir()
        Shard.create(partial / meta.shard, dim, list(options.fields)).close()
        books = Books(partial, meta.shard, Account())
        books.tally = Tally.empty()
        books.close()
        layout.write_meta(partial, meta)
        disk.sync_files(partial)
        partial.rename(root / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    disk.sync_directory(root)
    return _opened(root / name, meta, Account(), reserve_bytes)


def open_collection(directory: Path, reserve_bytes: int) -> EdgeCollection:
    """Verify a collection and open it.

    After a clean close its files must be those that were sealed. After a crash the log is replayed
    and all documents compared with the account, in another process, before this one maps the files;
    each text is checked when it is read, and all of them in the background. A collection of
    an earlier format is written anew, which takes its space twice for the time.

    Raises:
        InvalidInputError: If the directory's name cannot be a collection's.
        ValueError: If the metadata or a sealed file is damaged; the message says which.
        StoreError: If recovery finds damage or the engine fails.
        OSError: If the disk does.
    """
    require_name(directory.name)
    meta = layout.read_meta(directory)
    if (directory / meta.shard).is_dir():  # Otherwise what lies beside it may be all there is
        layout.remove_other_shards(directory, meta.shard)
    sealed = layout.is_sealed(directory)
    if sealed:
        layout.verify_seal(directory, meta.shard)
    if meta.format != layout.FORMAT:
        return _migrate(directory, meta, reserve_bytes)
    if sealed:
        account = layout.read_account(directory, meta.shard)
        layout.unseal(directory)
    else:
        account = offline.recover(directory, meta.shard)
        if not meta.unchecked:
            meta = replace(meta, unchecked=True)
            layout.write_meta(directory, meta)
    return _opened(directory, meta, account, reserve_bytes)


def restore_collection(root: Path, name: str, source: Path, reserve_bytes: int) -> EdgeCollection:
    """Copy a snapshot to a new collection, verify the copy by its seal and open it.

    Raises:
        InvalidInputError: If there is no sound snapshot at ``source``.
        StoreError: If the disk is nearly full or the engine fails.
        OSError: If the disk does.
    """
    partial = root / f".creating-{uuid.uuid4().hex}"
    try:
        meta = layout.read_meta(source, named=False)
        if any(path.is_symlink() for path in source.rglob("*")):
            raise ValueError("a snapshot holds no symbolic links")
        disk.require_space(root, disk.allocated_bytes(source), reserve_bytes)
        disk.copy_tree(source / meta.shard, partial / meta.shard)
        layout.copy_books(source, partial, meta.shard)
        disk.copy_file(source / layout.SEAL, partial / layout.SEAL)
        layout.verify_seal(partial, meta.shard)
        layout.write_meta(partial, replace(meta, name=name, took=""))
        disk.sync_files(partial)
        partial.rename(root / name)
    except (ValueError, FileNotFoundError, NotADirectoryError) as error:
        raise InvalidInputError(
            f"There is no sound snapshot at {source}: {error}. Name the directory that snapshot "
            "wrote, or take another one."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    disk.sync_directory(root)
    return open_collection(root / name, reserve_bytes)


def remove_collection(directory: Path) -> None:
    """Delete a closed collection's directory; it is gone at once, whatever happens meanwhile."""
    doomed = directory.with_name(f".dropped-{uuid.uuid4().hex}")
    directory.rename(doomed)
    disk.sync_directory(directory.parent)
    shutil.rmtree(doomed, ignore_errors=True)


def sweep(root: Path) -> None:
    """Remove what a crash left of creating, dropping or replacing a collection."""
    for path in sorted(root.iterdir()):
        if path.name.startswith((".creating-", ".dropped-")):
            shutil.rmtree(path, ignore_errors=True)
    for path in collection_paths(root):
        try:
            name, _, shard = layout.read_meta(path).took.partition("/")
            leftover = bool(name) and layout.read_meta(root / name).shard == shard
        except ValueError:  # Reported when it is opened
            continue
        if leftover and name != path.name:
            remove_collection(root / name)


def collection_paths(root: Path) -> list[Path]:
    """List the directories that should be collections."""
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _opened(
    directory: Path, meta: CollectionMeta, account: Account, reserve_bytes: int
) -> EdgeCollection:
    shard = Shard.load(directory / meta.shard)
    try:
        if shard.count() != account.passages:
            raise ValueError(f"{shard.count()} passages are there, {account.passages} were written")
        books = Books(directory, meta.shard, account)
    except BaseException:
        shard.close()
        raise
    return EdgeCollection(directory, meta, shard, books, reserve_bytes)


def _migrate(directory: Path, meta: CollectionMeta, reserve_bytes: int) -> EdgeCollection:
    _log.warning("collection %s is of format %d and is written anew", meta.name, meta.format)
    disk.require_space(directory, 3 * disk.allocated_bytes(directory), reserve_bytes)
    layout.unseal(directory)
    fresh = replace(meta, format=layout.FORMAT, shard=layout.new_shard_name())
    account = offline.migrate(directory, meta.shard, fresh.shard, meta.dim)
    disk.sync_files(directory)
    layout.write_meta(directory, fresh)
    layout.remove_other_shards(directory, fresh.shard)
    return _opened(directory, fresh, account, reserve_bytes)
