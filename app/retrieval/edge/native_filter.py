"""Conditions of ``conditions.py`` as objects of the embedded engine, which reads no JSON."""

from collections.abc import Sequence
from typing import Any

import qdrant_edge as engine

from app.retrieval.conditions import Condition


def to_filter(conditions: Sequence[Condition], without: Sequence[Condition] = ()) -> engine.Filter:
    """Make a filter of conditions that must hold and conditions that must not."""
    return engine.Filter(
        must=[_to_engine(condition) for condition in conditions] or None,
        must_not=[_to_engine(condition) for condition in without] or None,
    )


def _to_engine(condition: Condition) -> Any:
    if "has_id" in condition:
        return engine.HasIdCondition(set(condition["has_id"]))
    if "match" in condition:
        values = condition["match"]["any"]
        return engine.FieldCondition(key=condition["key"], match=engine.MatchAny(values))
    if "range" in condition:
        bounds = {name: float(bound) for name, bound in condition["range"].items()}
        return engine.FieldCondition(key=condition["key"], range=engine.RangeFloat(**bounds))
    must, should, must_not = (
        [_to_engine(part) for part in condition[name]] if name in condition else None
        for name in ("must", "should", "must_not")
    )
    return engine.Filter(must=must, should=should, must_not=must_not)
