"""Filters on the wire: one JSON object a filter, all of whose entries hold.

    {"lang": ["swh_Latn"], "metadata": {"year": {"gte": 1990}}, "not": {"script": ["Arab"]}}

A filter is bounded in depth and size before it is read, because reading it is recursive. What can
be read here every engine can apply. Errors say where, but never repeat what was sent.
"""

from typing import Annotated, Any

from pydantic import Field, PlainValidator, StringConstraints, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from app.api.wire import (
    KEY_SCHEMA,
    KEYS,
    MAX_KEYS,
    VALUE_SCHEMAS,
    VALUES,
    DocId,
    Lang,
    Wire,
    is_key,
    is_value,
)
from app.errors import InvalidInputError
from app.retrieval.filters import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_VALUES,
    METADATA,
    All,
    Filter,
    In,
    Not,
    Range,
    require_filter,
)
from app.retrieval.filters import Any as AnyOf

BOUNDS = ("gt", "gte", "lt", "lte")
SCRIPT = "^[A-Z][a-z]{3}$"


def _check_condition(value: Any) -> Any:
    """Check what one field of metadata is compared with; returns it."""
    if is_value(value):
        return value
    if isinstance(value, list):
        return _check_values(value)
    if not isinstance(value, dict):
        raise PydanticCustomError(
            "condition",
            "should be a value, a list of values, or an object of in, gt, gte, lt and lte; values "
            "are {values}",
            {"values": VALUES},
        )
    if not value or not value.keys() <= {"in", *BOUNDS}:
        raise PydanticCustomError(
            "condition", "should be an object of one or more of in, gt, gte, lt and lte"
        )
    for name in BOUNDS:
        bound = value.get(name, 0)
        if isinstance(bound, bool | str) or not is_value(bound):
            raise PydanticCustomError(
                "condition", "has a bound that is no finite 64-bit number; expected one"
            )
    if "in" in value:
        _check_values(value["in"])
    return value


def _check_values(values: Any) -> Any:
    if not isinstance(values, list) or not 1 <= len(values) <= MAX_VALUES:
        raise PydanticCustomError(
            "condition", "should list {least} to {most} values", {"least": 1, "most": MAX_VALUES}
        )
    if not all(map(is_value, values)):
        raise PydanticCustomError("condition", "should list {values}", {"values": VALUES})
    return values


def _check_metadata(value: Any) -> Any:
    if not isinstance(value, dict) or not 1 <= len(value) <= MAX_KEYS:
        raise PydanticCustomError(
            "metadata", "should be an object of 1 to {most} fields", {"most": MAX_KEYS}
        )
    for key, condition in value.items():
        if not is_key(key):
            raise PydanticCustomError("metadata", "{keys}", {"keys": KEYS})
        _check_condition(condition)
    return value


_VALUES_SCHEMA = {
    "type": "array",
    "items": {"anyOf": VALUE_SCHEMAS},
    "minItems": 1,
    "maxItems": MAX_VALUES,
}
_RANGE_SCHEMA = {
    "type": "object",
    "properties": {
        "in": _VALUES_SCHEMA,
        **{name: {"type": "number"} for name in BOUNDS},
    },
    "additionalProperties": False,
    "minProperties": 1,
}
_CONDITIONS_SCHEMA = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": MAX_KEYS,
    "propertyNames": KEY_SCHEMA,
    "additionalProperties": {"anyOf": [*VALUE_SCHEMAS, _VALUES_SCHEMA, _RANGE_SCHEMA]},
}
Conditions = Annotated[
    dict[str, Any], PlainValidator(_check_metadata), WithJsonSchema(_CONDITIONS_SCHEMA)
]
Script = Annotated[str, StringConstraints(pattern=SCRIPT)]


