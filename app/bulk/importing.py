"""A file that an export wrote into a collection of any engine."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.bulk.checksum import Checksum, Likeness
from app.bulk.exchange import ExportFile, Rows, slices
from app.bulk.exporting import Show
from app.bulk.ledger import Ledger
from app.bulk.parts import Part, Source
from app.bulk.sources import identify
from app.bulk.work import Outcome, Task, hash_id
from app.errors import ConflictError, NotFoundError, StoreError
from app.guard import WriteGuard
from app.hidden import require_shown

if TYPE_CHECKING:
    from app.retrieval.store import VectorStore

UPSERT_DOCUMENTS = 1000


def import_collection(
    store: "VectorStore",
    file: ExportFile,
    name: str,
    ledger: Ledger,
    *,
    merge: bool = False,
    show: Show | None = None,
) -> Likeness:
    """Write a file's documents to a collection, and compare what the engine then has.

    What was done before, by the ledger, is not done again.

    Args:
        store: The store.
        file: The file; verified first.
        name: The collection, created if there is none.
        ledger: What is done.
        merge: Write to a collection that has other documents.
        show: Told of the progress.

    Returns:
        Whether vectors came back bit by bit, or rounded.

    Raises:
        ConflictError: If the collection has another model or other options, or other documents.
        InvalidInputError: If the file is damaged, or the name reserved; nothing was written then.
        StoreError: If the engine gives back other documents than it was given.
    """
    require_shown(name)
    file.verify()
    source = Source(str(file.path.resolve()), file.path.name, "parquet", *identify(str(file.path)))
    number = ledger.register(source, "again")
    if number is None:
        raise TypeError("a file registered anew has a number")
    done = ledger.done(number)
    _open(store, file, name, merge=merge or bool(done))
    written = sum(part.rows for part in done.values())
    if done and store.count(name) < written:
        raise ConflictError(
            f"The ledger {ledger.path} has {written} documents as written, but the collection "
            f"{name} has {store.count(name)}; give --restart to import all again."
        )
    first = 0
    for group, size in enumerate(file.groups):
        if group not in done:
            task = Task(number, source, Part(group, group + 1, first + 1, size, size))
            _write(store, file.read(group), name, task, ledger)
        first += size
        if show:
            show(first, file.checksum.documents)
    store.flush(name)
    return compare(store, file, name)


def _write(store: "VectorStore", rows: Rows, name: str, task: Task, ledger: Ledger) -> None:
    """Write one part, and note it once it is durable."""
    for some in slices(rows, UPSERT_DOCUMENTS):
        with WriteGuard().writing(store, name):
            store.upsert(name, some.documents, some.vectors, some.spans)
    ledger.commit([_outcome(task, rows)])


def compare(store: "VectorStore", file: ExportFile, name: str) -> Likeness:
    """Compare those of a collection's documents that are in a file with it.

    Raises:
        StoreError: If they differ.
    """
    ours = _hashes(file)
    found = Checksum(file.collection.dim)
    for rows in scan(store, name):
        kept = _among(rows, ours)
        found.add(kept.documents, kept.spans, kept.vectors)
    likeness = found.compare(file.checksum)
    if likeness == "different":
        raise StoreError(
            f"The collection {name} has {found.documents} of the {file.checksum.documents} "
            f"documents of {file.path}, and they are not the same: the checksums over texts or "
            "vectors differ. Drop it and import again."
        )
    return likeness


def scan(store: "VectorStore", name: str) -> Iterator[Rows]:
    """Read a collection with its vectors."""
    after: str | None = None
    while True:
        page = store.scan(name, after, 4 * UPSERT_DOCUMENTS, vectors=True)
        if page.documents and page.vectors is not None:
            yield Rows(page.documents, page.spans, page.vectors)
        after = page.next
        if after is None:
            return


def open_ledger(path: Path, file: ExportFile, name: str, target: str) -> Ledger:
    """Open the ledger of an import.

    Raises:
        InvalidInputError: If it belongs to another.
    """
    ledger = Ledger(path)
    try:
        ledger.bind(
            {
                "import": f"{file.checksum.exact:032x}",
                "target": target,
                "collection": name,
            }
        )
    except BaseException:
        ledger.close()
        raise
    return ledger


def _open(store: "VectorStore", file: ExportFile, name: str, *, merge: bool) -> None:
    held = file.collection
    try:
        count = store.describe(name).count
    except NotFoundError:
        count = 0
    try:
        store.create(name, held.dim, held.model, held.options)
    except ConflictError as error:
        raise ConflictError(
            f"{error.message} {file.path} was exported from a collection of {held.model}; import "
            "it under another name with --as."
        ) from None
    if count and not merge:
        raise ConflictError(
            f"The collection {name} has {count} documents; give another name with --as, or write "
            "to it all the same with --merge, where documents with the same doc_id are replaced."
        )


def _outcome(task: Task, rows: Rows) -> Outcome:
    hashes = np.array([hash_id(document.doc_id) for document in rows.documents], np.uint64)
    numbers = np.arange(len(rows.documents), dtype=np.uint32)
    return Outcome(task, numbers, hashes, [], [], 0, Counter())


def _hashes(file: ExportFile) -> NDArray[np.uint64]:
    found = [
        np.array([hash_id(document.doc_id) for document in file.read(group).documents], np.uint64)
        for group in range(len(file.groups))
    ]
    return np.sort(np.concatenate([np.empty(0, np.uint64), *found]))


def _among(rows: Rows, hashes: NDArray[np.uint64]) -> Rows:
    if not len(hashes):
        return Rows([], [], rows.vectors[:0])
    own = np.array([hash_id(document.doc_id) for document in rows.documents], np.uint64)
    places = np.minimum(np.searchsorted(hashes, own), len(hashes) - 1)
    kept = hashes[places] == own
    passages = np.repeat(kept, [len(some) for some in rows.spans])
    return Rows(
        [document for document, keep in zip(rows.documents, kept, strict=True) if keep],
        [some for some, keep in zip(rows.spans, kept, strict=True) if keep],
        rows.vectors[passages],
    )
