"""A probe's report as one page of HTML that needs nothing else: no script, no file, no network.

What comes from a report is data of strangers: all of it goes through ``markup`` or ``escape``, and
a content security policy in the page forbids what might slip through all the same. The page is of
bounded size; where it shows a part, it says so.
"""

from html import escape

from app.robustness.examples import worst_examples
from app.robustness.markup import plain, show
from app.robustness.misled import misled
from app.robustness.page import page_of
from app.robustness.pictures import certificates, rank_shifts, success_curves
from app.robustness.reading import (
    Record,
    check_report,
    count,
    interval,
    number,
    part,
    parts,
    percent,
    share,
    short,
    word,
    words,
)
from app.robustness.tables import group_names, groups_table, heat_map, results_sample
from app.robustness.tables import white_box_table as white_box
from app.text.perturbations.registry import FAMILIES

_ELIGIBLE = {
    "demotion": "found a relevant document in the first {k} hits",
    "promotion": "did not show the chosen document in the first {k} hits",
    "recall_drop": "found enough relevant documents in the first {k} hits",
    "disagreement": "could be attacked",
    "vector_shift": "could be attacked",
}
_BROKEN = {
    "demotion": "all relevant documents out of the first {k} hits",
    "promotion": "the chosen document into the first {k} hits",
    "recall_drop": "recall in the first {k} hits down by {t} or more",
    "disagreement": "the first {k} hits so far from those of the query that 1 \u2212 rank-biased "
    "overlap is {t} or more",
    "vector_shift": "the query's vector so far that 1 \u2212 cosine is {t} or more",
}
_MOST_LIMITS = 60


def to_html(report: object) -> str:
    """Write a probe's report as a page for readers.

    Args:
        report: The report, read from JSON.

    Raises:
        InvalidInputError: If it is not a probe's report.
    """
    checked = check_report(report)
    sections = (
        ("Languages under attacks", heat_map(checked)),
        ("What a success takes", success_curves(checked)),
        ("How far documents fall", rank_shifts(checked)),
        ("Proven, and found", certificates(checked)),
        ("From the inside", _inside(checked)),
        ("From the corpus side", misled(checked)),
        ("The worst examples", worst_examples(checked)),
        ("By language", _languages(checked)),
        ("By attack", groups_table("Each attack", group_names(checked, "by_attack"), "attack")),
        ("What was not tested", _limits(checked)),
        ("Results", results_sample(checked)),
    )
    return page_of(_title(checked), _headline(checked), sections, _origin(checked))


def _title(report: Record) -> str:
    rate = share(part(part(report, "summary"), "attack_success_rate"))
    return f"Probe: {rate.successes:,} of {rate.n:,} queries broke"


def _headline(report: Record) -> str:
    summary = part(report, "summary")
    rate = share(part(summary, "attack_success_rate"))
    overall = part(summary, "overall")
    by_lang, by_attack = (group_names(report, name) for name in ("by_lang", "by_attack"))
    eligible, broken = _goal(report)
    sure = _confidence(report)
    if rate.n:
        lead = (
            f"<b>{rate.successes:,} of {rate.n:,} queries broke: <span class='together'>"
            f"{percent(rate.value)} {interval(rate.low, rate.high)}.</span></b>"
        )
        means = (
            f"Counted are the queries that {eligible}. Such a query broke if an attack brought "
            f"{broken}. In brackets is the interval in which the share lies with "
            f"{sure}."
        )
    else:
        lead = "<b>No query could be attacked, so this probe says nothing of how it breaks.</b>"
        means = f"Counted would be the queries that {eligible}, and that some attack applies to."
    probed = (
        f"Probed was the encoder {show(word(report, 'model'))}{_collection(report)} with "
        f"{_many(overall, 'all')} in "
        f"{len(by_lang):,} language{'' if len(by_lang) == 1 else 's'}, under {len(by_attack):,} "
        f"kind{'' if len(by_attack) == 1 else 's'} of attack; "
        f"{count(part(report, 'spent'), 'queries'):,} texts were encoded for it in "
        f"{short(number(report, 'elapsed_s'))} seconds.{_budget(report)}"
    )
    partial = word(report, "status") == "partial"
    cut = f"<p><b>Not complete:</b> {show(word(report, 'reason'))}</p>" if partial else ""
    return (
        f"<h1>How queries break</h1><p>{probed}</p><p class='lead'>{lead}</p><p>{means}</p>{cut}"
        f"<dl>{_quality(summary)}{_chance(report)}</dl>"
    )


def _collection(report: Record) -> str:
    name = word(report, "collection")
    return f" on the collection {show(name)}" if name else ""


def _budget(report: Record) -> str:
    """Write how hard the attacks were allowed to try; nothing where the report does not say."""
    budget = part(report, "budget")
    tries = _bounds(budget, (("edits", "edit"), ("queries", "tried text")))
    whole = _bounds(budget, (("seconds", "second"), ("total_queries", "encoded text")))
    each = f" An attack on a query had up to {tries}." if tries else ""
    return each + (f" The whole probe had up to {whole}." if whole else "")


