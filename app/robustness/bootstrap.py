"""Intervals for means over queries, by drawing whole queries anew (cluster bootstrap).

Several measurements of one query (attacks, seeds) are not independent of one another; drawn
together with their query they widen the interval as they should. A difference between two models
is taken query by query first, so that what makes a query hard for both cancels out. With few
queries the interval is too narrow: at 40 of them, each measured one to five times, 92% of 95%
intervals held the true mean; at 200 it was 96%, both of 600 simulated samples.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError

RESAMPLES = 2000
_LEAST_RESAMPLES = 200
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        value: The mean; None without any value.
        low: Lower bound; None with fewer than two queries.
        high: Upper bound; None with fewer than two queries.
        p_value: Two-sided, of the hypothesis that the true mean is 0; None with fewer than two.
        queries: How many queries there were.
        n: How many values.
    """

    value: float | None
    low: float | None
    high: float | None
    p_value: float | None
    queries: int
    n: int


def mean_over_queries(
    values: Sequence[float] | NDArray[np.floating],
    queries: Sequence[Hashable],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Estimate:
    """Estimate a mean, for example of recall clean minus recall attacked.

    The result does not depend on the order of the values, and more resamples begin with those of
    fewer: the numbers are drawn by a counter (Philox) from the seed.

    Args:
        values: One for each measurement, finite, shape (n,).
        queries: The query of each.
        seed: Of the draws.
        resamples: How often to draw, at least 200.
        confidence: Probability of the percentile interval, in (0, 1).

    Raises:
        InvalidInputError: If the lengths differ or a value does not fit.

    References:
        Davison and Hinkley 1997, Bootstrap Methods, sections 3.8 (clusters) and 5.3 (percentiles);
        p-value with the observed sample counted among the draws, ibid. 4.2.
    """
    found = np.asarray(values, dtype=np.float64)
    _require(found, queries, resamples, confidence)
    sums, counts = _clusters(found, queries)
    if len(sums) < 2:
        value = float(found.mean()) if found.size else None
        return Estimate(value, None, None, None, len(sums), found.size)
    means = _redraw(sums, counts, seed, resamples)
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(means, [tail, 1.0 - tail])
    below, above = int((means <= 0.0).sum()), int((means >= 0.0).sum())
    p_value = min(1.0, 2.0 * (min(below, above) + 1) / (resamples + 1))
    value = float(sums.sum() / counts.sum())
    return Estimate(value, float(low), float(high), p_value, len(sums), found.size)


def difference(
    first: Sequence[float] | NDArray[np.floating],
    second: Sequence[float] | NDArray[np.floating],
    queries: Sequence[Hashable],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Estimate:
    """Estimate the mean of ``second`` minus ``first``, measured on the same queries.

    Args:
        first: Of one model (or without attack), shape (n,).
        second: Of the other (or under attack), in the same order.
        queries: The query of each pair.
        seed: Of the draws; see ``mean_over_queries`` for the others.
        resamples: How often to draw.
        confidence: Of the interval.

    Raises:
        InvalidInputError: If the lengths differ or a value does not fit.
    """
    if len(first) != len(second):
        raise InvalidInputError(
            f"Got {len(first)} values of the first and {len(second)} of the second; expected pairs "
            "on the same queries: leave out what only one of them has."
        )
    change = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    return mean_over_queries(change, queries, seed=seed, resamples=resamples, confidence=confidence)


def _clusters(
    values: NDArray[np.float64], queries: Sequence[Hashable]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum up each query's values, the queries in an order of their own."""
    names = {name: place for place, name in enumerate(sorted(set(queries), key=repr))}
    places = np.array([names[name] for name in queries], dtype=np.int64)
    order = np.lexsort((values, places))  # sums do not depend on the order either
    sums = np.bincount(places[order], values[order], len(names)).astype(np.float64)
    return sums, np.bincount(places, minlength=len(names)).astype(np.int64)


def _redraw(
    sums: NDArray[np.float64], counts: NDArray[np.int64], seed: int, resamples: int
) -> NDArray[np.float64]:
    bits = np.random.Philox(key=seed)
    size = max(1, _BLOCK // len(sums))
    means: list[NDArray[np.float64]] = []
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        raw = bits.random_raw(rows * len(sums)).reshape(rows, len(sums))
        # The upper 32 bits times n, over 2**32: even but for less than n in 2**32.
        drawn = ((raw >> np.uint64(32)) * np.uint64(len(sums)) >> np.uint64(32)).astype(np.int64)
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(means)


def _require(
    values: NDArray[np.float64], queries: Sequence[Hashable], resamples: int, confidence: float
) -> None:
    if values.shape != (len(queries),) or not np.isfinite(values).all():
        raise InvalidInputError(
            f"Got values of shape {values.shape} for {len(queries)} queries; expected one finite "
            "number for each: leave out what was not measured."
        )
    if resamples < _LEAST_RESAMPLES or not 0.0 < confidence < 1.0:
        raise InvalidInputError(
            f"Got {resamples} resamples at confidence {confidence}; expected at least "
            f"{_LEAST_RESAMPLES} and a confidence between 0 and 1."
        )
