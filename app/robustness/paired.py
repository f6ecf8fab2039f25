"""Two outcomes of the same queries: before and after, or of one model and another."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from app.robustness.binomial import mcnemar
from app.robustness.bootstrap import Estimate, difference
from app.robustness.report import Rate
from app.robustness.request import StatsChoice
from app.robustness.statistics import rate_of


@dataclass(frozen=True, slots=True)
class Change:
    """The same queries now and then, or by one and by the other.

    Attributes:
        queries: Those that both could be asked about.
        before: Success rate of the first, over these.
        now: Of the second.
        only_before: Queries that only the first loses.
        only_now: Queries that only the second loses.
        difference: Second less first, with its paired bootstrap interval.
        p_value: By McNemar's exact test, that both lose equally many.
    """

    queries: int
    before: Rate
    now: Rate
    only_before: int
    only_now: int
    difference: Estimate
    p_value: float


def change_between(
    before: Mapping[Hashable, bool], now: Mapping[Hashable, bool], stats: StatsChoice, seed: int
) -> Change:
    """Compare two outcomes of the same queries; those that only one of them has do not count."""
    keys = [key for key in before if key in now]
    first, second = [before[key] for key in keys], [now[key] for key in keys]
    pairs = list(zip(first, second, strict=True))
    only_before, only_now = pairs.count((True, False)), pairs.count((False, True))
    return Change(
        queries=len(keys),
        before=rate_of(sum(first), len(first), stats.confidence),
        now=rate_of(sum(second), len(second), stats.confidence),
        only_before=only_before,
        only_now=only_now,
        difference=difference(
            [float(value) for value in first],
            [float(value) for value in second],
            keys,
            seed=seed,
            resamples=stats.bootstrap,
            confidence=stats.confidence,
        ),
        p_value=mcnemar(only_before, only_now),
    )
