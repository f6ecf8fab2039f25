"""Copies of collections on disk, made and put back while serving.

    STATE/.snapshots/<collection>/<snapshot>/snapshot.json   what it is; written last
    STATE/.snapshots/<collection>/<snapshot>/...             what the engine wrote

A snapshot appears under its name by one rename, so what is listed is whole. It outlives its
collection. The directory's name begins with a dot, as no collection's can.
"""

import json
import logging
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.durable import sync_directory, write_json
from app.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    ServiceError,
    StoreError,
)
from app.guard import WriteGuard, exists
from app.hidden import hidden_name
from app.retrieval.points import require_name
from app.retrieval.store import Collection, VectorStore
from app.telemetry import describe_exception, log

DIRECTORY = ".snapshots"
SNAPSHOT_NAME = r"[0-9]{8}t[0-9]{6}z-[0-9a-f]{6}"
_NAME = re.compile(SNAPSHOT_NAME)
_NOTE = "snapshot.json"
_DRAFT = ".draft-"
RESTORE = "restore"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of a collection.

    Attributes:
        name: Its name among those of its collection, by the time it was begun (UTC).
        collection: Of which collection.
        documents: How many it had when the copy was begun.
        model: The encoder that filled it.
        dim: Length of its vectors.
        bytes: What the copy takes.
    """

    name: str
    collection: str
    documents: int
    model: str
    dim: int
    bytes: int


class Snapshots:
    """The snapshots below one directory.

    Args:
        store: Where the collections are.
        guard: Keeps writers away from a collection that is replaced.
        root: The directory; made when it is first needed.
        most: Snapshots of one collection, at most.
    """

    def __init__(self, store: VectorStore, guard: WriteGuard, root: Path, most: int) -> None:
        self._store, self._guard, self._root, self._most = store, guard, root, most

    def sweep(self) -> None:
        """Remove what a crash left unfinished."""
        for path in self._root.glob(f"*/{_DRAFT}*"):
            shutil.rmtree(path, ignore_errors=True)

    def create(self, collection: str) -> Snapshot:
        """Copy a collection; blocks as long as that takes.

        Raises:
            NotFoundError: If there is no such collection.
            ConflictError: If there are as many snapshots as there may be.
            StoreError: If the disk is full or fails.
        """
        found = self._store.describe(collection)
        if len(self.list(collection)) >= self._most:
            raise ConflictError(
                f"Collection {collection!r} has {self._most} snapshots, the most there may be; "
                "delete one, or raise TYNTEGRA_MAX_SNAPSHOTS."
            )
        name = f"{time.strftime('%Y%m%dt%H%M%Sz', time.gmtime())}-{uuid.uuid4().hex[:6]}"
        home = self._root / collection
        draft = home / f"{_DRAFT}{name}"
        with _disk_errors(f"a snapshot of {collection}"):
            try:
                draft.mkdir(parents=True)
                content = self._store.snapshot(collection, draft)
                snapshot = Snapshot(
                    name, collection, found.count, found.model, found.dim, _size(draft)
                )
                note = asdict(snapshot) | {"content": str(content.relative_to(draft))}
                write_json(draft / _NOTE, note)
                draft.rename(home / name)
                sync_directory(home)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        return snapshot

    def list(self, collection: str) -> list[Snapshot]:
        """List the snapshots of a collection, which need not exist any more, the oldest first."""
        home = self._root / require_name(collection)
        names = sorted(path.name for path in home.iterdir()) if home.is_dir() else []
        found: list[Snapshot] = []
        for name in filter(_NAME.fullmatch, names):
            try:
                found.append(self._read(collection, name)[0])
            except (NotFoundError, InvalidInputError) as error:
                log(logging.ERROR, "snapshot unreadable", error=describe_exception(error))
        return found

    def delete(self, collection: str, name: str) -> None:
        """Delete a snapshot, also one that cannot be read.

        Raises:
            NotFoundError: If there is none of this name.
        """
        path = self._path(collection, name)
        draft = path.with_name(f"{_DRAFT}{name}")
        with _disk_errors("deleting a snapshot"):
            path.rename(draft)
            sync_directory(path.parent)
            shutil.rmtree(draft)

    def restore(self, source: str, name: str, target: str, *, replace: bool) -> Collection:
        """Make a collection of a snapshot; blocks as long as that takes.

        Args:
            source: The collection that the snapshot is of.
            name: The snapshot.
            target: The collection to make.
            replace: Put it in the place of one of this name, in one step. What was written to
                that one since the snapshot is gone then.

        Raises:
            NotFoundError: If there is no such snapshot.
            ConflictError: If there is a collection of this name and it is not to be replaced.
            InvalidInputError: If the snapshot is damaged, or another engine's.
        """
        _, content = self._read(source, name)
        hidden = hidden_name(RESTORE, target)
        with self._guard.alone(target):
            self._guard.require_unmarked(self._store, target)
            if not exists(self._store, target):
                return self._store.restore(target, content)
            if not replace:
                raise ConflictError(
                    f"Collection {target!r} exists; restore under another name, send "
                    "replace=true, or delete it first."
                )
            if exists(self._store, hidden):
                self._store.drop(hidden)
            self._store.restore(hidden, content)
            try:
                return self._store.replace(target, hidden)
            except ServiceError:
                with suppress(ServiceError):
                    self._store.drop(hidden)
                raise

    def _path(self, collection: str, name: str) -> Path:
        path = self._root / require_name(collection) / name
        if _NAME.fullmatch(name) is None or not path.is_dir():
            raise NotFoundError(
                f"Collection {collection!r} has no snapshot of this name; GET "
                f"/collections/{collection}/snapshots lists those there are."
            )
        return path

    def _read(self, collection: str, name: str) -> tuple[Snapshot, Path]:
        path = self._path(collection, name)
        try:
            note: dict[str, Any] = json.loads((path / _NOTE).read_text("utf-8"))
            content = path / note.pop("content")
            return Snapshot(**note), content
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidInputError(
                f"Snapshot {name} of {collection!r} has no readable {_NOTE}; delete it."
            ) from error


def _size(directory: Path) -> int:
    files = [path.stat() for path in directory.rglob("*") if path.is_file()]
    return sum(512 * file.st_blocks for file in files)


@contextmanager
def _disk_errors(action: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"The disk failed during {action}: {error.strerror or error}. Check space and rights "
            "of TYNTEGRA_STATE; nothing was left behind."
        ) from error
