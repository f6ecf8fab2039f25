"""Two runs language by language: what changed, how surely, and which way each language moved.

A language is called better or worse only where its corrected p-value says so; the interval beside
it is not corrected.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from app.robustness.markup import plain
from app.robustness.plots import Caption
from app.robustness.reading import Record, count, number, parts, short, word
from training.xtyntegra.report_heat import edits_words, heat_of
from training.xtyntegra.report_names import (
    CLEAN,
    Group,
    group_name,
    language_of,
    spoken,
    tenth,
)
from training.xtyntegra.report_points import marks, moved
from training.xtyntegra.report_reading import Reading
from training.xtyntegra.report_svg import Dot, differences, scatter
from training.xtyntegra.report_tables import DASH, Row, fold, grid

_NORMAL = 1.959963984540054
_MINUS = "\N{MINUS SIGN}"
_SHORT = 10
_LABELS = 9
_MOST = 400
SIGNS = {"better": "\u25b2", "worse": "\u25bc", "same": ""}


@dataclass(frozen=True, slots=True)
class Change:
    """One language of a task under one condition, in two runs: shares of queries right first.

    Attributes:
        low: Lower bound of the difference; None where it is not known.
        high: Upper bound.
        q_value: Corrected for all languages.
        kind: ``better``, ``worse``, or ``same`` where chance may have done it.
    """

    group: Group
    condition: str
    lang: str
    track: str
    before: float
    after: float
    difference: float
    low: float | None
    high: float | None
    q_value: float | None
    kind: str


def changes_of(pair: Record, q: float) -> list[Change]:
    """Read the cells of a pair of runs; those without a difference are left out."""
    return [one for cell in parts(pair, "cells") if (one := _change(cell, q))]


def paired_interval(only_first: int, only_second: int, n: int) -> tuple[float, float]:
    """Bound the difference of two shares of the same queries with a confidence of 95%.

    Args:
        only_first: Queries that only the first has right.
        only_second: Queries that only the second has right.
        n: All queries, at least 1.

    References:
        Agresti and Min 2005, Simple improved confidence intervals for comparing matched
        proportions, https://doi.org/10.1002/sim.1781: Wald's interval with half a query more in
        each cell of the two-by-two table.
    """
    first, second, total = only_first + 0.5, only_second + 0.5, n + 2.0
    middle = (second - first) / total
    spread = math.sqrt(first + second - (second - first) ** 2 / total) / total
    return max(-1.0, middle - _NORMAL * spread), min(1.0, middle + _NORMAL * spread)


def points(value: float | None, decimals: int = 1) -> str:
    """Write a difference of shares in points, with its sign."""
    return DASH if value is None else f"{100 * value:+.{decimals}f}".replace("-", _MINUS)


def points_bounds(low: float | None, high: float | None) -> str:
    """Write the interval of a difference."""
    return "" if low is None or high is None else f"[{points(low)}, {points(high)}]"


def small_p(value: float | None) -> str:
    """Write a p-value; what is below a thousandth only as that."""
    return "&lt;0.001" if value is not None and value < 0.001 else short(value)


def tinted(value: float | None, title: str = "", sign: str = "") -> str:
    """Write a difference as a cell, tinted where it is a point or more, and more from five on."""
    if value is None:
        return f'<td class="none">{DASH}</td>'
    size = 2 if abs(value) >= 0.05 else 1 if abs(value) >= 0.01 else 0
    kind = f"{'better' if value > 0 else 'worse'}{size}" if size else "plain"
    hint = f' title="{escape(title)}"' if title else ""
    return f'<td class="{kind}"{hint}>{sign}{" " if sign else ""}{points(value)}</td>'


def tally(changes: Sequence[Change]) -> str:
    """Write how many languages are better, worse, and not told apart."""
    counts = {kind: sum(one.kind == kind for one in changes) for kind in SIGNS}
    return (
        f"{counts['better']:,} better, {counts['worse']:,} worse, {counts['same']:,} not told apart"
    )


def languages_section(changes: Sequence[Change], group: Group, key: str) -> str:
    """Draw a task's languages without attack from worst to best, and list the ends of the row."""
    some = [one for one in changes if one.group == group and one.condition == CLEAN]
    if not some:
        return "<p>No language of both runs was compared without attack.</p>"
    some.sort(key=lambda one: (one.difference, one.lang))
    caption = Caption(
        f"differences-{key}",
        f"Difference by language: {plain(group_name(group), 90)}",
        f"{len(some):,} languages: {tally(some)}. The least is {points(some[0].difference)} "
        f"points for {plain(some[0].lang)}, the most {points(some[-1].difference)} for "
        f"{plain(some[-1].lang)}.",
        "languages, from the one that lost most",
        "difference of accuracy@1, in points",
    )
    bars = [
        (
            one.difference,
            one.difference if one.low is None else one.low,
            one.difference if one.high is None else one.high,
            one.kind,
        )
        for one in some
    ]
    picture = differences(caption, bars)
    ends = some if len(some) <= 2 * _SHORT else [*some[:_SHORT], *some[-_SHORT:]]
    title = "Languages that lost and won most" if len(ends) < len(some) else "Each language"
    table = _table(f"{title}, in percent and points", ends)
    whole = (
        fold(f"All {len(some):,} languages", _table("Every language, in percent", some[:_MOST]))
        if len(ends) < len(some)
        else ""
    )
    return (
        f'<div class="beside"><figure><figcaption>{escape(caption.title)}</figcaption>{picture}'
        f'<p class="note">Blue {SIGNS["better"]}: better, orange {SIGNS["worse"]}: worse, after '
        "correction for the number of languages; gray: chance may have done it. Whiskers: 95% "
        f"intervals, not corrected.</p></figure><div>{table}{whole}</div></div>"
    )