class FilterWire(Wire):
    """Which documents; all of the entries have to hold.

    At most 8 levels and 64 conditions. A document that lacks a field satisfies no condition on it,
    and so satisfies their `not`.
    """

    lang: list[Lang] = Field(
        default=[],
        max_length=MAX_VALUES,
        description="one of these languages, such as `yor_Latn`; none: any",
        examples=[["eng_Latn"]],
    )
    script: list[Script] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_VALUES,
        description="one of these scripts (ISO 15924), such as `Latn`: that of `lang`, else of "
        "most letters of the text",
    )
    doc_id: list[DocId] | None = Field(
        default=None, min_length=1, max_length=MAX_VALUES, description="one of these documents"
    )
    metadata: Conditions | None = Field(
        default=None,
        description="what fields of metadata have to be: a value, a list (one of them), or an "
        "object of `gt`, `gte`, `lt`, `lte` (numbers within bounds) and `in`",
    )
    all_of: "list[FilterWire] | None" = Field(
        default=None,
        alias="and",
        min_length=1,
        max_length=MAX_CONDITIONS,
        description="each of these holds",
    )
    any_of: "list[FilterWire] | None" = Field(
        default=None,
        alias="or",
        min_length=1,
        max_length=MAX_CONDITIONS,
        description="at least one of these holds",
    )
    none_of: "FilterWire | None" = Field(
        default=None, alias="not", description="this does not hold"
    )

    @model_validator(mode="before")
    @classmethod
    def _bound_the_size(cls, data: Any) -> Any:
        # Without recursion, and given up as soon as it is too large.
        level, count = [data], 0
        for _ in range(MAX_DEPTH):
            below: list[Any] = []
            for each in filter(lambda each: isinstance(each, dict), level):
                count += 1
                for name in ("and", "or"):
                    parts = each.get(name)
                    below += parts[: MAX_CONDITIONS + 1] if isinstance(parts, list) else []
                below += [each["not"]] if isinstance(each.get("not"), dict) else []
                if count + len(below) > MAX_CONDITIONS:
                    raise _too_large()
            level = below
        if level:
            raise _too_large()
        return data


def _too_large() -> PydanticCustomError:
    return PydanticCustomError(
        "filter_size",
        "has over {conditions} conditions or more than {depth} levels; list values in one "
        "condition, or send it in parts",
        {"conditions": MAX_CONDITIONS, "depth": MAX_DEPTH},
    )


def as_filter(sent: FilterWire | None) -> Filter | None:
    """Read a filter off the wire; None: it restricts nothing.

    Raises:
        InvalidInputError: If a part inside of it has no condition, or all of it has too many.
    """
    parts = _parts(sent, "filter") if sent is not None else []
    return require_filter(_joined(parts)) if parts else None


def as_condition(sent: FilterWire) -> Filter:
    """Read a filter that must restrict something, such as that of a deletion.

    Raises:
        InvalidInputError: If it does not, or as ``as_filter``.
    """
    where = as_filter(sent)
    if where is None or ("lang" in sent.model_fields_set and not sent.lang):
        raise InvalidInputError(
            "The filter has no condition, or an empty list of languages, and would take all "
            "documents; expected at least one of each."
        )
    return where


def _parts(sent: FilterWire, place: str) -> list[Filter]:
    """Everything that has to hold."""
    parts: list[Filter] = [
        In(field, tuple(values))
        for field, values in (("lang", sent.lang), ("script", sent.script), ("doc_id", sent.doc_id))
        if values
    ]
    for key, condition in (sent.metadata or {}).items():
        parts += _compared(f"{METADATA}{key}", condition)
    for index, part in enumerate(sent.all_of or []):
        parts += _some(part, f"{place}.and[{index}]")
    if sent.any_of is not None:
        either = [
            _joined(_some(part, f"{place}.or[{index}]")) for index, part in enumerate(sent.any_of)
        ]
        parts.append(AnyOf(tuple(either)))
    if sent.none_of is not None:
        parts.append(Not(_joined(_some(sent.none_of, f"{place}.not"))))
    return parts


def _some(sent: FilterWire, place: str) -> list[Filter]:
    parts = _parts(sent, place)
    if not parts:
        raise InvalidInputError(
            f"{place} has no condition; expected at least one, or leave it out."
        )
    return parts


def _compared(field: str, condition: Any) -> list[Filter]:
    if isinstance(condition, list):
        return [In(field, tuple(condition))]
    if not isinstance(condition, dict):
        return [In(field, (condition,))]
    parts: list[Filter] = [In(field, tuple(condition["in"]))] if "in" in condition else []
    bounds = {name: condition[name] for name in BOUNDS if name in condition}
    return [*parts, Range(field, **bounds)] if bounds else parts


def _joined(parts: list[Filter]) -> Filter:
    return parts[0] if len(parts) == 1 else All(tuple(parts))
