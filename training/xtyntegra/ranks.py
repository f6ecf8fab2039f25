"""Ranks of all relevant documents of each query, and the metrics that follow from them.

Ties count against the system, as in ``app.retrieval.metrics``: every wrong document that scores as
high as a right one, to within a few units of the last place, stands before it. Scores live in
blocks of queries, so the memory does not grow with their number.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError

METRICS = ("accuracy@1", "recall@10", "mrr", "ndcg@10", "map")
"""Names of the metrics that ``metrics_of`` computes."""

_CUTOFF = 10
_BLOCK_BYTES = 64 << 20
_TIE_ULPS = 8  # As in app.retrieval.metrics, so that both count the same


@dataclass(frozen=True)
class Rows:
    """Lists of rows, one a query, as one flat array.

    Attributes:
        flat: All rows, those of a query side by side, shape (n,).
        starts: Where those of each query start, and the end, shape (queries + 1,).
    """

    flat: NDArray[np.intp]
    starts: NDArray[np.intp]

    @classmethod
    def of(cls, lists: Sequence[NDArray[np.intp]]) -> "Rows":
        """Join lists of rows."""
        starts = np.zeros(len(lists) + 1, dtype=np.intp)
        np.cumsum([len(rows) for rows in lists], out=starts[1:])
        flat = np.concatenate(lists) if lists else np.empty(0, dtype=np.intp)
        return cls(flat.astype(np.intp, copy=False), starts)

    @property
    def counts(self) -> NDArray[np.intp]:
        """How many rows each query has, shape (queries,)."""
        return np.diff(self.starts)

    def part(self, first: int, last: int) -> "Rows":
        """Take those of the queries from ``first`` to before ``last``."""
        starts = self.starts[first : last + 1]
        return Rows(self.flat[starts[0] : starts[-1]], starts - starts[0])

    def owners(self) -> NDArray[np.intp]:
        """Which query each row belongs to, shape (n,)."""
        return np.repeat(np.arange(len(self.starts) - 1), self.counts)


def score_blocks(
    queries: NDArray[np.float32], documents: NDArray[np.float32], excluded: Rows | None
) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Score queries against documents, about 64 MiB at a time.

    Args:
        queries: Unit rows, shape (queries, dim).
        documents: Unit rows, shape (documents, dim).
        excluded: Documents that do not compete; their score is -inf.

    Yields:
        First query of the block, the one after its last, and the scores, shape (block, documents).

    Raises:
        InvalidInputError: If the shapes do not fit.
    """
    if queries.ndim != 2 or documents.ndim != 2 or queries.shape[1] != documents.shape[1]:
        raise InvalidInputError(
            f"Queries have shape {queries.shape} and documents {documents.shape}; expected "
            "(queries, dim) and (documents, dim)."
        )
    block = max(1, _BLOCK_BYTES // (8 * max(1, len(documents))))
    for first in range(0, len(queries), block):
        last = min(first + block, len(queries))
        scores = queries[first:last] @ documents.T  # (block, documents)
        if excluded is not None:
            rows = excluded.part(first, last)
            scores[rows.owners(), rows.flat] = -np.inf
        yield first, last, scores


def ranks_in(scores: NDArray[np.float32], relevant: Rows) -> NDArray[np.int32]:
    """Rank the relevant documents of a block of queries, best first; changes ``scores``.

    A score that is not a number ranks a relevant document last, and counts as high elsewhere.

    Args:
        scores: Shape (block, documents).
        relevant: Rows of the documents that are right.

    Returns:
        Ranks from 1, ascending within a query, shape (relevant rows,). The j-th best relevant
        document has rank j plus the number of others that score at least as high.
    """
    owners = relevant.owners()
    own = scores[owners, relevant.flat]
    least = np.finfo(scores.dtype).min  # Above -inf, so what does not compete never counts
    own = np.where(np.isnan(own), least, own - _TIE_ULPS * np.finfo(scores.dtype).eps)
    scores[owners, relevant.flat] = -np.inf
    if len(own) == len(scores):
        # Not "at least", so that not-a-number counts against the query too
        return 1 + (~(scores < own[:, None])).sum(axis=1, dtype=np.int32)
    ranks = np.empty(len(own), dtype=np.int32)
    for query, row in enumerate(scores):
        mine = slice(relevant.starts[query], relevant.starts[query + 1])
        limits = np.sort(own[mine])  # ascending
        above = np.sort(row[~(row < limits[0])])
        better = len(above) - np.searchsorted(above, limits)
        ranks[mine] = better[::-1] + np.arange(1, len(limits) + 1)
    return ranks


def metrics_of(ranks: NDArray[np.int32], relevant: Rows) -> dict[str, NDArray[np.float64]]:
    """Compute every metric for each query from the ranks of its relevant documents.

    accuracy@1: the first document is relevant. recall@10: relevant documents among the first 10
    over all relevant ones. mrr: 1 over the best rank. ndcg@10: binary gains, discount
    log2(rank + 1), over what a perfect ranking has. map: precision at each relevant rank, averaged
    over all relevant documents.

    Args:
        ranks: As ``ranks_in`` gives them, shape (relevant rows,).
        relevant: The rows that they belong to.

    Returns:
        Metric -> values, shape (queries,), in [0, 1].
    """
    if not len(relevant.starts) - 1:
        return {name: np.empty(0) for name in METRICS}
    starts, counts = relevant.starts[:-1], relevant.counts
    best = ranks[starts].astype(np.float64)
    order = np.arange(len(ranks)) - np.repeat(starts, counts) + 1  # 1, 2, ... within a query
    found = ranks <= _CUTOFF
    discounts = 1.0 / np.log2(np.arange(2, _CUTOFF + 2))
    ideal = np.cumsum(discounts)[np.minimum(counts, _CUTOFF) - 1]
    gains = np.where(found, discounts[np.minimum(ranks, _CUTOFF) - 1], 0.0)
    return {
        "accuracy@1": (best == 1).astype(np.float64),
        "recall@10": np.add.reduceat(found.astype(np.float64), starts) / counts,
        "mrr": 1.0 / best,
        "ndcg@10": np.add.reduceat(gains, starts) / ideal,
        "map": np.add.reduceat(order / ranks, starts) / counts,
    }