def _bounds(budget: Record, names: tuple[tuple[str, str], ...]) -> str:
    known = [(number(budget, name), what) for name, what in names]
    return " and ".join(
        f"{most:,g} {what}{'' if most == 1 else 's'}" for most, what in known if most is not None
    )


def _confidence(report: Record) -> str:
    asked = number(part(report, "stats"), "confidence")
    if asked is None:
        return "the confidence that was asked for (95% unless asked otherwise)"
    return f"a confidence of {100 * asked:g}%"


def _goal(report: Record) -> tuple[str, str]:
    goal = part(report, "goal")
    kind = word(goal, "type") or "demotion"
    values = {"k": count(report, "top_k"), "t": short(number(goal, "threshold"))}
    eligible = _ELIGIBLE.get(kind, "could be attacked").format(**values)
    other = f"the goal {escape(plain(kind))} about"
    return eligible, _BROKEN[kind].format(**values) if kind in _BROKEN else other


def _many(cell: Record, name: str) -> str:
    n = count(cell, name)
    return f"{n:,} quer{'y' if n == 1 else 'ies'}"


def _quality(summary: Record) -> str:
    clean, attacked = part(summary, "clean"), part(summary, "attacked")
    rows = [
        ("First hit right", "accuracy_at_1", percent),
        ("Recall in the first hits", "recall_at_k", percent),
        ("Mean reciprocal rank", "mrr", short),
    ]
    return "".join(
        f"<dt>{label}</dt><dd>{write(number(clean, name))} \u2192 {write(number(attacked, name))} "
        "under the worst attack</dd>"
        for label, name, write in rows
    )


def _chance(report: Record) -> str:
    """Write the drop of recall with its interval, and the rate over seeds, where they are there."""
    drop, seeds = part(report, "recall_drop"), part(part(report, "seeds"), "overall")
    rows: list[tuple[str, str]] = []
    if number(drop, "value") is not None:
        bounds = interval(number(drop, "low"), number(drop, "high"))
        rows.append(("Recall lost", f"{percent(number(drop, 'value'))} {bounds}"))
    if count(seeds, "seeds") > 1:
        low, high = (percent(number(seeds, name)) for name in ("low", "high"))
        mean = f"{percent(number(seeds, 'mean'))} in the mean, {low} to {high}"
        rows.append((f"Broken with one of {count(seeds, 'seeds')} seeds", mean))
    return "".join(f"<dt>{label}</dt><dd>{value}</dd>" for label, value in rows)


def _languages(report: Record) -> str:
    over = part(report, "languages")
    sentence = ""
    if over:
        few = words(over, "few")
        sentence = (
            f"<p>Each language counting alike, {percent(number(over, 'macro'))} of queries broke; "
            f"the worst is {show(word(over, 'worst'))} with {percent(number(over, 'worst_rate'))} "
            "(of equals the one with most queries). "
            f"{len(few)} of {count(over, 'languages')} languages have too few queries to tell.</p>"
        )
    return sentence + groups_table("Each language", group_names(report, "by_lang"), "language")


def _inside(report: Record) -> str:
    return white_box(report) or (
        "<p>No attack from the inside is part of this probe: nothing was tried that sees the "
        "model's gradients.</p>"
    )


def _limits(report: Record) -> str:
    said = words(report, "limits")
    items = [f"<li>{show(one, 1000)}</li>" for one in said[:_MOST_LIMITS]]
    if len(said) > _MOST_LIMITS:
        items.append(f"<li>and {len(said) - _MOST_LIMITS:,} more sentences in the JSON.</li>")
    tried = group_names(report, "by_attack")
    left = [name for name in FAMILIES if name not in tried]
    own = []
    if left:
        own.append(f"These kinds of attack exist and were not tried: {', '.join(left)}.")
    if not parts(report, "white_box"):
        own.append("An attacker who has the model itself was not played.")
    own.append(
        "Nobody rephrased a query: attacks change letters and words of it, so a query in other "
        "words, of the same meaning, may fare otherwise."
    )
    if not parts(report, "poisoning"):
        own.append("No document was added, changed or removed to mislead.")
    items += [f"<li>{one}</li>" for one in own]
    return (
        "<p>A query that held is not proven safe: it held against the texts that were tried.</p>"
        f"<ul>{''.join(items)}</ul>"
    )


def _origin(report: Record) -> str:
    digest = part(report, "digest")
    known = [("Seed", short(number(report, "seed"))), ("Hits counted", str(count(report, "top_k")))]
    known += [("Search depth", short(number(report, "search_depth")))]
    known += [
        (label, show(word(digest, name)))
        for label, name in (("Digest of the request", "config"), ("of the results", "results"))
        if word(digest, name)
    ]
    rows = "".join(f"<dt>{label}</dt><dd>{value}</dd>" for label, value in known)
    return f'<footer class="note"><h2>Origin</h2><dl>{rows}</dl></footer>'
