"""The tables of a probe's page: heat map, languages, attacks, white box, a sample of results."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from app.robustness.markup import plain, show
from app.robustness.reading import (
    FEW,
    Record,
    by_name,
    count,
    flag,
    interval,
    number,
    part,
    parts,
    percent,
    share,
    short,
    word,
)
from app.robustness.style import heat_class

MOST_LANGUAGES = 60
MOST_ATTACKS = 40
MOST_RESULTS = 200
_DASH = "\N{EN DASH}"
_SURE = 0.05


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """Write a table that scrolls on a narrow screen.

    Args:
        caption: What it is, as text.
        heads: Of the columns, as text.
        rows: Cells as HTML; the first of each row is its head. A cell that is a whole ``<td>`` is
            left as it is.
        kind: Class of the table.
    """
    body: list[str] = []
    for first, *rest in rows:
        cells = "".join(
            cell if cell.startswith("<td") else f'<td class="number">{cell}</td>' for cell in rest
        )
        body.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    top = "".join(f'<th scope="col">{head}</th>' for head in map(escape, heads))
    named = f' class="{kind}"' if kind else ""
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f"<table{named}><caption>{escape(caption)}</caption><thead><tr>{top}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def text_cell(html: str) -> str:
    """Write a cell that holds words, not a number."""
    return f"<td>{html}</td>"


def heat_map(report: Record) -> str:
    """Write each language under each attack: share of queries broken, interval, and how many."""
    cells = parts(report, "cells")
    if not cells:
        return "<p>This report has no cells of language and attack.</p>"
    queries: dict[str, int] = {}
    grid: dict[tuple[str, str], Record] = {}
    for cell in cells:
        lang, attack = word(cell, "lang") or "und", word(cell, "attack") or ""
        grid[lang, attack] = cell
        queries[lang] = max(queries.get(lang, 0), count(part(cell, "success"), "n"))
    langs = sorted(queries, key=lambda lang: (-queries[lang], lang))
    attacks = list(dict.fromkeys(attack for _, attack in grid))
    rows = [
        [show(lang), *(_heat(grid.get((lang, attack), {})) for attack in attacks[:MOST_ATTACKS])]
        for lang in langs[:MOST_LANGUAGES]
    ]
    heads = ["language", *(plain(attack) for attack in attacks[:MOST_ATTACKS])]
    return (
        table("Share of queries broken, by language and attack", heads, rows, "heat")
        + _bounded(len(langs), MOST_LANGUAGES, "languages, those with most queries")
        + _bounded(len(attacks), MOST_ATTACKS, "attacks")
        + f'<p class="note">Below each share: its interval, and n, the eligible queries. \u2020 '
        f"and a dashed border: fewer than {FEW} queries, so the share says little. \u25b2: the "
        "language breaks more often than the others under this attack, and chance alone would "
        f"hardly do that (adjusted p below {_SURE}).</p>"
    )


def _heat(cell: Record) -> str:
    one = share(part(cell, "success"))
    if one.value is None:
        why = "not applicable" if count(cell, "not_applicable") else "none eligible"
        return f'<td class="none">{_DASH}<small>{why}</small></td>'
    p_value = number(cell, "p_adjusted")
    signs = ("\u2020" if one.n < FEW else "") + (
        "\u25b2" if p_value is not None and p_value < _SURE else ""
    )
    small = " small" if one.n < FEW else ""
    return (
        f'<td class="{heat_class(one.value)}{small}"><b>{percent(one.value)}</b>{signs}'
        f"<small>{interval(one.low, one.high)} n={one.n:,}</small></td>"
    )


_COUNTS = ("queries", "eligible", "broken", "share broken", "interval")
_QUALITY = ("first hit right", "under attack", "recall", "under attack", "MRR", "under attack")


def groups_table(caption: str, groups: Mapping[str, Record], head: str) -> str:
    """Write a row for each language or attack: counts, the rate, quality clean and attacked."""
    heads = [head, *_COUNTS, *_QUALITY, "not eligible", "not applicable", "not reached"]
    names = sorted(groups, key=lambda name: (-_rate(groups[name]), name))
    rows = [[show(name), *_group(groups[name])] for name in names[: 4 * MOST_LANGUAGES]]
    return table(caption, heads, rows) + _bounded(len(names), 4 * MOST_LANGUAGES, f"{head}s")


def _rate(cell: Record) -> float:
    """The share broken; below 0 where there is none, to stand last."""
    value = number(part(cell, "attack_success_rate"), "value")
    return -1.0 if value is None else value


def _group(cell: Record) -> list[str]:
    rate = share(part(cell, "attack_success_rate"))
    clean, attacked = part(cell, "clean"), part(cell, "attacked")
    quality = [
        percent(number(side, name)) if name != "mrr" else short(number(side, name))
        for name in ("accuracy_at_1", "recall_at_k", "mrr")
        for side in (clean, attacked)
    ]
    left = [f"{count(cell, name):,}" for name in ("not_eligible", "not_applicable", "not_reached")]
    few = "\u2020" if 0 < rate.n < FEW else ""
    return [
        f"{count(cell, 'all'):,}",
        f"{rate.n:,}",
        f"{rate.successes:,}",
        percent(rate.value) + few,
        interval(rate.low, rate.high) or _DASH,
        *quality,
        *left,
    ]


def white_box_table(report: Record) -> str:
    """Write what the attacks from the inside reached; nothing if there were none."""
    rows: list[list[str]] = []
    for attack in parts(report, "white_box"):
        one = share(part(attack, "success"))
        epsilon = number(attack, "epsilon")
        trigger = word(attack, "trigger")
        sigma = number(part(attack, "smoothing"), "sigma")
        noisy = "" if sigma is None else f", smoothed with sigma {short(sigma)}"
        note = (f"Trigger: {show(trigger)}. " if trigger else "") + show(word(attack, "note"), 300)
        rows.append(
            [
                show(word(attack, "attack")) + noisy,
                _DASH if epsilon is None else f"{short(epsilon)} ({show(word(attack, 'ball'))})",
                f"{one.successes:,} of {one.n:,}",
                percent(one.value),
                interval(one.low, one.high) or _DASH,
                f"{count(attack, 'calls'):,}",
                text_cell("yes" if flag(attack, "complete") else "cut short"),
                f'<td class="long">{note}</td>',
            ]
        )
    if not rows:
        return ""
    heads = ["attack", "radius", "broken", "share", "interval", "calls", "complete", "note"]
    return table("Attacks from the inside, which see the model's gradients", heads, rows)


def results_sample(report: Record) -> str:
    """Write the worst results as a table, and say how many are left out."""
    results = parts(report, "results")
    worst = sorted(results, key=worst_first)[:MOST_RESULTS]
    rows = [
        [
            show(word(one, "query_id")),
            text_cell(show(word(one, "attack"))),
            text_cell(show(word(one, "lang"))),
            text_cell(show((word(one, "outcome") or "").replace("_", " "))),
            rank(one, "clean_rank"),
            rank(one, "worst_rank"),
            f"{len(parts(one, 'edits')):,}",
            f"{count(one, 'queries'):,}",
        ]
        for one in worst
    ]
    heads = ["query", "attack", "language", "outcome", "clean", "worst", "edits", "tried"]
    return (
        f"<details><summary>{len(rows):,} of {len(results):,} results</summary>"
        + table("Results, the worst first", heads, rows)
        + "</details>"
        + _bounded(len(results), MOST_RESULTS, "results, the worst; the CSV has all")
    )


def worst_first(result: Record) -> tuple[float, float, float]:
    """Order results: successes first, by how deep the document went, then by fewer edits."""
    depth = number(result, "worst_rank")
    deep = float("inf") if flag(result, "beyond_depth") else depth or 0
    return (not flag(result, "success"), -deep, len(parts(result, "edits")))


def rank(result: Record, name: str) -> str:
    """Write a rank; in words where the document is beyond the search depth."""
    value = number(result, name)
    if value is None:
        return "beyond" if name == "worst_rank" and flag(result, "beyond_depth") else _DASH
    return short(value)


def group_names(report: Record, name: str) -> dict[str, Record]:
    """Read the cells of a summary by language or by attack."""
    return by_name(part(report, "summary"), name)


def _bounded(there: int, most: int, what: str) -> str:
    if there <= most:
        return ""
    return f'<p class="note">Shown are {most:,} of {there:,} {what}.</p>'
