"""What exchanges or copies the whole of a collection: index builds, replacement, snapshots.

An index is built on a copy, in another process. What this trades away: meanwhile the collection
takes its space on disk twice.
"""

import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from app.errors import StoreError
from app.retrieval.edge import disk, layout, offline
from app.retrieval.edge.account import Account
from app.retrieval.edge.held import Books, Held
from app.retrieval.edge.layout import CollectionMeta
from app.retrieval.edge.rows import Row
from app.retrieval.edge.shard import EXACT_LIMIT, Shard
from app.retrieval.edge.writer import BATCH, IDLE_S
from app.retrieval.payload import WORDS, PointRow, passage_ids

BUILD_EVERY_S = 60.0
_RETRY_AT_MOST_S = 3600.0
_GROWTH = 10


class Builder:
    """The part of an open collection that exchanges its shard."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self.building = threading.Lock()
        self.cancelled = threading.Event()
        self._failures = 0
        self._last_build = -float("inf")

    def wants_build(self, *, now: bool = False) -> bool:
        """Tell whether enough is unindexed or superseded to build a new index.

        Args:
            now: Do not wait for a pause in the writes, or until a failure is some time ago.
        """
        held, since = self._held, time.monotonic()
        pause = min(BUILD_EVERY_S * 2**self._failures, _RETRY_AT_MOST_S)
        if not now and since - self._last_build < pause:
            quiet = since - held.last_write >= IDLE_S
            if self._failures or not quiet:
                return False
        passages = held.books.account.passages
        if held.superseded > max(EXACT_LIMIT, passages):
            return True
        covered = max(0, held.meta.indexed - held.superseded)
        unindexed = passages - covered
        return passages > EXACT_LIMIT and unindexed > max(EXACT_LIMIT, passages // _GROWTH)

    def build(self, *, if_wanted: bool = False) -> None:
        """Build the index on a copy in another process, then put the copy in place.

        Reads go on throughout; writes wait while the files are copied and while those documents
        that were written meanwhile are carried over.

        Args:
            if_wanted: Do nothing if a build that was under way has made this one needless.

        Raises:
            StoreError: If it fails; the collection stays as it was.
        """
        with self.building:
            if if_wanted and not self.wants_build(now=True):
                return
            held, name = self._held, layout.new_shard_name()
            fresh = held.directory / name
            try:
                with held.writing:
                    old = held.require_open()
                    held.require_space(2 * disk.allocated_bytes(old.path))
                    old.flush()
                    disk.copy_tree(old.path, fresh)
                    held.touched, held.unflushed = {}, 0
                    superseded, account = held.superseded, held.books.account
                offline.optimize(fresh, account, self.cancelled.is_set)
                disk.sync_files(fresh)
                with held.writing:
                    meta = replace(held.meta, shard=name, indexed=account.passages, took="")
                    self._adopt(fresh, held.books.account, meta)
                    held.superseded -= superseded
                self._failures = 0
            except (StoreError, OSError):
                self._failures += 1
                raise
            finally:
                held.touched = None
                self._last_build = time.monotonic()
                layout.remove_other_shards(held.directory, held.meta.shard)

    def take(self, source: Path, meta: CollectionMeta) -> None:
        """Go on with the files of another collection, which is closed; atomic and durable.

        Args:
            source: Its directory, to be removed afterwards.
            meta: Its metadata.

        Raises:
            StoreError: If it fails; both collections stay as they were.
            OSError: If the disk does.
        """
        self.cancelled.set()
        held = self._held
        with self.building, held.writing:
            self.cancelled.clear()
            held.require_open()
            layout.unseal(source)  # Its files get a second name, and change from now on
            shard = layout.new_shard_name()  # What a snapshot was restored to has ours
            fresh = held.directory / shard
            try:
                disk.link_tree(source / meta.shard, fresh)
                layout.copy_books(source, held.directory, meta.shard, shard)
                disk.sync_files(fresh)
                account = layout.read_account(held.directory, shard)
                took = f"{meta.name}/{meta.shard}"
                taken = replace(meta, name=held.meta.name, shard=shard, took=took)
                self._adopt(fresh, account, taken)
                held.superseded = 0
            except ValueError as error:
                raise StoreError(f"{source.name} cannot be put in place: {error}.") from error
            finally:
                layout.remove_other_shards(held.directory, held.meta.shard)

    def snapshot(self, target: Path) -> Path:
        """Write a sealed copy of the collection's directory into ``target``, or nothing."""
        held = self._held
        goal = target / held.meta.name
        goal.mkdir(parents=True)  # Fails if it is there, so what is removed below is ours
        try:
            with held.writing:
                shard, meta = held.require_open(), held.meta
                disk.require_space(goal, disk.allocated_bytes(shard.path), 0)
                shard.flush()
                disk.copy_tree(shard.path, goal / meta.shard)
                held.books.copy(goal)
            disk.sync_files(goal)
            layout.write_meta(goal, replace(meta, took=""))
            layout.seal(goal, meta.shard)
        except (StoreError, OSError):
            shutil.rmtree(goal, ignore_errors=True)
            raise
        return goal

    def _adopt(self, fresh: Path, account: Account, meta: CollectionMeta) -> None:
        """Make another shard the one that counts: on disk by one rename, then for the readers."""
        held = self._held
        old, old_books = held.require_open(), held.books
        new = Shard.load(fresh)
        books: Books | None = None
        try:
            _carry(old, new, held.touched or {})
            if new.count() != account.passages:
                raise StoreError(f"{fresh.name} of {meta.name} lacks documents; kept out.")
            new.flush()
            books = Books(held.directory, fresh.name, account)
            if meta.took == "":
                books.tally = old_books.tally
            layout.write_meta(held.directory, meta)
        except (StoreError, OSError):
            new.close()
            if books is not None:
                books.close()
            raise
        with held.gate.alone():
            held.shard, held.meta, held.books = new, meta, books
        old.close()
        old_books.close()


def _carry(old: Shard, new: Shard, touched: dict[str, int]) -> None:
    """Bring those documents that were written meanwhile into the new shard as they are now."""
    ids = [point_id for name in sorted(touched) for point_id in passage_ids(name, touched[name])]
    for start in range(0, len(ids), BATCH):
        chunk = ids[start : start + BATCH]
        rows = old.rows(chunk, vectors=("", WORDS))
        if rows:
            new.upsert([_written(row) for row in rows])
        gone = set(chunk) - {row.point_id for row in rows}
        if gone:
            new.delete(sorted(gone))


def _written(row: Row) -> PointRow:
    return PointRow(row.point_id, np.frombuffer(row.vector, np.float32), row.words, row.payload)
