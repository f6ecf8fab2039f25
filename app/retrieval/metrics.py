"""How good a ranking is: accuracy at 1, recall at k, reciprocal rank, and an interval for shares.

Training, export verification, the probe and the benchmark all count here, so that their numbers
can be compared. Ties count against the system: a document that scores the same as a wrong one has
not been found.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError

_BLOCK_BYTES = 64 << 20
_TIE_ULPS = 8  # A matrix product gives equal documents scores that differ in the last bits


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Bound a share by Wilson's score interval.

    Args:
        successes: How often it happened, 0 to ``n``.
        n: How often it was tried; for 0 nothing is known, and the interval is (0, 1).
        confidence: Probability that the interval covers the true share, in (0, 1).

    Raises:
        InvalidInputError: If a value is out of its range.

    References:
        Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953.
    """
    if not 0 <= successes <= n or not 0.0 < confidence < 1.0:
        raise InvalidInputError(
            f"Got {successes} successes of {n} at confidence {confidence}; expected 0 <= successes "
            "<= n and 0 < confidence < 1."
        )
    if n == 0:
        return Interval(0.0, 1.0)
    # From the lower tail, which has digits left where the confidence is near 1.
    z = -NormalDist().inv_cdf((1.0 - confidence) / 2)
    share, shrink = successes / n, 1.0 + z * z / n
    center = (share + z * z / (2 * n)) / shrink
    half = z * math.sqrt(share * (1.0 - share) / n + (z / (2 * n)) ** 2) / shrink
    # The ends are exact where rounding would miss them.
    return Interval(
        center - half if successes else 0.0,
        center + half if successes < n else 1.0,
    )


def ranks_of(
    queries: NDArray[np.floating],
    documents: NDArray[np.floating],
    relevant: NDArray[np.integer] | None = None,
) -> NDArray[np.int64]:
    """Rank each query's relevant document among all documents by dot product.

    The product is taken in blocks of queries, so 100,000 queries against 100,000 documents need
    some 64 MiB. A score that is not a number ranks its query last.

    Args:
        queries: Unit rows, shape (queries, dim).
        documents: Unit rows, shape (documents, dim).
        relevant: Row of each query's relevant document, shape (queries,); without it query i's
            document is row i.

    Returns:
        Ranks from 1, shape (queries,): the number of documents that score at least as high, equal
        to within 8 units of the last place of 1.0 in the type of the scores.

    Raises:
        InvalidInputError: If the shapes do not fit, or a relevant row does not exist.
    """
    if queries.ndim != 2 or documents.ndim != 2 or queries.shape[1] != documents.shape[1]:
        raise InvalidInputError(
            f"Queries have shape {queries.shape} and documents {documents.shape}; expected "
            "(queries, dim) and (documents, dim)."
        )
    goal = np.arange(len(queries)) if relevant is None else np.asarray(relevant)
    if goal.shape != (len(queries),) or (
        goal.size and not 0 <= goal.min() <= goal.max() < len(documents)
    ):
        raise InvalidInputError(
            f"{len(queries)} queries need one relevant row each, from 0 to {len(documents) - 1}; "
            f"got shape {goal.shape}."
        )
    kind = np.result_type(queries, documents, np.float32)
    queries, documents = queries.astype(kind, copy=False), documents.astype(kind, copy=False)
    slack = _TIE_ULPS * np.finfo(kind).eps
    ranks = np.empty(len(queries), dtype=np.int64)
    block = max(1, _BLOCK_BYTES // (8 * max(1, len(documents))))
    for start in range(0, len(queries), block):
        rows = slice(start, start + block)
        scores = queries[rows] @ documents.T  # (block, documents)
        own = scores[np.arange(len(scores)), goal[rows]] - slack  # (block,)
        # Not "at least", so that not-a-number counts against the query too
        ranks[rows] = (~(scores < own[:, None])).sum(axis=1)
    return ranks


def accuracy_at_1(queries: NDArray[np.floating], documents: NDArray[np.floating]) -> float:
    """Compute the share of queries that are strictly nearest to their own document.

    Args:
        queries: Unit rows, shape (n, dim).
        documents: Unit rows, shape (documents, dim), at least n; query i's document is row i.

    Raises:
        InvalidInputError: If the shapes do not fit or there is no query.
    """
    return recall_at_k(ranks_of(queries, documents), 1)


def recall_at_k(ranks: NDArray[np.integer], k: int) -> float:
    """Compute the share of queries whose document has rank ``k`` or better.

    Args:
        ranks: Ranks from 1, shape (queries,); 0 for a document not found.
        k: The last rank that counts, from 1.

    Raises:
        InvalidInputError: If there are no ranks, one is negative, or ``k`` is below 1.
    """
    found = _require_ranks(ranks)
    if k < 1:
        raise InvalidInputError(f"k is {k}; give an integer from 1.")
    return float(np.mean((found >= 1) & (found <= k)))


def mrr(ranks: NDArray[np.integer], k: int | None = None) -> float:
    """Compute the mean reciprocal rank.

    Args:
        ranks: Ranks from 1, shape (queries,); 0 for a document not found, which counts 0.
        k: Ranks beyond it count 0; without it all count.

    Raises:
        InvalidInputError: If there are no ranks, one is negative, or ``k`` is below 1.
    """
    found = _require_ranks(ranks)
    if k is not None and k < 1:
        raise InvalidInputError(f"k is {k}; give an integer from 1.")
    counts = (found >= 1) & (found <= (k if k is not None else np.iinfo(np.int64).max))
    return float(np.mean(np.where(counts, 1.0 / np.maximum(found, 1), 0.0)))


def _require_ranks(ranks: NDArray[np.integer]) -> NDArray[np.int64]:
    found = np.asarray(ranks, dtype=np.int64)
    if found.ndim != 1 or not found.size or found.min() < 0:
        raise InvalidInputError(
            f"Got ranks of shape {found.shape}; expected at least one, each 0 or more."
        )
    return found
