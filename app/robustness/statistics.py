"""From results to rates with intervals; the unit is always a query, never a text or an attack.

Attacks on one query are not independent of one another, so a query under several attacks counts
once, by the worst of them. Only then is the interval what it says.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from app.retrieval.metrics import mrr, recall_at_k
from app.robustness.binomial import share_interval
from app.robustness.goal import Standing
from app.robustness.report import Cell, ProbeResult, Quality, Rate, Summary

UNDETERMINED = "und"


@dataclass(frozen=True, slots=True)
class Row:
    """A result with the standings behind it; those are None if it was not reached."""

    result: ProbeResult
    clean: Standing | None
    worst: Standing | None


def summarize(rows: Sequence[Row], confidence: float = 0.95) -> Summary:
    """Summarize all rows, those of each attack, and those of each language."""
    return Summary(
        overall=_cell(rows, confidence),
        by_attack=_split(rows, lambda row: row.result.attack, confidence),
        by_lang=_split(rows, lambda row: row.result.lang or UNDETERMINED, confidence),
    )


def _split(rows: Sequence[Row], key: Callable[[Row], str], confidence: float) -> dict[str, Cell]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return {name: _cell(some, confidence) for name, some in groups.items()}


def _cell(rows: Sequence[Row], confidence: float) -> Cell:
    ordered = sorted(rows, key=lambda row: row.result.query_id)
    queries = [list(group) for _, group in groupby(ordered, lambda row: row.result.query_id)]
    outcomes = [{row.result.outcome for row in query} for query in queries]
    eligible = [outcome & {"success", "held"} for outcome in outcomes]
    reached = [query for query in queries if query[0].clean is not None]
    return Cell(
        clean=_quality((row.clean, row.result) for row, *_ in reached),
        attacked=_quality(_worst(query) for query in reached),
        attack_success_rate=rate_of(
            sum("success" in outcome for outcome in eligible),
            sum(map(bool, eligible)),
            confidence,
        ),
        all=len(queries),
        not_eligible=sum("not_eligible" in outcome for outcome in outcomes),
        not_applicable=sum(outcome == {"not_applicable"} for outcome in outcomes),
        not_reached=sum("not_reached" in outcome for outcome in outcomes),
        incomplete=sum(
            any(not row.result.complete and row.result.queries for row in query)
            for query in queries
        ),
        queries=sum(row.result.queries for row in rows),
    )


def _worst(query: Sequence[Row]) -> tuple[Standing | None, ProbeResult]:
    row = max(query, key=lambda row: row.worst.badness if row.worst else (0, 0.0))
    return row.worst, row.result


def _quality(standings: Iterable[tuple[Standing | None, ProbeResult]]) -> Quality:
    known = [(standing, result) for standing, result in standings if standing is not None]
    if not known:
        return Quality(None, None, None, 0)
    n = len(known)
    ranks = np.array([standing.rank or 0 for standing, _ in known])  # (n,)
    return Quality(
        accuracy_at_1=recall_at_k(ranks, 1),
        recall_at_k=sum(standing.found / len(result.relevant) for standing, result in known) / n,
        mrr=mrr(ranks),
        n=n,
    )


def rate_of(successes: int, n: int, confidence: float = 0.95) -> Rate:
    """Bound a share of queries."""
    if not n:
        return Rate(None, None, None, 0, 0)
    low, high = share_interval(successes, n, confidence)
    return Rate(successes / n, low, high, n, successes)
