"""A collection in memory under other vectors, to be searched exactly; nothing of it is stored."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError, NotFoundError
from app.retrieval.documents import Document
from app.retrieval.store import Collection, Encode, Hit, VectorStore

_PAGE = 500


class HeldStore:
    """What a probe needs of a store, for one collection encoded anew.

    Args:
        collection: What to call it, with the model that made the vectors.
        documents: Its documents.
        vectors: A unit row for each, shape (documents, dim).
    """

    def __init__(
        self, collection: Collection, documents: Sequence[Document], vectors: NDArray[np.float32]
    ) -> None:
        self._collection = collection
        self._order = sorted(range(len(documents)), key=lambda n: documents[n].doc_id)
        self._documents = [documents[n] for n in self._order]
        self._vectors = vectors[self._order]

    def describe(self, name: str) -> Collection:
        """See ``VectorStore``."""
        if name != self._collection.name:
            raise NotFoundError(f"There is no collection {name!r} here.")
        return self._collection

    def search(
        self,
        name: str,
        vectors: NDArray[np.float32],
        top_k: int,
        where: Any = None,
        *,
        offset: int = 0,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """See ``VectorStore``; always exact, one passage a document."""
        self.describe(name)
        scores = vectors @ self._vectors.T  # (queries, documents)
        found: list[list[Hit]] = []
        for row in scores:
            # Documents are in the order of their names, which settles ties.
            best = np.argsort(-row, kind="stable")[offset : offset + top_k].tolist()
            found.append(
                [
                    Hit(offset + rank, float(row[n]), self._documents[n])
                    for rank, n in enumerate(best, 1)
                ]
            )
        return found


def encode_anew(store: VectorStore, name: str, encode: Encode, model: str, most: int) -> HeldStore:
    """Hold a collection under the vectors of another encoder.

    Args:
        store: Where the collection is.
        name: The collection.
        encode: The other encoder, of documents.
        model: What to call it.
        most: How many documents it may have.

    Raises:
        NotFoundError: If there is no such collection.
        InvalidInputError: If it has more documents, or none.
    """
    count = store.describe(name).count
    if not 0 < count <= most:
        raise InvalidInputError(
            f"Collection {name!r} has {count} documents; expected 1 to {most}, for all of them "
            "have to be encoded by the other model: use a smaller collection."
        )
    documents: list[Document] = []
    after: str | None = None
    while True:
        page = store.scan(name, after, _PAGE)
        documents += page.documents
        if page.next is None or len(documents) > most:
            break
        after = page.next
    parts = [
        encode([one.text for one in documents[start : start + _PAGE]])
        for start in range(0, len(documents), _PAGE)
    ]
    vectors = np.concatenate(parts)
    return HeldStore(Collection(name, vectors.shape[1], model, len(documents)), documents, vectors)
