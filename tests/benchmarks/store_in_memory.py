"""A pool as a store in memory: what a search asks of one, fast enough for thousands of queries."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray
from pool import Pool, Rows, Words

from app.retrieval.documents import Document
from app.retrieval.filters import Filter, matches
from app.retrieval.store import Hit, VectorStore


class MatrixStore:
    """One collection; documents are named by their row, so that equal scores keep its order."""

    def __init__(self, pool: Pool, vectors: Rows, words: Words | None = None) -> None:
        width = len(str(len(pool.documents)))
        self._documents = [
            Document(f"{row:0{width}}", text, pool.langs[lang])
            for row, (text, lang) in enumerate(
                zip(pool.documents, pool.lang_of_document, strict=True)
            )
        ]
        self._vectors = vectors
        self._words = words
        self._found: dict[str, NDArray[np.int64]] = {}

    def as_store(self) -> VectorStore:
        """As what a search asks."""
        return cast(VectorStore, self)

    def languages(self, name: str) -> dict[str, int]:
        """See ``VectorStore``."""
        counts: dict[str, int] = {}
        for document in self._documents:
            counts[document.lang or ""] = counts.get(document.lang or "", 0) + 1
        return counts

    def search(
        self,
        name: str,
        vectors: Rows,
        top_k: int,
        where: Filter | None = None,
        *,
        offset: int = 0,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """See ``VectorStore``."""
        rows = self._rows(where)
        return self._ranked(rows, vectors @ self._vectors[rows].T, top_k)

    def match(
        self,
        name: str,
        queries: Sequence[str],
        top_k: int,
        where: Filter | None = None,
        *,
        offset: int = 0,
    ) -> list[list[Hit]]:
        """See ``VectorStore``."""
        assert self._words is not None
        rows = self._rows(where)
        return [
            [hit for hit in hits if hit.score > 0]
            for hits in self._ranked(rows, self._words.scores(queries)[:, rows], top_k)
        ]

    def _rows(self, where: Filter | None) -> NDArray[np.int64]:
        if repr(where) not in self._found:
            kept = [
                row
                for row, document in enumerate(self._documents)
                if where is None or matches(where, document)
            ]
            self._found[repr(where)] = np.array(kept, np.int64)
        return self._found[repr(where)]

    def _ranked(self, rows: NDArray[np.int64], scores: Rows, top_k: int) -> list[list[Hit]]:
        results = []
        for each in scores:
            order = np.argsort(-each, kind="stable")[:top_k]
            first = Hit(0, 0.0, self._documents[0])
            results.append(
                [
                    replace(
                        first, rank=rank, score=float(each[at]), document=self._documents[rows[at]]
                    )
                    for rank, at in enumerate(order, 1)
                ]
            )
        return results
