"""From results to curves, cells of language and attack, seeds, and the drop of recall.

Everything is over queries: a query's seeds are measurements of one query, and count together.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from app.errors import InvalidInputError
from app.robustness.binomial import share_interval
from app.robustness.bootstrap import Estimate, mean_over_queries
from app.robustness.findings import (
    Curves,
    EditStep,
    Findings,
    LangAttack,
    Ranks,
    SeedSpread,
    Share,
    SuccessCurves,
)
from app.robustness.goal import SEARCH_DEPTH
from app.robustness.macro import over_languages, over_seeds
from app.robustness.multiplicity import adjust_p_values
from app.robustness.request import ProbeRequest, StatsChoice
from app.robustness.statistics import UNDETERMINED, Row
from app.robustness.survival import Curve, calls_to_success
from app.text.script import parse_lang

_COUNTED = ("success", "held")


def find(rows: Sequence[Row], request: ProbeRequest) -> Findings:
    """Sum up the rows of a probe."""
    stats = request.stats
    eligible = [row for row in rows if row.result.outcome in _COUNTED]
    names = request.attack_names
    of_attack = _grouped(eligible, lambda row: row.result.attack)
    return Findings(
        curves=Curves(
            _curves(eligible, request.budget.edits, stats.confidence),
            {
                name: _curves(of_attack.get(name, []), request.budget.edits, stats.confidence)
                for name in names
            },
        ),
        cells=_cells(rows, names, stats, request.seed),
        languages=over_languages(
            {lang: _counts(some) for lang, some in _grouped(eligible, _lang).items()},
            confidence=stats.confidence,
        ),
        seeds=_seeds(eligible, of_attack),
        recall_drop=_drop(_worst_rows(rows), stats, request.seed),
    )


def share_of(successes: int, n: int, confidence: float = 0.95) -> Share:
    """Put a share together with its interval."""
    if not n:
        return Share(None, None, None, 0, 0)
    low, high = share_interval(successes, n, confidence)
    return Share(successes / n, low, high, n, successes)


def _lang(row: Row) -> str:
    return row.result.lang or UNDETERMINED


def _grouped(rows: Iterable[Row], key: Callable[[Row], str]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _by_query(rows: Iterable[Row]) -> dict[str, list[Row]]:
    return _grouped(rows, lambda row: row.result.query_id)


def _counts(rows: Iterable[Row]) -> tuple[int, int]:
    queries = _by_query(rows).values()
    return sum(any(row.result.success for row in some) for some in queries), len(queries)


def _curves(rows: Sequence[Row], most_edits: int, confidence: float) -> SuccessCurves:
    queries = list(_by_query(rows).values())
    edits = [
        min((r.result.edits_to_success or math.inf for r in some if r.result.success), default=0)
        for some in queries
    ]
    steps = [
        EditStep(most, share_of(sum(0 < one <= most for one in edits), len(edits), confidence))
        for most in range(1, most_edits + 1)
    ]
    return SuccessCurves(_survival(queries, confidence), tuple(steps))


def _survival(queries: Sequence[Sequence[Row]], confidence: float) -> Curve:
    calls: list[int] = []
    succeeded: list[bool] = []
    for some in queries:
        wins = [r.result.calls_to_success for r in some if r.result.success]
        known = [one for one in wins if one is not None]
        succeeded.append(bool(known))
        calls.append(min(known) if known else max(row.result.queries for row in some))
    return calls_to_success(calls, succeeded, confidence)


def _cells(
    rows: Sequence[Row], names: Sequence[str], stats: StatsChoice, seed: int
) -> tuple[LangAttack, ...]:
    langs = _grouped(rows, _lang)
    cells: list[LangAttack] = []
    for name in names:
        parts = {
            lang: [row for row in some if row.result.attack == name] for lang, some in langs.items()
        }
        counts = {
            lang: _counts(row for row in some if row.result.outcome in _COUNTED)
            for lang, some in parts.items()
        }
        for lang, some in parts.items():
            cells.append(_cell(lang, name, some, _fisher(lang, counts), (stats, seed)))
    known = [n for n, cell in enumerate(cells) if cell.p_value is not None]
    adjusted = adjust_p_values([cells[n].p_value or 0.0 for n in known])
    for n, value in zip(known, adjusted.tolist(), strict=True):
        cells[n] = replace(cells[n], p_adjusted=value)
    return tuple(cells)


def _cell(
    lang: str,
    attack: str,
    rows: Sequence[Row],
    p_value: float | None,
    settings: tuple[StatsChoice, int],
) -> LangAttack:
    stats, seed = settings
    eligible = [row for row in rows if row.result.outcome in _COUNTED]
    successes, n = _counts(eligible)
    queries = list(_by_query(eligible).values())
    return LangAttack(
        lang=lang,
        script=_script(lang),
        attack=attack,
        success=share_of(successes, n, stats.confidence),
        p_value=p_value,
        p_adjusted=None,
        queries_mean=sum(row.result.queries for row in eligible) / n if n else None,
        median_queries=_survival(queries, stats.confidence).median if n else None,
        recall_drop=_drop(eligible, stats, seed),
        worst_rank=_ranks(queries),
        censored=n - successes,
        not_applicable=len(
            {r.result.query_id for r in rows if r.result.outcome == "not_applicable"}
        ),
    )


def _script(lang: str) -> str | None:
    if lang == UNDETERMINED:
        return None
    try:
        return parse_lang(lang).script
    except InvalidInputError:
        return None


def _fisher(lang: str, counts: Mapping[str, tuple[int, int]]) -> float | None:
    """Probability of so many successes or more in a language, the totals given."""
    successes, n = counts[lang]
    all_successes = sum(won for won, _ in counts.values())
    all_queries = sum(tried for _, tried in counts.values())
    if not n or n == all_queries:
        return None
    ways = math.comb(all_queries, n)
    most = min(n, all_successes)
    return min(
        1.0,
        sum(
            math.comb(all_successes, won) * math.comb(all_queries - all_successes, n - won)
            for won in range(successes, most + 1)
        )
        / ways,
    )


def _ranks(queries: Sequence[Sequence[Row]]) -> Ranks:
    deepest = SEARCH_DEPTH + 1
    worst = [
        max((row.worst.rank or deepest) for row in some if row.worst is not None)
        for some in queries
    ]
    if not worst:
        return Ranks(None, None, None, 0)
    median, p95 = np.quantile(worst, [0.5, 0.95], method="higher").tolist()
    return Ranks(float(median), float(p95), max(worst), sum(one == deepest for one in worst))


def _seeds(eligible: Sequence[Row], of_attack: Mapping[str, Sequence[Row]]) -> SeedSpread | None:
    if not eligible:
        return None

    def spread(rows: Sequence[Row]) -> list[float]:
        groups: dict[int, list[Row]] = {}
        for row in rows:
            groups.setdefault(row.result.seed, []).append(row)
        counts = [_counts(some) for _, some in sorted(groups.items())]
        return [successes / n for successes, n in counts]

    return SeedSpread(
        over_seeds(spread(eligible)),
        {name: over_seeds(spread(rows)) for name, rows in of_attack.items()},
    )


def _worst_rows(rows: Sequence[Row]) -> list[Row]:
    reached = [row for row in rows if row.worst is not None and row.clean is not None]
    return [
        max(some, key=lambda row: row.worst.badness if row.worst else (0.0, 0.0))
        for some in _by_query(reached).values()
    ]


def _drop(rows: Sequence[Row], stats: StatsChoice, seed: int) -> Estimate:
    known = [(row, row.clean, row.worst) for row in rows]
    drops = [
        (clean.found - worst.found) / len(row.result.relevant)
        for row, clean, worst in known
        if clean is not None and worst is not None
    ]
    names = [row.result.query_id for row, clean, worst in known if clean and worst]
    return mean_over_queries(
        drops, names, seed=seed, resamples=stats.bootstrap, confidence=stats.confidence
    )
