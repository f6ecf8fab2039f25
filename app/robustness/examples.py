"""The worst adversarial texts of a probe, with everything shown that was made to go unnoticed."""

from collections import Counter
from collections.abc import Sequence

from app.robustness.markup import list_changes, mark_pair, show
from app.robustness.reading import Record, count, flag, number, parts, short, word
from app.robustness.tables import rank, worst_first
from app.robustness.visible import edits_of, undo_edits

MOST = 12
_MOST_OF_AN_ATTACK = 3


def worst_examples(report: Record) -> str:
    """Write the worst successes: at most one a query, and a few of each attack."""
    successes = [one for one in parts(report, "results") if flag(one, "success")]
    if not successes:
        return "<p>No attack succeeded, so there are no examples.</p>"
    chosen = _choose(sorted(successes, key=worst_first))
    note = (
        f'<p class="note">Shown are {len(chosen)} of {len(successes):,} successes: the deepest '
        f"ranks, one for a query, at most {_MOST_OF_AN_ATTACK} of an attack. Characters that "
        'cannot be seen stand as <span class="sign">signs</span>; <del>struck out</del> is what an '
        "attack took, <ins>underlined</ins> is what it put in.</p>"
    )
    return note + "".join(_example(one) for one in chosen)


def _choose(ordered: Sequence[Record]) -> list[Record]:
    queries: set[str | None] = set()
    attacks: Counter[str | None] = Counter()
    chosen: list[Record] = []
    for one in ordered:
        query, attack = word(one, "query_id"), word(one, "attack")
        if query not in queries and attacks[attack] < _MOST_OF_AN_ATTACK:
            queries.add(query)
            attacks[attack] += 1
            chosen.append(one)
        if len(chosen) == MOST:
            break
    return chosen


def _example(result: Record) -> str:
    text, lang = word(result, "adversarial_text") or "", word(result, "lang")
    edits = edits_of(result)
    query = undo_edits(text, edits)
    if query is None:
        shown = _row("Attacked", mark_pair(text, text, [], lang)[1])
        shown += '<p class="note">The edits do not fit the text.</p>'
    else:
        before, after = mark_pair(query, text, edits, lang)
        shown = _row("Query", before) + _row("Attacked", after) + list_changes(edits)
    facts = [
        f"rank <b>{rank(result, 'clean_rank')} \u2192 {rank(result, 'worst_rank')}</b>",
        f"{len(edits):,} edit{'' if len(edits) == 1 else 's'}",
        f"{count(result, 'queries'):,} texts tried",
    ]
    if number(result, "shift") is not None:
        facts.append(f"vector moved by {short(number(result, 'shift'))}")
    title = " \u00b7 ".join(show(word(result, name)) for name in ("query_id", "attack", "lang"))
    return f'<article class="example"><h3>{title}</h3><p>{", ".join(facts)}</p>{shown}</article>'


def _row(label: str, text: str) -> str:
    return f'<div class="row"><span class="note">{label}</span>{text}</div>'
