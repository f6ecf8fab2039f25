"""What an attack came to: success rates and drops with intervals, from ranks and metrics by query.

The unit is a query. An attack succeeds on a query that was right (rank 1) before and is wrong in
the worst of its draws; how often is said of the queries that were right, and of all of them.
Queries that a family cannot act on stand as they are in every metric, so that a figure is what its
users get, and are left out of the success rate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.robustness.binomial import share_interval
from training.xtyntegra.drops import relative_drops
from training.xtyntegra.ranks import METRICS
from training.xtyntegra.resampling import Clusters, Drawing

Values = Mapping[str, NDArray[np.float64]]
Figure = dict[str, float | None]

HEADLINE = "accuracy@1"


@dataclass(frozen=True)
class Outcome:
    """Queries before and after an attack.

    Attributes:
        query_ids: Of each query.
        clean: Metric -> values before, shape (queries,).
        draws: The same after, for each draw.
        applies: Whether the attack could act on each query, shape (queries,).

    Raises:
        InvalidInputError: If there is no query or draw, or shapes differ.
    """

    query_ids: Sequence[str]
    clean: Values
    draws: Sequence[Values]
    applies: NDArray[np.bool_]

    def __post_init__(self) -> None:
        n = len(self.query_ids)
        shapes = {values[name].shape for values in (self.clean, *self.draws) for name in METRICS}
        if not n or not self.draws or shapes | {self.applies.shape} != {(n,)}:
            raise InvalidInputError(
                f"Got {n} queries, {len(self.draws)} draws and values of shapes "
                f"{sorted(shapes)}; expected some queries and draws, and a value for each query."
            )

    @property
    def right_clean(self) -> NDArray[np.bool_]:
        """Queries that were right before and can be attacked."""
        return (self.clean[HEADLINE] == 1.0) & self.applies

    @property
    def broken(self) -> NDArray[np.bool_]:
        """Of these, the ones that some draw gets wrong."""
        return self.right_clean & (self.worst(HEADLINE) < 1.0)

    def mean(self, metric: str) -> NDArray[np.float64]:
        """Each query's mean over the draws, shape (queries,)."""
        return np.mean([values[metric] for values in self.draws], axis=0)

    def worst(self, metric: str) -> NDArray[np.float64]:
        """Each query's worst over the draws, shape (queries,)."""
        return np.min([values[metric] for values in self.draws], axis=0)


def metrics_under(outcome: Outcome, drawing: Drawing) -> dict[str, Figure]:
    """Average each metric over draws and queries, with a cluster bootstrap by query id."""
    columns = np.stack([outcome.mean(name) for name in METRICS], axis=1)
    found = Clusters([outcome.query_ids]).estimate([columns], drawing)
    return {
        name: figure(found.value[place], found.low[place], found.high[place])
        for place, name in enumerate(METRICS)
    }


def attack_figures(outcome: Outcome, drawing: Drawing) -> dict[str, object]:
    """Compute what stands under ``attack`` in a result, but what names the attack.

    Args:
        outcome: The queries before and after.
        drawing: Of the intervals by bootstrap. Shares have Wilson's, or the exact one below 20,
            unless several queries have one id.
    """
    n = len(outcome.query_ids)
    everything = np.ones(n, dtype=bool)
    drops = _drops(outcome, everything, drawing)
    acted = _drops(outcome, outcome.applies, drawing) if outcome.applies.any() else None
    nothing: Figure = figure(None, None, None)
    return {
        "not_applicable": n - int(outcome.applies.sum()),
        "right_clean": int(outcome.right_clean.sum()),
        "success_rate": _rate(outcome, outcome.right_clean, drawing),
        "success_share": _rate(outcome, everything, drawing),
        "clean": {name: float(outcome.clean[name].mean()) for name in METRICS},
        "worst": {name: float(outcome.worst(name).mean()) for name in METRICS},
        "relative_drop": drops[HEADLINE],
        "relative_drops": drops,
        "applicable_drop": acted[HEADLINE] if acted else nothing,
    }


def share(successes: int, n: int, confidence: float) -> Figure:
    """Bound a share: exactly below 20, else by Wilson; all null of nothing."""
    if not n:
        return figure(None, None, None) | {"n": 0}
    low, high = share_interval(successes, n, confidence)
    return figure(successes / n, low, high) | {"n": n}


def figure(value: float | None, low: float | None, high: float | None) -> Figure:
    """Write a value with its interval; what is not a number becomes null."""
    found = {"value": value, "low": low, "high": high}
    return {
        name: None if number is None or not np.isfinite(number) else float(number)
        for name, number in found.items()
    }


def _rate(outcome: Outcome, rows: NDArray[np.bool_], drawing: Drawing) -> Figure:
    """Bound the share of some queries that the attack broke."""
    ids = [name for name, wanted in zip(outcome.query_ids, rows, strict=True) if wanted]
    broken = outcome.broken[rows]
    if len(set(ids)) == len(ids):
        return share(int(broken.sum()), len(ids), drawing.confidence)
    found = Clusters([ids]).estimate([broken.astype(np.float64)[:, None]], drawing)
    return figure(found.value[0], found.low[0], found.high[0]) | {"n": len(ids)}


def _drops(outcome: Outcome, rows: NDArray[np.bool_], drawing: Drawing) -> dict[str, Figure]:
    ids = [name for name, wanted in zip(outcome.query_ids, rows, strict=True) if wanted]
    clean = np.stack([outcome.clean[name][rows] for name in METRICS], axis=1)
    after = np.stack([outcome.mean(name)[rows] for name in METRICS], axis=1)
    found = relative_drops(ids, clean, after, drawing)
    return {
        name: figure(found.value[place], found.low[place], found.high[place])
        for place, name in enumerate(METRICS)
    }