def moves_section(first: Reading, second: Reading, key: str) -> str:
    """Draw each language from where the first run has it, clean and attacked, to the second."""
    shared = [group for group in first.attacked if group in second.attacked]
    heats = (heat_of(first, shared[0]), heat_of(second, shared[0])) if shared else (None, None)
    before, after = heats
    if before is None or after is None or before.edits != after.edits:
        return "<p>The two runs have no attacks in common, so no robustness is compared.</p>"
    pairs = moved(before, after)
    far = sorted(pairs, key=lambda pair: -abs(pair[1].robust - pair[0].robust))[:_LABELS]
    named = {one.lang for one, _ in far}
    dots = [
        Dot(
            now.clean,
            now.robust,
            now.track,
            now.lang if now.lang in named else "",
            (then.clean, then.robust),
        )
        for then, now in sorted(pairs, key=lambda pair: pair[0].lang not in named)
    ]
    better = sum(now.robust > then.robust for then, now in pairs)
    caption = Caption(
        f"moves-{key}",
        f"Clean and attacked, {plain(group_name(shared[0]), 90)}",
        f"Each line leads from the first run to the mark of the second. {better:,} of "
        f"{len(pairs):,} languages stand higher under attack in the second.",
        "accuracy@1 clean",
        f"accuracy@1, mean of attacks with {edits_words(before.edits)}",
    )
    rows: list[Row] = [
        (
            "",
            [
                spoken(now.lang),
                f"{tenth(then.clean)} \u2192 {tenth(now.clean)}",
                f"{tenth(then.robust)} \u2192 {tenth(now.robust)}",
                tinted(now.robust - then.robust),
            ],
        )
        for then, now in far
    ]
    heads = ["language", "clean", "attacked", "points"]
    table = grid("Languages that moved most under attack, in percent", heads, rows)
    key = marks([dot.kind for dot in dots])
    return (
        '<div class="beside"><figure><figcaption>'
        f"{escape(caption.title)}</figcaption>{scatter(caption, dots)}{key}"
        '<p class="note">A line leads from the first run to the mark of the second: blue upwards, '
        "orange downwards under attack.</p></figure>"
        f"<div>{table}</div></div>"
    )


def _table(title: str, changes: Sequence[Change]) -> str:
    rows: list[Row] = [
        (
            "",
            [
                spoken(one.lang),
                f"<td>{escape(plain(one.track))}</td>",
                f"{tenth(one.before)} \u2192 {tenth(one.after)}",
                tinted(one.difference, sign=SIGNS[one.kind]),
                f"<td>{points_bounds(one.low, one.high) or DASH}</td>",
                small_p(one.q_value),
            ],
        )
        for one in changes
    ]
    heads = ["language", "track", "accuracy@1", "points", "interval", "corrected p"]
    return grid(title, heads, rows, "dense")


def _change(cell: Record, q: float) -> Change | None:
    before, after = number(cell, "baseline"), number(cell, "other")
    if before is None or after is None:
        return None
    found = number(cell, "difference")
    difference = after - before if found is None else found
    q_value = number(cell, "q_value")
    sure = q_value is not None and q_value <= q and difference != 0
    low, high = _bounds(cell)
    langs = (word(cell, "query_lang") or "und", word(cell, "document_lang") or "")
    return Change(
        group=(word(cell, "task") or "", word(cell, "setting") or ""),
        condition=word(cell, "condition") or CLEAN,
        lang=language_of(*langs),
        track=word(cell, "track") or "other",
        before=before,
        after=after,
        difference=difference,
        low=low,
        high=high,
        q_value=q_value,
        kind="same" if not sure else "better" if difference > 0 else "worse",
    )


def _bounds(cell: Record) -> tuple[float | None, float | None]:
    low, high, n = number(cell, "low"), number(cell, "high"), count(cell, "queries")
    if low is not None and high is not None:
        return low, high
    only = [number(cell, name) for name in ("only_baseline", "only_other")]
    whole = all(one is not None and one == int(one) for one in only)
    if not n or not whole or (word(cell, "condition") or CLEAN) != CLEAN:
        return None, None
    return paired_interval(int(only[0] or 0), int(only[1] or 0), n)
