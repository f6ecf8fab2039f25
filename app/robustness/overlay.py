"""A store with a few documents laid over it in memory: what if these were in the collection?

Searches merge the hits of the live store with those of the overlay; the live store is only read.
Everything that would write is refused, so that no probe can change what is served.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from app.errors import ConflictError, InvalidInputError
from app.retrieval.documents import Document, Span
from app.retrieval.filters import Filter, matches, require_filter
from app.retrieval.store import MAX_OFFSET, MAX_TOP_K, Collection, Hit, Options, Page, VectorStore


class Overlay:
    """A ``VectorStore`` to read from: one collection with documents laid over, all others as is.

    A document laid over stands in the place of the live one with the same ``doc_id``. Above the
    size from which the live search is approximate, its part of the hits is too.
    """

    def __init__(
        self,
        store: VectorStore,
        name: str,
        documents: Sequence[Document],
        vectors: NDArray[np.floating],
    ) -> None:
        """Lay documents over a collection.

        Args:
            store: The live store.
            name: The collection.
            documents: Each one passage, of distinct names.
            vectors: A unit row for each, shape (documents, dim).

        Raises:
            NotFoundError: If there is no such collection.
            InvalidInputError: If the vectors do not fit, or a name occurs twice.
        """
        live = store.describe(name)
        rows = np.asarray(vectors, dtype=np.float32)
        if rows.shape != (len(documents), live.dim):
            raise InvalidInputError(
                f"Got {len(documents)} documents with vectors of shape {rows.shape}; expected "
                f"({len(documents)}, {live.dim})."
            )
        if len({document.doc_id for document in documents}) != len(documents):
            raise InvalidInputError("A doc_id occurs twice in the overlay; expected each once.")
        self._store, self._name = store, name
        self._documents = list(documents)
        self._vectors = rows
        names = [document.doc_id for document in documents]
        self._shadows = {document.doc_id for document in store.get(name, names)}

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
        """Find the nearest documents, live ones and those laid over; see ``VectorStore``."""
        if name != self._name:
            return self._store.search(name, vectors, top_k, where, offset=offset, exact=exact)
        if not 1 <= top_k <= MAX_TOP_K or not 0 <= offset <= MAX_OFFSET:
            raise InvalidInputError(
                f"Got top_k {top_k} and offset {offset}; expected 1 to {MAX_TOP_K} and 0 to "
                f"{MAX_OFFSET}."
            )
        wanted = offset + top_k
        live = self._live(vectors, wanted + len(self._shadows), where, exact=exact)
        shown = [
            place
            for place, document in enumerate(self._documents)
            if where is None or matches(require_filter(where), document)
        ]
        scores = np.asarray(vectors, dtype=np.float32) @ self._vectors[shown].T
        return [
            self._merged(
                hits, [(float(s), self._documents[p]) for s, p in zip(row, shown, strict=True)]
            )[offset:wanted]
            for hits, row in zip(live, scores, strict=True)
        ]

    def match(
        self,
        name: str,
        queries: Sequence[str],
        top_k: int,
        where: Filter | None = None,
        *,
        offset: int = 0,
    ) -> list[list[Hit]]:
        """Match words, in other collections; the overlay has no index of words."""
        if name == self._name:
            raise InvalidInputError(
                f"Documents are laid over {name} by their vectors only; expected a dense search."
            )
        return self._store.match(name, queries, top_k, where, offset=offset)

    def collections(self) -> list[Collection]:
        """List all collections."""
        return [self.describe(live.name) for live in self._store.collections()]

    def describe(self, name: str) -> Collection:
        """Describe one, the documents laid over counted."""
        live = self._store.describe(name)
        if name != self._name:
            return live
        count = live.count + len(self._documents) - len(self._shadows)
        return Collection(live.name, live.dim, live.model, count, live.options)

    def get(self, name: str, doc_ids: Sequence[str]) -> list[Document]:
        """Return documents, those laid over in place of the live ones."""
        if name != self._name:
            return self._store.get(name, doc_ids)
        over = {document.doc_id: document for document in self._documents}
        known = {one.doc_id: one for one in self._store.get(name, doc_ids)} | over
        return [known[doc_id] for doc_id in doc_ids if doc_id in known]

    def count(self, name: str, where: Filter | None = None) -> int:
        """Count documents, those laid over among them."""
        live = self._store.count(name, where)
        if name != self._name:
            return live
        hidden = self._store.get(name, sorted(self._shadows))
        shown = [where is None or matches(where, document) for document in self._documents]
        return live + sum(shown) - sum(where is None or matches(where, one) for one in hidden)

    def languages(self, name: str) -> dict[str, int]:
        """Count the live documents of each language."""
        return self._store.languages(name)

    def size_bytes(self, name: str) -> int:
        """Tell how much storage the live collection takes."""
        return self._store.size_bytes(name)

    def unavailable(self) -> dict[str, str]:
        """Name the collections that cannot be used."""
        return self._store.unavailable()

    def scan(
        self, name: str, after: str | None = None, limit: int = 1000, *, vectors: bool = False
    ) -> Page:
        """Read the live collection, page by page; what is laid over is not among it."""
        return self._store.scan(name, after, limit, vectors=vectors)

    def create(self, name: str, dim: int, model: str, options: Options | None = None) -> NoReturn:
        """Refused, as is every other change."""
        _refuse("create", name)

    def drop(self, name: str) -> NoReturn:
        """Refused."""
        _refuse("drop", name)

    def replace(self, name: str, by: str) -> NoReturn:
        """Refused."""
        _refuse("replace", name)

    def upsert(
        self,
        name: str,
        documents: Sequence[Document],
        vectors: NDArray[np.float32],
        spans: Sequence[Sequence[Span]] | None = None,
    ) -> NoReturn:
        """Refused."""
        _refuse("write to", name)

    def delete(self, name: str, doc_ids: Sequence[str]) -> NoReturn:
        """Refused."""
        _refuse("delete from", name)

    def delete_where(self, name: str, where: Filter) -> NoReturn:
        """Refused."""
        _refuse("delete from", name)

    def flush(self, name: str) -> NoReturn:
        """Refused."""
        _refuse("flush", name)

    def snapshot(self, name: str, target: Path) -> NoReturn:
        """Refused."""
        _refuse("copy", name)

    def restore(self, name: str, source: Path) -> NoReturn:
        """Refused."""
        _refuse("restore", name)

    def close(self) -> None:
        """Forget the documents laid over; the live store stays open."""
        self._documents, self._shadows = [], set()
        self._vectors = self._vectors[:0]

    def _live(
        self, vectors: NDArray[np.float32], wanted: int, where: Filter | None, *, exact: bool
    ) -> list[list[Hit]]:
        """Search the live collection from rank 1, in as many calls as its limits need."""
        found: list[list[Hit]] = [[] for _ in vectors]
        for start in range(0, wanted, MAX_TOP_K):
            size = min(MAX_TOP_K, wanted - start)
            if start > MAX_OFFSET:
                break
            part = self._store.search(self._name, vectors, size, where, offset=start, exact=exact)
            for hits, more in zip(found, part, strict=True):
                hits += more
        return found

    def _merged(self, live: Sequence[Hit], over: Sequence[tuple[float, Document]]) -> list[Hit]:
        entries = [
            (hit.score, hit.document, hit.span)
            for hit in live
            if hit.document.doc_id not in self._shadows
        ]
        entries += [(score, document, None) for score, document in over]
        entries.sort(key=lambda entry: (-entry[0], entry[1].doc_id))
        return [Hit(rank, *entry) for rank, entry in enumerate(entries, 1)]


def _refuse(what: str, name: str) -> NoReturn:
    raise ConflictError(
        f"Cannot {what} {name} through an overlay, which is for reading; use the store itself."
    )
