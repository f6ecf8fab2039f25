"""Filters in the words of Qdrant: JSON of its REST interface, over what ``payload.py`` stores.

Its embedded engine and its server read the same conditions, so both mean what ``filters.matches``
means.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any as Anything

from app.retrieval.filters import METADATA, All, Any, Filter, In, Not, Range
from app.retrieval.payload import field_key, order_of, token

Condition = dict[str, Anything]
FURTHER_PASSAGE: Condition = {"key": "part", "range": {"gte": 1}}
"""Holds for those points of a document that do not hold the document."""


def to_condition(where: Filter, ids_of: Callable[[Sequence[str]], Collection[str]]) -> Condition:
    """Translate a filter.

    Args:
        where: A filter that ``require_filter`` has let pass.
        ids_of: Gives the ids of all points of the documents named.

    Returns:
        A filter with ``must``, ``should`` or ``must_not``, or a condition to be put in one.
    """
    match where:
        case In("doc_id", values):
            return {"has_id": sorted(ids_of([str(value) for value in values]))}
        case In("lang" | "script" as field, values):
            return _one_of(field, [str(value) for value in values])
        case In(field, values):
            return _one_of(f"f.{_key(field)}", [token(value) for value in values])
        case Range():
            return _range(where)
        case All(parts):
            return {"must": [to_condition(part, ids_of) for part in parts]}
        case Any(parts):
            return {"should": [to_condition(part, ids_of) for part in parts]}
        case Not(part):
            return {"must_not": [to_condition(part, ids_of)]}


def fields_of(where: Filter) -> set[str]:
    """Name the metadata keys that a filter asks for."""
    match where:
        case In(field) | Range(field):
            return {field.removeprefix(METADATA)} if field.startswith(METADATA) else set()
        case All(parts) | Any(parts):
            return set().union(*map(fields_of, parts))
        case Not(part):
            return fields_of(part)


def _one_of(path: str, values: Iterable[str]) -> Condition:
    return {"key": path, "match": {"any": sorted(set(values))}}


def _key(field: str) -> str:
    return field_key(field.removeprefix(METADATA))


def _range(where: Range) -> Condition:
    key = _key(where.field)
    parts: list[Condition] = [{"key": f"h.{key}", "range": {"gte": 0}}]  # It is a number
    for name, bound in where.bounds.items():
        order = order_of(bound)
        above = _above(key, order, equal=name in ("gte", "lt"))
        parts.append(above if name in ("gt", "gte") else {"must_not": [above]})
    return {"must": parts}


def _above(key: str, bound: tuple[int, int, int], *, equal: bool) -> Condition:
    """Holds where a number is above a bound, or not below it; parts that are not stored are 0."""
    high, low, rest = (f"{part}.{key}" for part in "hlm")
    if equal and not bound[2]:
        if not bound[1]:
            return {"key": high, "range": {"gte": bound[0]}}
        lower: Condition = {"key": low, "range": {"gte": bound[1]}}
    else:
        last: Condition = {"key": rest, "range": {"gte" if equal else "gt": bound[2]}}
        same_low: Condition = {"must": [_equal(low, bound[1]), last]}
        lower = {"should": [{"key": low, "range": {"gt": bound[1]}}, same_low]}
    same_high: Condition = {"must": [_equal(high, bound[0]), lower]}
    return {"should": [{"key": high, "range": {"gt": bound[0]}}, same_high]}


def _equal(path: str, number: int) -> Condition:
    if number:
        return {"key": path, "range": {"gte": number, "lte": number}}
    return {"must_not": [{"key": path, "range": {"gt": 0}}]}
