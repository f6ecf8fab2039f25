"""What an attack from the corpus side came to, on a probe's page."""

from app.robustness.markup import show
from app.robustness.reading import (
    Record,
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
from app.robustness.tables import table

_MOST_DOCUMENTS = 5
_DASH = "\N{EN DASH}"


def misled(report: Record) -> str:
    """Tell of documents that an attacker would add or rewrite; that there were none, otherwise."""
    return "".join(map(_attack, parts(report, "poisoning"))) or (
        "<p>The collection was not attacked: no document was added, changed or removed to "
        "mislead.</p>"
    )


def _attack(found: Record) -> str:
    made = parts(found, "documents")
    if word(found, "kind") == "promotion":
        what = "One document was rewritten so that it comes up for more queries"
        other, others = "as it was", parts(found, "before")
    else:
        many = f"{len(made):,} documents made to mislead were"
        what = f"{'1 document made to mislead was' if len(made) == 1 else many} added"
        other, others = "at most", parts(found, "bound")
    cut = "" if flag(found, "complete") else " The budget or the time ended before it was done."
    lead = (
        f"<p>{what}, on a copy: the collection itself was not changed. "
        f"{count(found, 'known'):,} queries were known to the attacker; counted are others."
        f"{cut} {show(word(found, 'note'))}</p>"
    )
    beside = {count(one, "depth"): one for one in others}
    rows = [
        [
            f"first {count(one, 'depth'):,}",
            *_rate(one),
            _rate(beside[depth])[0] if (depth := count(one, "depth")) in beside else _DASH,
        ]
        for one in parts(found, "shares")
    ]
    heads = ["hits", "queries that see it", "interval", other]
    return lead + table("Queries that see a document of the attacker's", heads, rows) + _texts(made)


def _rate(found: Record) -> list[str]:
    rate = share(part(found, "share"))
    return [percent(rate.value), interval(rate.low, rate.high)]


def _texts(made: list[Record]) -> str:
    items = [
        f"<li>{show(word(one, 'text'), 400)} <small>(mean cosine with the queries it was made "
        f"for: {short(number(one, 'nearness'))})</small></li>"
        for one in made[:_MOST_DOCUMENTS]
    ]
    if len(made) > _MOST_DOCUMENTS:
        items.append(f"<li>and {len(made) - _MOST_DOCUMENTS:,} more in the JSON.</li>")
    return f"<details><summary>What was written</summary><ul>{''.join(items)}</ul></details>"
