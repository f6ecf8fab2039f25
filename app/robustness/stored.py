"""Adversarial texts that were found once, to be tried again: on another model or collection."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.errors import InvalidInputError
from app.text.normalize import normalize
from app.text.perturbations.edits import Edit

TRIED = ("success", "held")
"""Outcomes with a text that was tried."""
UNNAMED = "stored"


@dataclass(frozen=True, slots=True)
class Stored:
    """A text that was found to change what a query finds.

    Attributes:
        query: The query as it came.
        text: The adversarial text.
        relevant: Documents that answer the query; empty: its own clean top hit where it is tried.
        query_id: The query's name; texts of one name are of one query.
        attack: What found it.
        lang: The query's language.
        rank: Its rank when it was found; None: not known, or beyond the search depth.
        success: Whether it succeeded then; None: not known.
    """

    query: str
    text: str
    relevant: tuple[str, ...] = ()
    query_id: str = ""
    attack: str = UNNAMED
    lang: str | None = None
    rank: int | None = None
    success: bool | None = None


def undo_edits(text: str, edits: Sequence[Edit]) -> str:
    """Find the query that edits were made in.

    Raises:
        ValueError: If the edits were not made so.
    """
    parts: list[str] = []
    done = shift = 0
    for edit in sorted(edits):
        start = edit.start + shift
        end = start + len(edit.after)
        if start < done or text[start:end] != edit.after:
            raise ValueError("An edit does not fit the text.")
        parts += (text[done:start], edit.before)
        done, shift = end, shift + len(edit.after) - len(edit.before)
    return "".join([*parts, text[done:]])


def stored_in(report: Mapping[str, Any], most: int) -> list[Stored]:
    """Read the texts of a report of ``POST /probe/adversarial``.

    Args:
        report: The report; what is not needed is not looked at.
        most: How many texts there may be.

    Raises:
        InvalidInputError: If it is no such report; nothing of it is repeated but places.
    """
    results = report.get("results")
    if not isinstance(results, list) or not results:
        raise InvalidInputError(
            "report.results is no list of results; expected the answer of POST "
            "/probe/adversarial, or a job's report: send it whole, or send texts instead."
        )
    if len(results) > most:
        raise InvalidInputError(
            f"report.results has {len(results)} items; expected at most {most}: send it in parts."
        )
    found: list[Stored] = []
    for index, result in enumerate(results):
        try:
            one = _stored(result)
        except (KeyError, TypeError, ValueError):
            raise InvalidInputError(
                f"report.results[{index}] is no result of a probe; expected query_id, attack, "
                "outcome, relevant, adversarial_text, edits, worst_rank and success as they were "
                "answered: send the report unchanged."
            ) from None
        if one is not None:
            found.append(one)
    if not found:
        raise InvalidInputError(
            "The report has no text that was tried: all its queries were not eligible, not "
            "applicable or not reached; there is nothing to replay."
        )
    return found


def _stored(result: Any) -> Stored | None:
    if result["outcome"] not in TRIED:
        return None
    text, query_id, attack = result["adversarial_text"], result["query_id"], result["attack"]
    lang, rank = result.get("lang"), result["worst_rank"]
    relevant, success = result["relevant"], result["success"]
    sound = (
        all(isinstance(value, str) and value for value in (text, query_id, attack))
        and isinstance(relevant, list)
        and all(isinstance(name, str) for name in relevant)
        and isinstance(lang, str | None)
        and isinstance(rank, int | None)
        and isinstance(success, bool)
    )
    if not sound:
        raise TypeError
    edits = [
        Edit(int(e["start"]), int(e["end"]), str(e["before"]), str(e["after"]))
        for e in result["edits"]
    ]
    query = undo_edits(text, edits)
    if not normalize(query).strip():
        raise ValueError
    return Stored(query, text, tuple(relevant), query_id, attack, lang, rank, success)
