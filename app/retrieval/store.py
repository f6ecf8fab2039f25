"""The two seams of retrieval: ``Encode`` (texts to vectors) and ``VectorStore`` (vectors to hits).

Every engine implements ``VectorStore`` and passes one shared contract test. A call that changes
something returns only when the change is durable: a SIGKILL after it loses nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from app.retrieval.documents import Document, Span
from app.retrieval.filters import Filter

Encode = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to unit rows, shape (texts, dim), float32."""

FieldType = Literal["string", "integer", "number", "boolean"]
MAX_TOP_K = 1000
MAX_OFFSET = 10_000
MAX_SPANS = 1024
"""No document may have more passages."""
MAX_FIELDS = 32
"""No collection may declare more fields."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A document found, with its rank (from 1) and score.

    Attributes:
        rank: From 1, counted on by ``offset``.
        score: Cosine of its best passage, or that passage's BM25 score from ``match``.
        document: The document.
        span: The best passage; None if the document is one passage.
    """

    rank: int
    score: float
    document: Document
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What a collection is created with, beyond its dimension and model; never changes.

    Attributes:
        precision: Family of the precision that made the vectors: ``full`` (fp32, fp16),
            ``int8`` or ``int4``; empty: not known, fits any.
        prompt: What the encoder put before each document; None: not known, fits any.
        fields: Metadata fields with the type that all their values have. They are indexed, and
            filters on them are fast; other fields can be filtered too, slowly.
        window_tokens: Length of the passages that long documents are split in; 0: never split.
        stride_tokens: From the begin of a passage to that of the next, at most ``window_tokens``.
    """

    precision: str = ""
    prompt: str | None = None
    fields: Mapping[str, FieldType] = field(default_factory=dict)
    window_tokens: int = 0
    stride_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set of documents, bound to the encoder that made their vectors."""

    name: str
    dim: int
    model: str
    count: int
    options: Options = field(default_factory=Options)


@dataclass(frozen=True, slots=True)
class Page:
    """Some documents of a collection with their vectors, and where the next page begins.

    Attributes:
        documents: The documents.
        spans: Passages of each document, at least one.
        vectors: A unit row for each passage, in order, shape (passages, dim); None if not asked
            for.
        next: Give it to ``scan`` as ``after``; None: this is the last page.
    """

    documents: list[Document]
    spans: list[list[Span]]
    vectors: NDArray[np.float32] | None
    next: str | None


class VectorStore(Protocol):
    """Collections of documents with the vectors of their passages.

    A document is one passage, its whole text, or several. Hits are documents, each once, with its
    best passage; they are ordered by falling score, equal scores by rising ``doc_id``, so that the
    same call gives the same ranks. Methods block; the API calls them from worker threads.
    """

    def create(self, name: str, dim: int, model: str, options: Options | None = None) -> Collection:
        """Create a collection, or return it if it exists with the same dim, model and options.

        Raises:
            ConflictError: If it exists with another dimension, another model or other options.
            InvalidInputError: If the name is not a valid collection name.
        """
        ...

    def drop(self, name: str) -> None:
        """Delete a collection and its documents.

        Raises:
            NotFoundError: If there is no such collection.
        """
        ...

    def collections(self) -> list[Collection]:
        """List all collections by name."""
        ...

    def describe(self, name: str) -> Collection:
        """Describe one collection.

        Raises:
            NotFoundError: If there is no such collection.
        """
        ...

    def languages(self, name: str) -> dict[str, int]:
        """Count the documents of each language, the most frequent first; without one: ``""``."""
        ...

    def size_bytes(self, name: str) -> int:
        """Tell how much storage a collection takes, indexes included."""
        ...

    def unavailable(self) -> dict[str, str]:
        """Name the collections that cannot be used, each with the reason."""
        ...

    def replace(self, name: str, by: str) -> Collection:
        """Put the collection ``by`` in the place of ``name``, which is dropped; atomic and durable.

        A search sees the old documents or the new ones; after a crash one of the two is there.

        Raises:
            NotFoundError: If there is no such collection.
        """
        ...

    def upsert(
        self,
        name: str,
        documents: Sequence[Document],
        vectors: NDArray[np.float32],
        spans: Sequence[Sequence[Span]] | None = None,
    ) -> int:
        """Add documents or replace those with the same ``doc_id``; durable on return.

        Of several documents with one ``doc_id`` in a call the last one wins. A crash leaves each
        document as it was or as it is to be, never some of its passages.

        Args:
            name: The collection.
            documents: The documents.
            vectors: A unit row for each passage, shape (passages, dim), those of a document
                together and in order.
            spans: The passages of each document; None: each document is one.

        Returns:
            The number of distinct documents written.

        Raises:
            NotFoundError: If there is no such collection.
            InvalidInputError: If the vectors' shape does not fit, or a value's type is not that of
                its declared field.
        """
        ...

    def delete(self, name: str, doc_ids: Sequence[str]) -> int:
        """Delete documents; durable on return. Returns how many were there."""
        ...

    def delete_where(self, name: str, where: Filter) -> int:
        """Delete the documents that satisfy a filter; durable on return. Returns how many."""
        ...

    def get(self, name: str, doc_ids: Sequence[str]) -> list[Document]:
        """Return those of the documents that exist, in the order asked for."""
        ...

    def scan(
        self, name: str, after: str | None = None, limit: int = 1000, *, vectors: bool = False
    ) -> Page:
        """Read a collection page by page, each document once, in an order of the engine's own.

        Documents that are written while the pages are read may or may not be among them; all
        others are.
        """
        ...

    def count(self, name: str, where: Filter | None = None) -> int:
        """Count the documents of a collection, or those that satisfy a filter."""
        ...

    def search(
        self,
        name: str,
        vectors: NDArray[np.float32],
        top_k: int,
        where: Filter | None = None,
        *,
        offset: int = 0,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """Find the nearest documents of each query vector.

        Args:
            name: The collection.
            vectors: Unit rows, shape (queries, dim).
            top_k: How many hits at most for each query, 1 to ``MAX_TOP_K``.
            where: Restricts the hits.
            offset: Hits to leave out at the top, 0 to ``MAX_OFFSET``.
            exact: Compare with every passage, however many there are.

        Returns:
            For each query its hits, ranks from ``offset`` + 1.

        Raises:
            NotFoundError: If there is no such collection.
            InvalidInputError: If the dimension, ``top_k``, ``offset`` or the filter does not fit.
        """
        ...

    def match(
        self,
        name: str,
        queries: Sequence[str],
        top_k: int,
        where: Filter | None = None,
        *,
        offset: int = 0,
    ) -> list[list[Hit]]:
        """Find the documents that share words with each query, by BM25 (``lexical.py``).

        Documents that share none are no hits. Raises what ``search`` raises.
        """
        ...

    def flush(self, name: str) -> None:
        """Write everything to disk and bring indexes up to date; may take seconds."""
        ...

    def snapshot(self, name: str, target: Path) -> Path:
        """Write a copy of a collection into a directory, while serving; returns its path.

        Raises:
            ConflictError: If ``target`` has something of that name.
        """
        ...

    def restore(self, name: str, source: Path) -> Collection:
        """Create a collection from what ``snapshot`` of the same engine returned, verified.

        Raises:
            ConflictError: If there is a collection of this name.
            InvalidInputError: If there is no sound snapshot at ``source``.
        """
        ...

    def close(self) -> None:
        """Flush all collections and release the storage; the store cannot be used afterwards."""
        ...
