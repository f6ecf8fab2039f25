"""The collection ``demo``: short passages in many languages, there from the first start."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from app.binding import BoundEncoder, options_for, require_bound
from app.errors import ConflictError, NotFoundError, NotReadyError
from app.retrieval.store import Document, Encode, VectorStore
from app.telemetry import log

NAME = "demo"
DOCUMENTS = Path(__file__).parent / "default" / "demo" / "documents.jsonl"


class DocumentEncoder(BoundEncoder, Protocol):
    """The part of an encoder that filling a collection needs."""

    @property
    def encode_document(self) -> Encode:
        """Documents to unit rows, blocking."""
        ...


def read_documents(path: Path) -> Iterator[Document]:
    """Read documents from a file of JSON lines: doc_id, text, lang and metadata."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                fields = json.loads(line)
                yield Document(
                    doc_id=fields["doc_id"],
                    text=fields["text"],
                    lang=fields.get("lang"),
                    metadata=fields.get("metadata", {}),
                )


def fill_demo(encoder: DocumentEncoder, store: VectorStore, path: Path = DOCUMENTS) -> int:
    """Bring ``demo`` up to date: all its documents, in this encoder's vectors; blocking.

    A collection of another encoder is dropped first. Documents that are there already, and those
    that someone added, are left alone; so a crash half-way is made good at the next start.

    Returns:
        How many documents were written.
    """
    try:
        if not _is_there(encoder, store):
            store.create(NAME, encoder.dim, encoder.model_id, options_for(encoder))
    except NotReadyError as error:
        # Damaged: what was added to it may matter to someone, and the rest of the service works.
        log(logging.WARNING, "demo unavailable", reason=error.message)
        return 0
    documents = list(read_documents(path))
    present = {d.doc_id for d in store.get(NAME, [d.doc_id for d in documents])}
    missing = [document for document in documents if document.doc_id not in present]
    if missing:
        store.upsert(NAME, missing, encoder.encode_document([d.text for d in missing]))
        log(logging.INFO, "demo filled", documents=len(missing))
    return len(missing)


def _is_there(encoder: DocumentEncoder, store: VectorStore) -> bool:
    try:
        require_bound(store.describe(NAME), encoder)
    except NotFoundError:
        return False
    except ConflictError:
        store.drop(NAME)
        return False
    return True
