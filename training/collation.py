"""A batch as arrays: padded sides, the pairs that are no negatives, and its split by process."""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def _no_texts() -> Ints:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a batch: token ids and attention mask, both of shape (rows, seq)."""

    input_ids: Ints
    attention_mask: Ints

    def rows(self, start: int, stop: int) -> "Side":
        """Return some of the rows, padded as they are."""
        return Side(self.input_ids[start:stop], self.attention_mask[start:stop])


@dataclass(frozen=True, slots=True)
class Batch:
    """Pairs of one step.

    Attributes:
        kind: Cross-lingual or monolingual.
        query: What is searched with.
        document: What is to be found; row i belongs to query i.
        pivots: Index of the text that the document translates (itself, if it is the pivot), shape
            (pairs,); of the whole batch, in a shard too.
        masked: Rows and columns, both of shape (n,), of pairs off the diagonal that must not count
            as negatives. Column j is document j, column pairs + i * n + k the k-th of n hard
            negatives of query i. Of the whole batch, in a shard too.
        negatives: Hard negatives, row i * n + k the k-th of query i; None: there are none.
        noisy: The queries with typos, for self-teaching; None: there is none.
        query_texts: Index into the bitext's texts of each query, -1 where the query is not that
            text as it stands (a crop, or with words replaced), shape (pairs,).
        document_texts: The same of the documents.
        sources: Index of the texts that queries and documents were made from, changed or not, each
            of shape (pairs,); of the whole batch, in a shard too.
    """

    kind: Literal["cross", "mono"]
    query: Side
    document: Side
    pivots: Ints
    masked: tuple[Ints, Ints]
    negatives: Side | None = None
    noisy: Side | None = None
    query_texts: Ints = field(default_factory=_no_texts)
    document_texts: Ints = field(default_factory=_no_texts)
    sources: tuple[Ints, Ints] = field(default_factory=lambda: (_no_texts(), _no_texts()))

    def shard(self, rank: int, world: int) -> "Batch":
        """Return the part of one of several processes: a contiguous slice of the pairs.

        Joined in the order of their ranks, the sides of all parts are those of the batch. Sizes
        differ by one at most. ``pivots`` and ``masked`` stay those of the whole batch.

        Args:
            rank: Of the process, from 0.
            world: How many processes there are, at most as many as pairs.

        Raises:
            ValueError: If there is no such process, or it would get no pair.
        """
        pairs = len(self.query.input_ids)
        if not 0 <= rank < world <= pairs:
            raise ValueError(
                f"got process {rank} of {world} for {pairs} pairs: expected a rank from 0 to below "
                "the number of processes, and a pair for each process"
            )
        start, stop = pairs * rank // world, pairs * (rank + 1) // world
        negatives = self.negatives
        if negatives is not None:
            each = len(negatives.input_ids) // pairs
            negatives = negatives.rows(start * each, stop * each)
        return replace(
            self,
            query=self.query.rows(start, stop),
            document=self.document.rows(start, stop),
            negatives=negatives,
            noisy=None if self.noisy is None else self.noisy.rows(start, stop),
            query_texts=self.query_texts[start:stop],
            document_texts=self.document_texts[start:stop],
        )


def false_negatives(
    query_texts: Ints, document_texts: Ints, query_pivots: Ints, document_pivots: Ints
) -> tuple[Ints, Ints]:
    """List the pairs off the diagonal whose two sides say the same, as (rows, columns).

    Query i and document j are no negatives of one another if they, or their partners, are the same
    text or translations of the same text.
    """
    compared = [
        (query_pivots, document_pivots),
        (query_texts, document_texts),
        (query_texts, query_texts),
        (document_texts, document_texts),
    ]
    if query_pivots is not document_pivots:  # else all three are one comparison
        compared += [(query_pivots, query_pivots), (document_pivots, document_pivots)]
    pairs = [equal_pairs(left, right) for left, right in compared]
    size = len(query_texts)
    flat = np.unique(np.concatenate([rows * size + columns for rows, columns in pairs]))
    rows, columns = np.divmod(flat, size)
    off_diagonal = rows != columns
    return rows[off_diagonal], columns[off_diagonal]


def equal_pairs(left: Ints, right: Ints) -> tuple[Ints, Ints]:
    """Return all (i, j) with ``left[i] == right[j]``, without comparing each to each."""
    order = np.argsort(right, kind="stable")
    ordered = right[order]
    low = np.searchsorted(ordered, left, side="left")
    counts = np.searchsorted(ordered, left, side="right") - low
    rows = np.repeat(np.arange(len(left)), counts)
    return rows, order[np.repeat(low, counts) + within_runs(counts)]


def within_runs(counts: Ints) -> Ints:
    """Return the position within each run of a given length: 0, 1, ... counts[0] - 1, 0, 1, ..."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
