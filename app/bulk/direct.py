"""Documents into a store, encoded here: no service need run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from app.binding import options_for, require_bound, require_declared, windows_of
from app.bulk.target import Target, open_named_store
from app.bulk.work import Written
from app.errors import NotFoundError, TooLargeError
from app.guard import WriteGuard
from app.hidden import require_shown
from app.opening import open_text_encoder
from app.retrieval.documents import Document, Span
from app.retrieval.store import Collection, FieldType
from app.text.normalize import normalize
from app.windows import split_documents

if TYPE_CHECKING:
    from app.encoder.encoder import TextEncoder
    from app.retrieval.store import VectorStore

MOST_PASSAGES = 4096
"""Passages that a thread has in memory at a time, but for those of one more document."""


class StoreSink:
    """Encodes and writes; threads may share it, and while one writes the others encode.

    Args:
        store: The store; closed with the sink.
        encoder: The encoder; closed with the sink.
        collection: The collection, filled by this encoder.
        max_chars: Most characters of a document once normalized.
    """

    def __init__(
        self,
        store: "VectorStore",
        encoder: "TextEncoder",
        collection: Collection,
        max_chars: int,
    ) -> None:
        self._store = store
        self._encoder = encoder
        self._collection = collection
        self._windows = windows_of(collection.options)
        self._max_chars = max_chars

    @classmethod
    def open(cls, target: Target) -> Self:
        """Open store and encoder, and the collection, which is created if there is none.

        Raises:
            ConflictError: If another process holds the store, or another encoder filled the
                collection.
            ServiceError: If store or encoder cannot be opened.
        """
        settings = target.chosen()
        store = open_named_store(settings)
        try:
            encoder = open_text_encoder(settings)
            try:
                collection = _open_collection(store, encoder, target)
            except BaseException:
                encoder.close()
                raise
        except BaseException:
            store.close()
            raise
        split = windows_of(collection.options) is not None
        most = settings.max_document_chars if split else settings.max_text_chars
        return cls(store, encoder, collection, most)

    @property
    def fields(self) -> Mapping[str, FieldType]:
        """The collection's declared fields."""
        return self._collection.options.fields

    @property
    def count(self) -> int:
        """Documents in the collection when the sink was opened."""
        return self._collection.count

    def close(self) -> None:
        """Close encoder and store."""
        self._encoder.close()
        self._store.close()

    def write(self, documents: Sequence[Document]) -> Written:
        """Encode and write documents, so many at a time that their passages fit in memory."""
        refused: dict[int, str] = {}
        truncated = 0
        kept: list[Document] = []
        spans: list[list[Span]] = []
        for place, document in enumerate(documents):
            try:
                spans.append(self._passages(document))
                kept.append(document)
            except TooLargeError as error:
                refused[place] = error.message
            if sum(map(len, spans)) >= MOST_PASSAGES:
                truncated += self._add(kept, spans)
                kept, spans = [], []
        return Written(refused, truncated + self._add(kept, spans))

    def _add(self, documents: Sequence[Document], spans: Sequence[Sequence[Span]]) -> int:
        if not documents:
            return 0
        # What is stored is the text as it came; what is encoded is its passages, normalized.
        passages = [
            normalize(document.text[start:end])
            for document, some in zip(documents, spans, strict=True)
            for start, end in some
        ]
        encoded = self._encoder.encode(passages, "document")
        name = self._collection.name
        with WriteGuard().writing(self._store, name):
            self._store.upsert(name, documents, encoded.vectors, spans)
        return _cut(encoded.truncated, spans)

    def _passages(self, document: Document) -> list[Span]:
        chars = len(normalize(document.text))
        if chars > self._max_chars:
            limit = "TEXT" if self._windows is None else "DOCUMENT"
            raise TooLargeError(
                f"text has {chars} characters; expected at most {self._max_chars} once normalized: "
                f"split it, or raise TYNTEGRA_MAX_{limit}_CHARS."
            )
        if self._windows is None:
            return [(0, len(document.text))]
        return split_documents([document.text], self._windows, self._encoder.token_starts)[0]


def _cut(truncated: Sequence[bool], spans: Sequence[Sequence[Span]]) -> int:
    """Count the documents of which a passage was cut."""
    starts = np.cumsum([0, *map(len, spans[:-1])])
    return int(np.logical_or.reduceat(np.asarray(truncated, bool), starts).sum())


def _open_collection(store: "VectorStore", encoder: Any, target: Target) -> Collection:
    options = options_for(encoder, target.fields, target.windows)
    try:
        found = store.describe(require_shown(target.collection))
    except NotFoundError:
        return store.create(target.collection, encoder.dim, encoder.model_id, options)
    require_bound(found, encoder)
    if target.fields or target.windows:
        require_declared(found, options)
    return found
