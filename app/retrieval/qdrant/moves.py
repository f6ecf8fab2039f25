"""Collections out of the server and into it, in the embedded engine's files.

A snapshot is what the embedded engine leaves when it closes a collection: sealed with digests, so
that damage is found, and opened by that engine as well. So a collection moves from a laptop to a
cluster and back by one directory, its points as they are. They go through the server's interface,
page by page, and each document is checked by its sum; the server's own snapshots are of one node
and one version, and nothing here could verify them.
"""

import contextlib
import shutil
import tempfile
import uuid
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import numpy as np

from app.errors import ConflictError, InvalidInputError, StoreError
from app.retrieval.edge import disk, layout
from app.retrieval.edge.account import Account
from app.retrieval.edge.format1 import entries_of
from app.retrieval.edge.held import Books
from app.retrieval.edge.layout import CollectionMeta
from app.retrieval.edge.rows import Row
from app.retrieval.edge.shard import Shard
from app.retrieval.edge.tally import Tally
from app.retrieval.payload import PointRow, check_sum, document_number, payload_sum, to_rows
from app.retrieval.qdrant.reads import Reader
from app.retrieval.store import Options

RESERVE_BYTES = 256 << 20
"""Disk space left free: the embedded engine writes through memory maps, which a full disk kills."""
_PAGE = 500


def write_snapshot(reader: Reader, target: Path) -> Path:
    """Write a collection into ``target``, while it is served: each document as it was at a moment.

    Raises:
        ConflictError: If ``target`` has something of that name.
        StoreError: If the disk fails or is nearly full, or a document is not as it was written.
    """
    made = reader.target
    goal = target / made.name
    if goal.exists():
        raise ConflictError(f"{goal} exists; name a directory without it.")
    with _disk_errors(f"writing a snapshot of {made.name}"):
        target.mkdir(parents=True, exist_ok=True)
        partial = target / f".writing-{uuid.uuid4().hex}"
        try:
            partial.mkdir()
            _write(reader, partial)
            partial.rename(goal)
            disk.sync_directory(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return goal


@contextlib.contextmanager
def opened_snapshot(source: Path) -> Iterator[tuple[CollectionMeta, Shard]]:
    """Open a copy of a snapshot, verified by its seal.

    Raises:
        InvalidInputError: If there is no sound snapshot at ``source``.
        StoreError: If the disk for temporary files fails or is nearly full.
    """
    with _disk_errors("restoring a snapshot"), tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        try:
            meta = layout.read_meta(source, named=False)
            if any(path.is_symlink() for path in source.rglob("*")):
                raise ValueError("a snapshot holds no symbolic links")
            disk.require_space(Path(folder), disk.allocated_bytes(source), RESERVE_BYTES)
            disk.copy_tree(source / meta.shard, copy / meta.shard)
            layout.copy_books(source, copy, meta.shard)
            disk.copy_file(source / layout.SEAL, copy / layout.SEAL)
            layout.verify_seal(copy, meta.shard)
        except (ValueError, FileNotFoundError, NotADirectoryError) as error:
            raise InvalidInputError(
                f"There is no sound snapshot at {source}: {error}. Name the directory that "
                "snapshot wrote, or take another one."
            ) from error
        shard = Shard.load(copy / meta.shard)
        try:
            yield meta, shard
        finally:
            shard.close()


def options_of(meta: CollectionMeta) -> Options:
    """Read a snapshot's options."""
    return Options(**meta.options)


def documents_in(meta: CollectionMeta, shard: Shard) -> Iterator[list[PointRow]]:
    """Read the points of each document off a snapshot, whatever its format."""
    if meta.format == 1:
        yield from map(to_rows, entries_of(shard.scan(vectors=("",))))
        return
    for _, rows in groupby(shard.scan(), lambda row: document_number(row.point_id)):
        yield [_to_point(row) for row in rows]


def _write(reader: Reader, folder: Path) -> None:
    made = reader.target
    options = asdict(made.options) | {"fields": dict(made.options.fields)}
    created = datetime.now(UTC).isoformat(timespec="seconds")
    meta = CollectionMeta(
        made.name, made.dim, made.model, created, layout.new_shard_name(), options=options
    )
    shard = Shard.create(folder / meta.shard, made.dim, list(made.options.fields))
    try:
        account, words = Account(), array("I")
        for page in reader.whole_points(_PAGE):
            needed = sum(4 * row.vector.nbytes + 16 * len(str(row.payload)) for row in page)
            disk.require_space(folder, needed, RESERVE_BYTES)
            shard.upsert(page)
            account = account.with_written(_checked(page))
            for row in page:
                words.extend(row.words.indices)
        shard.flush()
    finally:
        shard.close()
    books = Books(folder, meta.shard, account)
    books.tally = Tally.of(np.frombuffer(words, np.uint32))
    books.close()
    disk.sync_files(folder)
    layout.write_meta(folder, meta)
    layout.seal(folder, meta.shard)


def _checked(page: Iterable[PointRow]) -> Iterator[tuple[int, int]]:
    """Give each document's number of passages and check sum, if the sum is right."""
    for _, rows in groupby(page, lambda row: document_number(row.point_id)):
        parts = list(rows)
        check = parts[0].payload["check"]
        if check != check_sum(
            (payload_sum(row.payload), row.vector.tobytes(), row.words) for row in parts
        ):
            raise StoreError(
                f"The document {parts[0].payload['doc_id']!r:.80} is not on the server as it was "
                "written; write it again."
            )
        yield len(parts), check


def _to_point(row: Row) -> PointRow:
    return PointRow(row.point_id, np.frombuffer(row.vector, np.float32), row.words, row.payload)


@contextlib.contextmanager
def _disk_errors(action: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"The disk failed while {action}: {error.strerror or error}. Check space and rights."
        ) from error
