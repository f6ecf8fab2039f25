"""Exact statistics of counts: intervals and p-values by the incomplete beta function.

Wilson's interval covers as it says from some twenty tries on; below that the exact one does, at
the price of being wider than it has to be.
"""

import math
from functools import lru_cache

from app.errors import InvalidInputError
from app.retrieval.metrics import Interval, wilson_interval

EXACT_BELOW = 20
"""With fewer tries a share has the exact interval."""

_TINY = 1e-300
_MOST_TERMS = 100_000
_HALVINGS = 200


@lru_cache(maxsize=1 << 14)
def share_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Bound a share: exactly with fewer than ``EXACT_BELOW`` tries, else by Wilson's interval.

    Args:
        successes: How often it happened, 0 to ``n``.
        n: How often it was tried; for 0 the interval is (0, 1).
        confidence: Probability that the interval covers the true share, in (0, 1).

    Raises:
        InvalidInputError: If a value is out of its range.
    """
    if n < EXACT_BELOW:
        return clopper_pearson(successes, n, confidence)
    return wilson_interval(successes, n, confidence)


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Bound a share so that the true one is covered at least as often as promised.

    Args:
        successes: How often it happened, 0 to ``n``.
        n: How often it was tried; for 0 the interval is (0, 1).
        confidence: Probability that the interval covers the true share, in (0, 1).

    Raises:
        InvalidInputError: If a value is out of its range.

    References:
        Clopper and Pearson 1934, https://doi.org/10.1093/biomet/26.4.404.
    """
    _require_share(successes, n)
    _require_probability("confidence", confidence)
    tail = (1.0 - confidence) / 2
    return Interval(
        share_at_least(successes, n, tail), 1.0 - share_at_least(n - successes, n, tail)
    )


def share_at_least(successes: int, n: int, alpha: float) -> float:
    """Bound a share from below, wrongly with probability ``alpha`` at most.

    Args:
        successes: How often it happened, 0 to ``n``.
        n: How often it was tried.
        alpha: Failure probability, in (0, 1).

    Returns:
        The share p at which as many successes or more have the probability ``alpha``; 0 for none.

    Raises:
        InvalidInputError: If a value is out of its range.
    """
    _require_share(successes, n)
    _require_probability("alpha", alpha)
    if not successes:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if beta_share(middle, successes, n - successes + 1) < alpha:
            low = middle
        else:
            high = middle
    return low


def at_least(successes: int, n: int, share: float) -> float:
    """Compute the probability of so many successes or more where each has probability ``share``.

    This is the p-value of the hypothesis that the true share is at most ``share``.

    Raises:
        InvalidInputError: If a value is out of its range.
    """
    _require_share(successes, n)
    if not 0.0 <= share <= 1.0:
        raise InvalidInputError(f"share is {share}; expected 0 to 1: correct it.")
    return beta_share(share, successes, n - successes + 1) if successes else 1.0


def mcnemar(only_first: int, only_second: int) -> float:
    """Compute the two-sided p-value that two systems fail on equally many of the same queries.

    Args:
        only_first: Queries that only the first system loses.
        only_second: Queries that only the second loses.

    References:
        McNemar 1947, https://doi.org/10.1007/BF02295996; the exact form by the binomial tail.
    """
    n = only_first + only_second
    _require_share(only_first, n)
    return min(1.0, 2.0 * at_least(max(only_first, only_second), n, 0.5)) if n else 1.0


def beta_share(x: float, a: float, b: float) -> float:
    """Compute the regularized incomplete beta function I_x(a, b), for positive a and b.

    References:
        NIST Digital Library of Mathematical Functions, 8.17.22; evaluated by Lentz's method.
    """
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    # The fraction converges fast on this side of the mean only.
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - beta_share(1.0 - x, b, a)
    log_front = a * math.log(x) + b * math.log1p(-x)
    log_front += math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(log_front) * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    """Sum up the continued fraction, term by term from the front."""
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        change = 1.0
        for term in (even, odd):
            d = 1.0 / _away_from_zero(1.0 + term * d)
            c = _away_from_zero(1.0 + term / c)
            change *= c * d
        value *= change
        if abs(change - 1.0) < 1e-15:
            break
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _require_share(successes: int, n: int) -> None:
    if not 0 <= successes <= n:
        raise InvalidInputError(
            f"Got {successes} successes of {n}; expected 0 <= successes <= n: correct the counts."
        )


def _require_probability(name: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise InvalidInputError(f"{name} is {value}; expected more than 0 and less than 1.")
