"""Lower bounds for what was only sampled: how far a smoothed query prefers its answer.

For unit vectors f under random noise, g = E f, and a unit direction u, the preference
gamma = g.u lies in [-1, 1]. With u = (a - b) / |a - b| it says by how much g prefers document a to
document b. Three bounds from n samples, each wrong with probability alpha at most:

- ``hoeffding``: holds for any noise; costs sqrt(2 ln(m / alpha) / n) for m comparisons;
- ``bernstein``: uses the measured variance; far better where the noise moves a vector little;
- ``uniform``: bounds |mean - g| itself, hence holds for every direction at once, also for documents
  that were not looked at; its cost does not grow with the number of comparisons.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.robustness.pool import Pool

Method = Literal["hoeffding", "bernstein", "uniform"]
_BLOCK = 4096
_ROUNDS = 200


@dataclass(frozen=True, slots=True)
class Confidence:
    """How sure to be.

    Attributes:
        alpha: Probability that the bound of a query is wrong, over the samples drawn.
        method: Which bound; chosen before the samples are seen.
    """

    alpha: float = 0.001
    method: Method = "bernstein"

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha < 1.0 or self.method not in get_args(Method):
            raise InvalidInputError(
                f"Got alpha {self.alpha} and the bound {self.method!r}; expected an alpha between "
                f"0 and 1 and one of {', '.join(get_args(Method))}."
            )


def hoeffding(means: NDArray[np.float64], samples: int, alpha: float) -> NDArray[np.float64]:
    """Bound expectations of values in [-1, 1] from below, each wrong with probability alpha.

    References:
        Hoeffding 1963, theorem 2, https://doi.org/10.1080/01621459.1963.10500830.
    """
    return means - math.sqrt(2.0 * math.log(1.0 / alpha) / samples)


def bernstein(
    means: NDArray[np.float64], variances: NDArray[np.float64], samples: int, alpha: float
) -> NDArray[np.float64]:
    """Bound expectations of values in [-1, 1] from below by their sample variance (n - 1).

    References:
        Maurer and Pontil 2009, theorem 4, https://arxiv.org/abs/0907.3740, scaled to the range 2.
    """
    log = math.log(2.0 / alpha)
    spread = np.sqrt(2.0 * np.maximum(variances, 0.0) * log / samples)
    return means - spread - 14.0 * log / (3.0 * (samples - 1))


def distance_to_mean(length: float, samples: int, alpha: float) -> float:
    """Bound how far the mean of n vectors of at most unit length lies from its expectation g.

    With V = E |f - g|^2 <= 1 - |g|^2 the distance is at most e(V) = 4L/n + sqrt(2VL/n), with
    L = ln(2 / alpha). V is not known, but |g| is at least the length of the mean minus the
    distance; the largest distance that agrees with itself is the bound.

    Args:
        length: Length of the mean of the samples.
        samples: Their number.
        alpha: Failure probability.

    References:
        Smale and Zhou 2007, lemma 2, https://doi.org/10.1007/s00365-006-0659-y, for f - g, whose
        length is at most 2; after Pinelis 1994, https://doi.org/10.1214/aop/1176988477.
    """
    log = math.log(2.0 / alpha)
    error = 2.0
    for _ in range(_ROUNDS):  # falls to the largest fixed point, never below it
        variance = 1.0 - max(0.0, length - error) ** 2
        smaller = 4.0 * log / samples + math.sqrt(2.0 * variance * log / samples)
        if smaller >= error:
            break
        error = smaller
    return error


def preference(
    samples: NDArray[np.floating],
    pool: Pool,
    relevant: frozenset[str],
    top_k: int,
    confidence: Confidence,
    *,
    unseen: float | None = None,
) -> float:
    """Bound from below by how much a relevant document is preferred to the k-th nearest rival.

    A certificate that keeps gamma above 0 against all rivals but k - 1 keeps a relevant document in
    the top k. The bound is over all comparisons at once (alpha is divided by their number), because
    which rivals are the near ones is read off the same samples. Which documents are relevant must
    not be: choose them without these samples, or bound by ``uniform``, which covers any choice.

    Args:
        samples: Vectors under noise, of unit length (0 where there was no text left), shape (n,
            dim).
        pool: Documents to compare with.
        relevant: Names of those that answer the query, in the pool.
        top_k: Hits that the user sees.
        confidence: How sure to be, and by which bound.
        unseen: Highest score that the samples' mean has with a document that is not in the pool;
            None if the pool holds them all. Needs the bound ``uniform``.

    Returns:
        The bound, in [-1, 1]; not above 0: nothing can be certified (abstain).

    Raises:
        InvalidInputError: If there are fewer than two samples, or the documents do not fit.
    """
    rows = np.asarray(samples, dtype=np.float64)
    _require(rows, pool, confidence, unseen)
    ours, rivals = pool.parts(relevant)
    if not ours.doc_ids or top_k < 1:
        raise InvalidInputError("Give at least one relevant document and top_k from 1.")
    seen = len(rivals.doc_ids)
    if seen < top_k and unseen is None:
        return 1.0
    lows = _over_rivals(rows, ours, rivals, confidence, None if unseen is None else (unseen, top_k))
    kth = np.partition(lows, top_k - 1, axis=1)[:, top_k - 1]
    return float(min(1.0, max(-1.0, kth.max())))


def _over_rivals(
    rows: NDArray[np.float64],
    ours: Pool,
    rivals: Pool,
    confidence: Confidence,
    beyond: tuple[float, int] | None,
) -> NDArray[np.float64]:
    """Bound gamma for each passage of ours and each rival, then for those that were not seen."""
    seen = len(rivals.doc_ids)
    lows = np.empty((len(ours.vectors), seen))
    comparisons = len(ours.vectors) * max(1, len(rivals.vectors))
    means = rows.mean(axis=0)
    error = distance_to_mean(float(np.linalg.norm(means)), len(rows), confidence.alpha)
    size = max(1, _BLOCK // max(1, int(np.max(rivals.sizes, initial=1))))
    for start in range(0, seen, size):
        part = slice(start, start + size)
        sizes = np.asarray(rivals.sizes)[part]
        first = int(rivals.starts[start])
        theirs = rivals.vectors[first : first + int(sizes.sum())]
        low = _lows(rows, ours.vectors, theirs, confidence, comparisons, error)
        lows[:, part] = np.minimum.reduceat(low, np.cumsum(sizes) - sizes, axis=1)
    if beyond is not None:
        unseen, top_k = beyond
        # A gap divided by the distance of two unit vectors, 2 at most.
        gaps = (np.asarray(ours.vectors, np.float64) @ means - unseen) / 2 - error
        lows = np.hstack([lows, np.repeat(gaps[:, None], top_k, axis=1)])
    return lows


def set_preference(
    samples: NDArray[np.floating], pool: Pool, members: frozenset[str], confidence: Confidence
) -> float:
    """Bound from below by how much each of some documents is preferred to every other one.

    While it stays above 0 the set of the first hits is these documents, in whatever order.

    Args:
        samples: As for ``preference``.
        pool: All documents of the collection.
        members: Names of the first hits.
        confidence: How sure to be; alpha is divided by the number of members.
    """
    _, others = pool.parts(members)
    shared = Confidence(confidence.alpha / max(1, len(members)), confidence.method)
    lows = [
        preference(samples, pool.joined(name, others), frozenset([name]), 1, shared)
        for name in sorted(members)
    ]
    return min(lows, default=1.0)


def _lows(
    samples: NDArray[np.float64],
    ours: NDArray[np.floating],
    theirs: NDArray[np.floating],
    confidence: Confidence,
    comparisons: int,
    error: float,
) -> NDArray[np.float64]:
    """Bound gamma for each pair, shape (ours, theirs); -1 where two vectors are equal."""
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :] - 2.0 * (a @ b.T)
    apart = np.sqrt(np.maximum(squares, 0.0))
    equal = apart <= 1e-6
    apart = np.where(equal, 1.0, apart)
    n = len(samples)
    own, other = samples @ a.T, samples @ b.T  # (n, ours), (n, theirs)
    means = (own.mean(axis=0)[:, None] - other.mean(axis=0)[None, :]) / apart
    if confidence.method == "uniform":
        lows = means - error
    elif confidence.method == "hoeffding":
        lows = hoeffding(means, n, confidence.alpha / comparisons)
    else:
        own, other = own - own.mean(axis=0), other - other.mean(axis=0)
        variances = (own * own).sum(axis=0)[:, None] + (other * other).sum(axis=0)[None, :]
        variances = (variances - 2.0 * (own.T @ other)) / ((n - 1) * apart**2)
        lows = bernstein(means, variances, n, confidence.alpha / comparisons)
    return np.where(equal, -1.0, lows)


def _require(
    samples: NDArray[np.float64], pool: Pool, confidence: Confidence, unseen: float | None
) -> None:
    if samples.ndim != 2 or len(samples) < 2 or samples.shape[1] != pool.vectors.shape[1]:
        raise InvalidInputError(
            f"Got samples of shape {samples.shape} for documents of {pool.vectors.shape[1]} "
            "dimensions; expected at least two rows of these: draw more samples."
        )
    if not pool.complete and unseen is None:
        raise InvalidInputError(
            "The pool does not hold the whole collection, so a document outside it could be the "
            "one that passes; expected `unseen`, the highest score outside it, or a larger pool."
        )
    if unseen is not None and confidence.method != "uniform":
        raise InvalidInputError(
            f"Got the bound {confidence.method} with documents that were not looked at; expected "
            "the bound uniform, the one that holds for those too."
        )
