"""Collections out of the server and into it, in the embedded engine's files.

A snapshot is what the embedded engine writes when it closes a collection: sealed with digests, so
that damage is found, and opened by that engine as well. So a collection moves from a laptop to a
cluster and back by one directory. Its points go through the server's interface, page by page; the
server's own snapshots are of one node and one version, and nothing here could verify them.
"""

import contextlib
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from app.errors import ConflictError, StoreError
from app.retrieval.checks import Entry
from app.retrieval.edge import disk, layout
from app.retrieval.edge.store import EdgeStore
from app.retrieval.qdrant import writes
from app.retrieval.qdrant.names import Target
from app.retrieval.qdrant.nodes import Nodes
from app.retrieval.qdrant.reads import Reader
from app.retrieval.store import Page, VectorStore

_PAGE = 500
_RESTORED = "restored"


def write_snapshot(reader: Reader, target: Path) -> Path:
    """Write a collection into ``target``, while it is served: each document as it was at a moment.

    Raises:
        ConflictError: If ``target`` has something of that name.
        StoreError: If the disk fails or is nearly full.
    """
    made = reader.target
    goal = target / made.name
    if goal.exists():
        raise ConflictError(f"{goal} exists; name a directory without it.")
    with _disk_errors(f"writing a snapshot of {made.name}"):
        target.mkdir(parents=True, exist_ok=True)
        partial = target / f".writing-{uuid.uuid4().hex}"
        try:
            _fill(reader, partial)
            if not layout.is_sealed(partial / made.name):
                raise StoreError(f"The snapshot of {made.name} could not be sealed; see the log.")
            (partial / made.name).rename(goal)
            disk.sync_directory(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return goal


@contextlib.contextmanager
def opened_snapshot(source: Path) -> Iterator[tuple[VectorStore, str]]:
    """Open a copy of a snapshot, verified; gives a store and the collection's name in it.

    Raises:
        InvalidInputError: If there is no sound snapshot at ``source``.
        StoreError: If the disk for temporary files fails or is nearly full.
    """
    with _disk_errors("restoring a snapshot"), tempfile.TemporaryDirectory() as folder:
        store = EdgeStore.open(Path(folder))
        try:
            store.restore(_RESTORED, source)
            yield store, _RESTORED
        finally:
            store.close()


def send(store: VectorStore, name: str, nodes: Nodes, target: Target) -> int:
    """Send all documents of a collection to one that nobody reads yet; returns how many."""
    sent, after = 0, None
    while True:
        page = store.scan(name, after, _PAGE, vectors=True)
        writes.upsert(nodes, target, list(_entries(page)))
        sent += len(page.documents)
        after = page.next
        if after is None:
            return sent


def _fill(reader: Reader, folder: Path) -> None:
    made = reader.target
    store = EdgeStore.open(folder)
    try:
        store.create(made.name, made.dim, made.model, made.options)
        after = None
        while True:
            page = reader.scan(after, _PAGE, vectors=True)
            if page.vectors is not None and page.documents:
                store.upsert(made.name, page.documents, page.vectors, page.spans)
            after = page.next
            if after is None:
                break
    finally:
        store.close()


def _entries(page: Page) -> Iterator[Entry]:
    first = 0
    for document, spans in zip(page.documents, page.spans, strict=True):
        assert page.vectors is not None  # noqa: S101  # asked for
        yield Entry(document, spans, page.vectors[first : first + len(spans)])
        first += len(spans)


@contextlib.contextmanager
def _disk_errors(action: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"The disk failed while {action}: {error.strerror or error}. Check space and rights."
        ) from error
