"""A collection's vectors in memory, for what a search cannot answer: gradients and certificates."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.retrieval.store import VectorStore

MAX_PASSAGES = 200_000
_PAGE = 1000


@dataclass(frozen=True)
class Pool:
    """Documents with the vectors of their passages; a document scores as its best passage.

    Attributes:
        doc_ids: Names of the documents.
        vectors: Unit rows, those of a document together, shape (passages, dim).
        sizes: Passages of each document, at least 1, shape (documents,).
        complete: Whether these are all documents of the collection.
    """

    doc_ids: tuple[str, ...]
    vectors: NDArray[np.float32]
    sizes: NDArray[np.int64]
    complete: bool = True

    def __post_init__(self) -> None:
        sizes = np.asarray(self.sizes)
        if (
            sizes.shape != (len(self.doc_ids),)
            or (sizes < 1).any()
            or self.vectors.ndim != 2
            or sizes.sum() != len(self.vectors)
        ):
            raise InvalidInputError(
                f"Got {len(self.doc_ids)} documents with passages {sizes.shape} and vectors of "
                f"shape {self.vectors.shape}; expected at least one row for each document."
            )

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Row of each document's first passage, shape (documents,)."""
        return np.cumsum(self.sizes) - self.sizes

    @cached_property
    def places(self) -> dict[str, int]:
        """Where each document stands in ``doc_ids``."""
        return {doc_id: place for place, doc_id in enumerate(self.doc_ids)}

    def scores(self, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        """Score every passage for each vector, shape (vectors, passages)."""
        return np.asarray(vectors, dtype=np.float32) @ self.vectors.T

    def best(self, scores: NDArray[np.floating]) -> NDArray[np.floating]:
        """Reduce scores of passages to those of documents, shape (vectors, documents)."""
        if len(self.doc_ids) == len(self.vectors):
            return scores
        return np.maximum.reduceat(scores, self.starts, axis=1)

    def mask(self, doc_ids: Collection[str]) -> NDArray[np.bool_]:
        """Tell which documents are among some, shape (documents,).

        Raises:
            InvalidInputError: If one of them is not in the pool.
        """
        found = np.zeros(len(self.doc_ids), dtype=bool)
        for doc_id in doc_ids:
            if doc_id not in self.places:
                raise InvalidInputError(
                    f"The document {doc_id!r} is not among the {len(self.doc_ids)} looked at; "
                    "expected one of them: collect more documents, or correct the name."
                )
            found[self.places[doc_id]] = True
        return found

    def parts(self, doc_ids: Collection[str]) -> tuple["Pool", "Pool"]:
        """Split it: some documents, and all others."""
        inside = self.mask(doc_ids)
        return self._those(inside), self._those(~inside)

    def joined(self, doc_id: str, others: "Pool") -> "Pool":
        """One of its documents together with those of another pool."""
        one, _ = self.parts([doc_id])
        return Pool(
            (*one.doc_ids, *others.doc_ids),
            np.concatenate([one.vectors, others.vectors]),
            np.concatenate([one.sizes, others.sizes]),
            others.complete,
        )

    def _those(self, wanted: NDArray[np.bool_]) -> "Pool":
        return Pool(
            tuple(np.array(self.doc_ids, dtype=object)[wanted]),
            self.vectors[np.repeat(wanted, self.sizes)],
            np.asarray(self.sizes)[wanted],
            self.complete,
        )


def pool_of(doc_ids: Sequence[str], vectors: NDArray[np.floating]) -> Pool:
    """Make a pool of documents of one passage each."""
    rows = np.asarray(vectors, dtype=np.float32)
    return Pool(tuple(doc_ids), rows, np.ones(len(doc_ids), dtype=np.int64))


def collect(store: VectorStore, name: str, most: int = MAX_PASSAGES) -> Pool:
    """Read a collection's vectors, as many passages as fit.

    Args:
        store: Where the collection is.
        name: The collection.
        most: Passages at which to stop; the pool is then not ``complete``.

    Raises:
        NotFoundError: If there is no such collection.
        InvalidInputError: If it is empty.
    """
    doc_ids: list[str] = []
    rows: list[NDArray[np.float32]] = []
    sizes: list[int] = []
    after: str | None = None
    while True:
        page = store.scan(name, after, _PAGE, vectors=True)
        doc_ids += [document.doc_id for document in page.documents]
        sizes += [len(spans) for spans in page.spans]
        if page.vectors is not None:
            rows.append(np.asarray(page.vectors, dtype=np.float32))
        after = page.next
        if after is None or sum(sizes) >= most:
            break
    if not doc_ids:
        raise InvalidInputError(f"The collection {name} has no documents: add some first.")
    whole = np.concatenate(rows)
    return Pool(tuple(doc_ids), whole, np.array(sizes, dtype=np.int64), after is None)
