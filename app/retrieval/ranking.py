"""What a search asks for, and its ranking: by vectors, by words, by both, or balanced.

Any part of a ranking can be asked for by ``offset``; what decides the order never depends on it,
so the parts fit together as long as the collection does not change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.retrieval.balance import Language, Method, Scope, balance, list_languages
from app.retrieval.filters import Filter
from app.retrieval.fusion import Found, fuse
from app.retrieval.lexical import query_weights
from app.retrieval.store import MAX_OFFSET, MAX_TOP_K, Hit, VectorStore

Mode = Literal["dense", "lexical", "hybrid"]
AT_ONCE = 8
"""Queries of one call, which goes on to its end even if nobody waits for it any more."""
HITS_AT_ONCE = 1_000
"""Hits of the queries of one call, if they are several; each may have a long text."""
SEARCHES_AT_ONCE = 128
"""Searches of one call, where balance makes one for each query and language."""
LEAST_FUSED, FUSED_TIMES = 100, 4
"""Hits of each ranking that are fused: so many, or so many times ``top_k``."""
MAX_TOKENS = 1024
"""Distinct words that a query may have, each in all its forms; engines look each of them up."""
MAX_SKIPPED = 65_536
"""Hits that all queries of a search may leave out together."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked of a collection, for each of several queries.

    Attributes:
        name: The collection.
        mode: ``dense`` by vectors, ``lexical`` by words, ``hybrid`` by both.
        top_k: Hits of each query at most.
        offset: Hits to leave out at the top.
        where: Restricts the hits.
        exact: Compare with every vector.
        min_score: Hits that score lower are none: a cosine, or a BM25 score if lexical.
        balance: How languages are put on one level.
    """

    name: str
    mode: Mode = "dense"
    top_k: int = 10
    offset: int = 0
    where: Filter | None = None
    exact: bool = False
    min_score: float | None = None
    balance: Method | None = None

    @property
    def last(self) -> int:
        """The last rank that any page of it may have."""
        return MAX_TOP_K if self.balance else MAX_OFFSET + self.top_k

    @property
    def end(self) -> int:
        """The last rank of this page."""
        return min(self.offset + self.top_k, self.last)


def require_sense(ask: Ask, queries: int) -> None:
    """Refuse what cannot be asked together.

    Raises:
        InvalidInputError: If one choice means nothing beside another, or it is too much.
    """
    if ask.mode == "lexical" and ask.exact:
        raise InvalidInputError(
            "exact with mode lexical means nothing, for words are never approximated; leave exact "
            "out, or use mode dense or hybrid."
        )
    if ask.mode != "dense" and ask.balance is not None:
        raise InvalidInputError(
            f"balance with mode {ask.mode} is not possible, for it puts cosines of all languages "
            "on one level; use mode dense, or leave balance out."
        )
    if ask.mode == "hybrid" and ask.min_score is not None:
        raise InvalidInputError(
            "min_score with mode hybrid means nothing, for a fused score only says where a "
            "document stood in both rankings; use mode dense or lexical, or leave min_score out."
        )
    if ask.mode == "dense" and ask.min_score is not None and not -1 <= ask.min_score <= 1:
        raise InvalidInputError(
            f"min_score is {ask.min_score:g}; a cosine is from -1 to 1: give such a number."
        )
    if ask.offset >= ask.last or ask.offset > MAX_OFFSET:
        most = MAX_TOP_K if ask.balance else MAX_OFFSET
        raise InvalidInputError(
            f"The cursor is at rank {ask.offset + 1}, and this search ends at {most}; narrow it by "
            "a filter instead of reading on."
        )
    if queries * ask.offset > MAX_SKIPPED:
        raise InvalidInputError(
            f"The cursor leaves out {ask.offset} hits of {queries} queries, over {MAX_SKIPPED} in "
            "all; ask for fewer queries at a time from the start."
        )


def require_words(queries: Sequence[str]) -> None:
    """Refuse queries that have too many words to be looked up; takes a millisecond for 1,000.

    Raises:
        InvalidInputError: If one has.
    """
    for index, query in enumerate(queries):
        if len(query) > MAX_TOKENS // 4 and len(query_weights(query).indices) > MAX_TOKENS:
            raise InvalidInputError(
                f"queries[{index}] has over {MAX_TOKENS} different words or parts of such, the "
                "most that a search by words looks up; shorten it, or use mode dense."
            )


@dataclass(frozen=True, slots=True)
class Ranker:
    """Answers what is asked, from one store.

    Attributes:
        languages: Those to balance, from ``prepare``.
    """

    store: VectorStore
    ask: Ask
    languages: Sequence[Language] = ()

    @property
    def at_once(self) -> int:
        """How many queries to give to one call of ``rank``."""
        searches = SEARCHES_AT_ONCE // max(1, len(self.languages))
        return max(1, min(AT_ONCE, searches, HITS_AT_ONCE // self.ask.top_k))

    def rank(
        self, queries: Sequence[str], vectors: NDArray[np.float32] | None
    ) -> list[list[Found]]:
        """Rank the documents for each query, from ``offset`` on.

        Args:
            queries: The texts, for words.
            vectors: Unit rows, shape (queries, dim); None if the mode is lexical.

        Raises:
            InvalidInputError: If the store cannot apply the filter.
            NotFoundError: If there is no such collection.
        """
        ask = self.ask
        if ask.mode == "hybrid":
            return self._fused(queries, _given(vectors))
        if ask.balance is not None:
            found = balance(self.store, scope_of(ask), self.languages, _given(vectors), ask.balance)
            return [hits[ask.offset :] for hits in found]
        if ask.mode == "lexical":
            rankings = self.store.match(ask.name, queries, ask.top_k, ask.where, offset=ask.offset)
        else:
            rankings = self._nearest(_given(vectors))
        return [[Found(hit) for hit in hits if self._suffices(hit)] for hits in rankings]

    def _nearest(self, vectors: NDArray[np.float32]) -> list[list[Hit]]:
        ask = self.ask
        return self.store.search(
            ask.name, vectors, ask.top_k, ask.where, offset=ask.offset, exact=ask.exact
        )

    def _suffices(self, hit: Hit) -> bool:
        return self.ask.min_score is None or hit.score >= self.ask.min_score

    def _fused(self, queries: Sequence[str], vectors: NDArray[np.float32]) -> list[list[Found]]:
        ask = self.ask
        depth = min(MAX_TOP_K, max(LEAST_FUSED, FUSED_TIMES * ask.top_k))
        dense = self.store.search(ask.name, vectors, depth, ask.where, exact=ask.exact)
        lexical = self.store.match(ask.name, queries, depth, ask.where)
        return [
            fuse({"dense": near, "lexical": alike})[ask.offset : ask.end]
            for near, alike in zip(dense, lexical, strict=True)
        ]


def prepare(store: VectorStore, ask: Ask) -> Ranker:
    """Look up what all queries share.

    Raises:
        InvalidInputError: If there are too many languages to balance.
        NotFoundError: If there is no such collection.
    """
    return Ranker(store, ask, list_languages(store, scope_of(ask)) if ask.balance else ())


def scope_of(ask: Ask) -> Scope:
    """What is balanced."""
    return Scope(ask.name, ask.end, ask.where, ask.exact, ask.min_score)


def _given(vectors: NDArray[np.float32] | None) -> NDArray[np.float32]:
    if vectors is None:
        raise InvalidInputError("A search by vectors has none; encode the queries first.")
    return vectors
