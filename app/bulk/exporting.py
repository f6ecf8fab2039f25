"""A collection of any engine into a file."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.bulk.checksum import Checksum
from app.bulk.exchange import PURPOSE, SUMS, Rows, schema_of, to_table
from app.bulk.extras import need
from app.errors import ConflictError, StoreError
from app.hidden import require_shown

if TYPE_CHECKING:
    from app.retrieval.store import Collection, VectorStore

GROUP_DOCUMENTS = 4096
Show = Callable[[int, int], None]
"""Told how many documents are done, and of how many."""


def export_collection(
    store: "VectorStore", name: str, path: Path, *, replace: bool = False, show: Show | None = None
) -> "tuple[Collection, Checksum]":
    """Write a collection to a file, which is there only once it is whole.

    Documents that are written meanwhile may or may not be in it.

    Args:
        store: Its store.
        name: The collection.
        path: The file.
        replace: Replace the file if it exists.
        show: Told of the progress.

    Returns:
        The collection, and the checksum over what was written.

    Raises:
        NotFoundError: If there is no such collection.
        InvalidInputError: If its name is reserved.
        ConflictError: If the file exists.
        StoreError: If it cannot be written.
    """
    parquet = need("pyarrow.parquet", PURPOSE)
    collection = store.describe(require_shown(name))
    if path.exists() and not replace:
        raise ConflictError(f"{path} exists; name another file, or replace it with --force.")
    schema = schema_of(collection)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    checksum = Checksum(collection.dim)
    try:
        with parquet.ParquetWriter(
            fresh, schema, compression="zstd", write_page_checksum=True, use_dictionary=["lang"]
        ) as writer:
            _write(store, collection, writer, checksum, show)
            writer.add_key_value_metadata({SUMS: json.dumps(checksum.to_json())})
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise StoreError(
            f"Cannot write {path}: {error.strerror or error}; check space and rights."
        ) from error
    finally:
        fresh.unlink(missing_ok=True)
    return collection, checksum


def _write(
    store: "VectorStore",
    collection: "Collection",
    writer: object,
    checksum: Checksum,
    show: Show | None,
) -> None:
    after: str | None = None
    while True:
        page = store.scan(collection.name, after, GROUP_DOCUMENTS, vectors=True)
        vectors = page.vectors
        if vectors is None:
            vectors = np.empty((0, collection.dim), np.float32)
        if page.documents:
            rows = Rows(page.documents, page.spans, vectors)
            checksum.add(rows.documents, rows.spans, rows.vectors)
            table = to_table(writer.schema, rows, collection.dim)  # type: ignore[attr-defined]
            writer.write_table(table, row_group_size=GROUP_DOCUMENTS)  # type: ignore[attr-defined]
        if show:
            show(checksum.documents, collection.count)
        after = page.next
        if after is None:
            return
