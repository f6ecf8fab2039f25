"""How many model calls a success takes, where many attacks end without one (Kaplan-Meier).

An attack that ended without success, at its budget or by a deadline, is not a failure at that
count: it is *censored* there, and only says that the success would have come later. Leaving such
attacks out makes a retriever look weaker, counting them as failures makes it look stronger.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from app.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Step:
    """The curve from one number of calls at which attacks succeeded, to the next.

    Attributes:
        calls: Model calls.
        at_risk: Attacks that had neither succeeded nor ended before.
        successes: Those that succeeded with just so many calls.
        share: Estimated share of attacks that have succeeded by then.
        low: Lower bound of the share, pointwise.
        high: Upper bound of the share.
    """

    calls: int
    at_risk: int
    successes: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Success against model calls.

    Attributes:
        steps: Where the curve rises, by rising calls.
        attacks: How many there were.
        censored: How many of them ended without success.
        median: Calls by which half of the attacks have succeeded; None if the curve never gets
            there.
        median_low: Lower bound of the median; None if even the upper band stays below a half.
        median_high: Upper bound; None if the lower band stays below a half: not known.
    """

    steps: tuple[Step, ...]
    attacks: int
    censored: int
    median: int | None
    median_low: int | None
    median_high: int | None

    def share_by(self, calls: int) -> float:
        """Estimated share of attacks that have succeeded with at most so many calls."""
        return max((step.share for step in self.steps if step.calls <= calls), default=0.0)


def calls_to_success(
    calls: Sequence[int], succeeded: Sequence[bool], confidence: float = 0.95
) -> Curve:
    """Estimate the share of attacks that succeed within so many model calls.

    The attacks have to be independent of one another: one for each query. Censoring must not
    depend on how near the success was, which a budget or a deadline does not.

    Args:
        calls: Calls until the first success, or until the end without one; at least 0 each.
        succeeded: Whether it was a success.
        confidence: Of the band at each point, in (0, 1).

    Raises:
        InvalidInputError: If the lengths differ, a count is negative, or the confidence does not
            fit.

    References:
        Kaplan and Meier 1958, https://doi.org/10.2307/2281868; variance by Greenwood 1926; band
        and its inversion for the median on the log(-log) scale: Kalbfleisch and Prentice 2002,
        section 1.4; Brookmeyer and Crowley 1982, https://doi.org/10.2307/2530286.
    """
    if len(calls) != len(succeeded) or any(count < 0 for count in calls):
        raise InvalidInputError(
            f"Got {len(calls)} counts of calls, the least {min(calls, default=0)}, and "
            f"{len(succeeded)} outcomes; expected one outcome for each count, none negative."
        )
    if not 0.0 < confidence < 1.0:
        raise InvalidInputError(f"confidence is {confidence}; expected more than 0, less than 1.")
    z = -NormalDist().inv_cdf((1.0 - confidence) / 2)
    steps = _steps(sorted(zip(calls, succeeded, strict=True)), z)
    return Curve(
        tuple(steps),
        len(calls),
        len(calls) - sum(map(bool, succeeded)),
        _first(steps, "share"),
        _first(steps, "high"),
        _first(steps, "low"),
    )


def _steps(ends: Sequence[tuple[int, bool]], z: float) -> list[Step]:
    steps: list[Step] = []
    survival, greenwood, low = 1.0, 0.0, 0.0
    for count in sorted({calls for calls, succeeded in ends if succeeded}):
        # Who is censored at a count was still at risk there, by convention.
        at_risk = sum(calls >= count for calls, _ in ends)
        successes = sum(calls == count and bool(succeeded) for calls, succeeded in ends)
        survival *= 1.0 - successes / at_risk
        if successes < at_risk:
            greenwood += successes / (at_risk * (at_risk - successes))
            low, high = _band(survival, greenwood, z)
        else:
            # All have succeeded: the variance is not defined there; the lower bound stays.
            survival, high = 0.0, 1.0
        steps.append(Step(count, at_risk, successes, 1.0 - survival, low, high))
    return steps


def _band(survival: float, greenwood: float, z: float) -> tuple[float, float]:
    """Bound the share of successes; inside (0, 1) whatever the variance."""
    half = z * math.sqrt(greenwood) / abs(math.log(survival))
    return 1.0 - survival ** math.exp(-half), 1.0 - survival ** math.exp(half)


def _first(steps: Sequence[Step], name: str) -> int | None:
    return next((step.calls for step in steps if getattr(step, name) >= 0.5), None)
