"""The two seams of retrieval: ``Encode`` (texts to vectors) and ``VectorStore`` (vectors to hits).

Every engine implements ``VectorStore`` and passes one shared contract test. A call that changes
something returns only when the change is durable: a SIGKILL after it loses nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Encode = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to unit rows, shape (texts, dim), float32."""

MetadataValue = str | int | float | bool
MAX_TOP_K = 1000


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its name in a collection."""

    doc_id: str
    text: str
    lang: str | None = None
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hit:
    """A document found, with its rank (from 1) and cosine score."""

    rank: int
    score: float
    document: Document


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set of documents, bound to the encoder that made their vectors."""

    name: str
    dim: int
    model: str
    count: int


@dataclass(frozen=True, slots=True)
class Filter:
    """Which documents may be hits: those whose language is one of ``lang`` (empty: any)."""

    lang: tuple[str, ...] = ()


class VectorStore(Protocol):
    """Collections of documents with their vectors.

    Hits are ordered by falling score, equal scores by rising ``doc_id``, so that the same call
    gives the same ranks. Methods block; the API calls them from worker threads.
    """

    def create(self, name: str, dim: int, model: str) -> Collection:
        """Create a collection, or return it if it exists with the same dim and model.

        Raises:
            ConflictError: If it exists with another dimension or another model.
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

    def upsert(self, name: str, documents: Sequence[Document], vectors: NDArray[np.float32]) -> int:
        """Add documents or replace those with the same ``doc_id``; durable on return.

        Of several documents with one ``doc_id`` in a call the last one wins.

        Args:
            name: The collection.
            documents: The documents.
            vectors: Unit rows, shape (documents, dim).

        Returns:
            The number of distinct documents written.

        Raises:
            NotFoundError: If there is no such collection.
            InvalidInputError: If the vectors' shape does not fit.
        """
        ...

    def delete(self, name: str, doc_ids: Sequence[str]) -> int:
        """Delete documents; durable on return. Returns how many were there."""
        ...

    def get(self, name: str, doc_ids: Sequence[str]) -> list[Document]:
        """Return those of the documents that exist, in the order asked for."""
        ...

    def count(self, name: str) -> int:
        """Count the documents of a collection."""
        ...

    def search(
        self,
        name: str,
        vectors: NDArray[np.float32],
        top_k: int,
        where: Filter | None = None,
    ) -> list[list[Hit]]:
        """Find the nearest documents of each query vector.

        Args:
            name: The collection.
            vectors: Unit rows, shape (queries, dim).
            top_k: How many hits at most for each query, 1 to ``MAX_TOP_K``.
            where: Restricts the hits.

        Returns:
            For each query its hits, ranks from 1.

        Raises:
            NotFoundError: If there is no such collection.
            InvalidInputError: If the dimension or ``top_k`` does not fit.
        """
        ...

    def flush(self, name: str) -> None:
        """Write everything to disk and bring indexes up to date; may take seconds."""
        ...

    def snapshot(self, name: str, target: Path) -> Path:
        """Write a copy of a collection that can be restored elsewhere; returns its path."""
        ...

    def close(self) -> None:
        """Flush all collections and release the storage; the store cannot be used afterwards."""
        ...
