"""What becomes of documents on their way into a collection: checked, split, encoded, stored."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.api.document import DocumentWire
from app.api.encoding import count_encoded
from app.api.limits import INLINE_CHARS, clean_text
from app.api.state import Service
from app.api.writing import in_writing
from app.binding import windows_of
from app.encoder.jobs import BULK
from app.errors import ConflictError, InvalidInputError, NotFoundError, TooLargeError
from app.retrieval.checks import has_type
from app.retrieval.documents import Document, Span
from app.retrieval.filters import kind_of
from app.retrieval.store import Collection, VectorStore
from app.settings import Settings
from app.text.normalize import normalize
from app.windows import split_documents

ROUTE = "/collections/{name}/documents"
BLOCK = 256
"""Passages that the encoder is sent at a time."""
MOST_PASSAGES = 8192
"""Passages of the documents that are encoded and stored together: all are in memory at once."""


class ChangedError(ConflictError):
    """A collection has other options than when documents were prepared for it."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Documents that may be stored.

    Attributes:
        documents: The documents.
        spans: The passages of each.
        passages: The normalized texts of all passages, in order.
    """

    documents: list[Document]
    spans: list[list[Span]]
    passages: list[str]


@dataclass(frozen=True, slots=True)
class Filled:
    """Documents with their vectors.

    Attributes:
        ready: The documents.
        vectors: A unit row for each passage, shape (passages, dim).
        truncated: Documents of which only the beginning can be found.
    """

    ready: Ready
    vectors: NDArray[np.float32]
    truncated: list[str]


async def find_writable(service: Service, name: str) -> Collection:
    """Describe a collection that documents may be added to.

    Raises:
        NotFoundError: If there is none; the message says how to create it.
        ConflictError: If it is of another encoder, or being restored.
    """

    def find(store: VectorStore) -> Collection:
        found = service.matching(store, name)
        with service.guard.writing(store, name):
            return found

    try:
        return await in_writing(service, find)
    except NotFoundError:
        raise NotFoundError(
            f"There is no collection {name!r}; create it first with PUT /collections/{name}."
        ) from None


def clean_document(sent: DocumentWire, collection: Collection, settings: Settings, at: str) -> str:
    """Hold a document to its bounds, and normalize its text.

    Args:
        sent: The document.
        collection: Where it is to go.
        settings: Has the bounds of a text's length.
        at: What the caller calls the document, such as ``documents[3]``; may be empty.

    Returns:
        The normalized text.

    Raises:
        InvalidInputError: If its text cannot be used, or a value has not its field's type.
        TooLargeError: If its text is too long.
    """
    options = collection.options
    for key, declared in options.fields.items():
        if key in sent.metadata and not has_type(sent.metadata[key], declared):
            place = f"{at}.metadata" if at else "metadata"
            raise InvalidInputError(
                f"{place}.{key} is a {kind_of(sent.metadata[key])}; collection "
                f"{collection.name!r} declares it as {declared}: correct the value."
            )
    most = settings.max_document_chars if options.window_tokens else settings.max_text_chars
    return clean_text(sent.text, at or "text", most)


async def prepare(
    service: Service, collection: Collection, sent: Sequence[DocumentWire], name: str
) -> Ready:
    """Check documents and split those that are long.

    Args:
        service: The service.
        collection: Where they are to go.
        sent: The documents.
        name: What the caller calls the list, for error messages.

    Raises:
        InvalidInputError: As ``clean_document``.
        TooLargeError: As ``clean_document``, or if there are too many passages.
    """

    def work() -> Ready:
        texts = [
            clean_document(one, collection, service.settings, f"{name}[{index}]")
            for index, one in enumerate(sent)
        ]
        ready = split(service, collection, sent, texts, name)
        if len(ready.passages) > MOST_PASSAGES:
            raise TooLargeError(
                f"{name} have {len(ready.passages)} passages together; expected at most "
                f"{MOST_PASSAGES}: send fewer at a time."
            )
        return ready

    if windows_of(collection.options) or sum(len(one.text) for one in sent) > INLINE_CHARS:
        return await asyncio.to_thread(work)
    return work()


def split(
    service: Service,
    collection: Collection,
    sent: Sequence[DocumentWire],
    texts: Sequence[str],
    name: str,
) -> Ready:
    """Split documents in passages where their collection has windows; blocking.

    Args:
        service: The service.
        collection: Where they are to go.
        sent: The documents.
        texts: Their normalized texts.
        name: What the caller calls the list, for error messages.

    Raises:
        TooLargeError: If a document has too many passages.
    """
    documents = [Document(one.doc_id, one.text, one.lang, one.metadata) for one in sent]
    raw = [document.text for document in documents]
    windows = windows_of(collection.options)
    if windows is None:
        return Ready(documents, [[(0, len(text))] for text in raw], list(texts))
    spans = split_documents(raw, windows, service.encoder.token_starts, name)
    passages = [
        whole if len(some) == 1 and some[0] == (0, len(text)) else normalize(text[start:end])
        for text, whole, some in zip(raw, texts, spans, strict=True)
        for start, end in some
    ]
    return Ready(documents, spans, passages)


async def encode_ready(service: Service, ready: Ready) -> Filled:
    """Encode passages behind all searches.

    Raises:
        ServiceError: As the encoder says.
    """
    blocks: list[NDArray[np.float32]] = []
    cut: list[bool] = []
    for start in range(0, len(ready.passages), BLOCK):
        block = ready.passages[start : start + BLOCK]
        encoded = await service.encoder.encode_async(block, "document", priority=BULK)
        count_encoded(service, ROUTE, encoded)
        blocks.append(encoded.vectors)
        cut += encoded.truncated
    vectors = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)  # (passages, dim)
    truncated: list[str] = []
    first = 0
    for document, spans in zip(ready.documents, ready.spans, strict=True):
        if any(cut[first : first + len(spans)]):
            truncated.append(document.doc_id)
        first += len(spans)
    return Filled(ready, vectors, truncated)


async def store_filled(service: Service, collection: Collection, filled: Filled) -> int:
    """Write documents to a collection; durable on return.

    Args:
        service: The service.
        collection: Where they are to go, as it was when they were prepared.
        filled: The documents.

    Returns:
        How many distinct documents were written.

    Raises:
        ConflictError: If it is being restored, or of another encoder.
        ChangedError: If it is not what it was.
        ServiceError: As the store says.
    """
    name, ready = collection.name, filled.ready
    doc_ids = [document.doc_id for document in ready.documents]

    def write(store: VectorStore) -> int:
        with service.guard.writing(store, name, doc_ids):
            found = store.describe(name)
            if (found.model, found.options) != (collection.model, collection.options):
                raise ChangedError(
                    f"Collection {name!r} was made anew with other options meanwhile; send the "
                    "documents again."
                )
            return store.upsert(name, ready.documents, filled.vectors, ready.spans)

    return await in_writing(service, write)
