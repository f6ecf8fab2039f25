"""A probe's results as a table: one row for each query, attack and seed (RFC 4180, UTF-8)."""

import csv
import io
import json
from collections.abc import Iterator

import regex

from app.robustness.reading import (
    Record,
    check_report,
    flag,
    number,
    part,
    parts,
    word,
    words,
)
from app.robustness.visible import edits_of, escape_unseen, is_unseen, undo_edits

COLUMNS = {
    "stage": "`search`: a family of perturbations; `white_box`: an attack from the inside",
    "query_id": "the query",
    "attack": "the family, or the white-box attack",
    "epsilon": "white box: the radius in mean token norms",
    "ball": "white box: what the radius bounds",
    "seed": "the seed the attack was run with",
    "lang": "the query's language as given",
    "outcome": "`success`, `held`, `not_eligible`, `not_applicable`, `not_reached`",
    "reason": "why, for the last three",
    "clean_rank": "rank of the best relevant document for the query as it came",
    "worst_rank": "the highest rank found for it",
    "beyond_depth": "`true`: worst_rank is empty because it is beyond the search depth",
    "clean_value": "the goal's own measure for the query as it came",
    "worst_value": "the same for the adversarial text",
    "margin": "what was left until success; at most 0 once reached",
    "shift": "how far the vector moved, as a chord",
    "size": "white box: norm of the noise, in mean token norms",
    "edits": "how many edits the adversarial text has",
    "queries": "texts tried",
    "calls_to_success": "texts tried until the first success",
    "edits_to_success": "fewest edits of a text that succeeded",
    "rejected": "texts refused by the second encoder, or by the floor for the language",
    "complete": "`true`: the whole budget was used, or a success ended it",
    "relevant": "the reference documents, as a JSON list",
    "query": "the query, guarded (below)",
    "query_escaped": "the query with unseen characters escaped: exact",
    "adversarial": "the worst text, guarded; empty for noise on embeddings",
    "adversarial_escaped": "the worst text with unseen characters escaped: exact",
    "edits_json": "the edits as a JSON list: start, end, before, after",
    "collection": "which was probed",
    "budget_edits": "most edits in one text",
    "budget_queries": "most texts tried for each query under each attack",
    "budget_seconds": "time for all of it",
    "budget_total_queries": "most texts sent to the encoder in all; empty: any number",
    "confidence": "of the intervals in the report",
    "sigma": "white box: the noise of the smoothed search that was attacked; empty: the plain one",
}
"""Each column, in order, and what it holds; a cell is empty where there is no value."""

_STARTS = frozenset("=+-@\uff1d\uff0b\uff0d\uff20|%")
_UNWRITABLE = regex.compile(r"[\x00\p{Cs}]", regex.V1)


def to_csv(report: object) -> str:
    """Write the results of a probe as CSV, with a heading, CRLF at the end of each row.

    What a spreadsheet could take for a formula gets an apostrophe in front; the ``_escaped``
    columns spell its first character as a code point instead, so they can be turned back.

    Args:
        report: The report, read from JSON.

    Raises:
        InvalidInputError: If it is not a probe's report.
    """
    checked = check_report(report)
    table = io.StringIO()
    writer = csv.writer(table, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    asked = _asked(checked)
    for stage, result in _results(checked):
        row = _row(stage, result) | asked
        writer.writerow([row[name] for name in COLUMNS])
    return table.getvalue()


def guard(text: str) -> str:
    """Make a text safe to open in a spreadsheet: no formula, nothing that UTF-8 cannot write."""
    text = _UNWRITABLE.sub("\ufffd", text)
    return f"'{text}" if _begins_formula(text) else text


def guard_escaped(text: str) -> str:
    r"""Escape unseen characters, and the first one if it could begin a formula; can be undone."""
    escaped = escape_unseen(text)
    if _begins_formula(escaped):
        lead = len(escaped) - len(escaped.lstrip())
        first = escaped[lead]
        return f"{escaped[:lead]}\\u{{{ord(first):04X}}}{escaped[lead + 1 :]}"
    return escaped


def _begins_formula(text: str) -> bool:
    if text[:1] in ("\t", "\r", "\n"):
        return True
    first = next((one for one in text if not one.isspace() and not is_unseen(one)), "")
    return first in _STARTS


def _results(report: Record) -> Iterator[tuple[str, Record]]:
    for result in parts(report, "results"):
        yield "search", result
    for attack in parts(report, "white_box"):
        shared = {name: attack.get(name) for name in ("attack", "epsilon", "ball")}
        shared["sigma"] = part(attack, "smoothing").get("sigma")
        for result in parts(attack, "results"):
            yield "white_box", {"queries": result.get("calls")} | dict(result) | shared


def _asked(report: Record) -> dict[str, str]:
    """What all rows have in common, so that tables of several probes can be put together."""
    budget, stats = part(report, "budget"), part(report, "stats")
    numbers = {f"budget_{name}": number(budget, name) for name in _BUDGET}
    numbers["confidence"] = number(stats, "confidence")
    told = {name: "" if value is None else str(value) for name, value in numbers.items()}
    return {"collection": guard(word(report, "collection") or "")} | told


def _row(stage: str, result: Record) -> dict[str, str]:
    edits = edits_of(result)
    text = word(result, "adversarial_text")
    query = None if text is None else undo_edits(text, edits)
    row = dict.fromkeys(COLUMNS, "") | {"stage": stage, "edits": str(len(edits))}
    for name in ("query_id", "attack", "ball", "lang", "outcome", "reason"):
        row[name] = guard(word(result, name) or "")
    for name in _NUMBERS:
        value = number(result, name)
        row[name] = "" if value is None else str(value)
    for name in ("beyond_depth", "complete"):
        row[name] = str(flag(result, name)).lower() if name in result else ""
    row["relevant"] = json.dumps(words(result, "relevant"))
    row["edits_json"] = json.dumps(parts(result, "edits"), separators=(",", ":"), default=dict)
    for name, one in (("query", query), ("adversarial", text)):
        row[name] = guard(one or "")
        row[f"{name}_escaped"] = guard_escaped(one or "")
    return row


_BUDGET = ("edits", "queries", "seconds", "total_queries")
_NUMBERS = (
    "epsilon",
    "seed",
    "clean_rank",
    "worst_rank",
    "clean_value",
    "worst_value",
    "margin",
    "shift",
    "size",
    "queries",
    "calls_to_success",
    "edits_to_success",
    "rejected",
    "sigma",
)
