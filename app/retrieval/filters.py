"""Which documents may be hits: conditions on language, script, name and metadata, and their logic.

A filter is a small tree that every engine translates; ``matches`` is what they all have to mean.
Values are compared within their kind: a string never equals a number, a boolean never equals 1,
but ``7`` equals ``7.0``. A document without the field satisfies no ``In`` and no ``Range`` on it,
and so satisfies their ``Not``.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from app.errors import InvalidInputError
from app.retrieval.documents import Document, MetadataValue
from app.text.script import COMMON, script_of

MAX_DEPTH = 8
MAX_CONDITIONS = 64
MAX_VALUES = 1024
METADATA = "metadata."
"""What a metadata field's name begins with: ``metadata.year``."""
_OWN = ("lang", "script", "doc_id")


@dataclass(frozen=True, slots=True)
class In:
    """The field's value is one of ``values`` (at least one).

    Attributes:
        field: ``lang``, ``script`` (ISO 15924, see ``script_of_document``), ``doc_id``, or
            ``metadata.`` and a key, which may hold any characters.
        values: Strings for the first three; strings, numbers and booleans for metadata.
    """

    field: str
    values: tuple[MetadataValue, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The metadata field is a number within the bounds given; at least one is."""

    field: str
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds that are given."""
        named = {"gt": self.gt, "gte": self.gte, "lt": self.lt, "lte": self.lte}
        return {name: bound for name, bound in named.items() if bound is not None}


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Any:
    """At least one part holds."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: "Filter"


Filter = In | Range | All | Any | Not


def languages(*langs: str) -> In:
    """Restrict to documents in one of some languages, such as ``yor_Latn``."""
    return In("lang", langs)


def script_of_document(document: Document) -> str:
    """ISO 15924 code that ``script`` compares: that of ``lang``, else of most of its letters."""
    if document.lang is not None and "_" in document.lang:
        return document.lang.rpartition("_")[2]
    return script_of(document.text) if document.text else COMMON


def matches(where: Filter, document: Document) -> bool:
    """Tell whether a document satisfies a filter; what every engine has to agree with."""
    match where:
        case In(field, values):
            found = field_of(document, field)
            return found is not None and any(_same(found, value) for value in values)
        case Range(field):
            found = field_of(document, field)
            if found is None or kind_of(found) != "number":
                return False
            checks = {
                "gt": lambda bound: found > bound,
                "gte": lambda bound: found >= bound,
                "lt": lambda bound: found < bound,
                "lte": lambda bound: found <= bound,
            }
            return all(checks[name](bound) for name, bound in where.bounds.items())
        case All(parts):
            return all(matches(part, document) for part in parts)
        case Any(parts):
            return any(matches(part, document) for part in parts)
        case Not(part):
            return not matches(part, document)


def field_of(document: Document, field: str) -> MetadataValue | None:
    """Read a field off a document, None if it lacks it."""
    if field == "lang":
        return document.lang
    if field == "script":
        return script_of_document(document)
    if field == "doc_id":
        return document.doc_id
    return document.metadata.get(field.removeprefix(METADATA))


def kind_of(value: MetadataValue) -> Literal["string", "number", "boolean"]:
    """Name the kind within which a value is compared."""
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"


def require_filter(where: Filter) -> Filter:
    """Return the filter if every engine can apply it.

    Raises:
        InvalidInputError: If it is too deep or large, a condition has no values or bounds, a field
            is unknown, or a value's kind cannot be the field's.
    """
    for conditions, (part, depth) in enumerate(_walk(where, 1), 1):
        if depth > MAX_DEPTH or conditions > MAX_CONDITIONS:
            raise InvalidInputError(
                f"The filter has over {MAX_CONDITIONS} conditions or more than {MAX_DEPTH} levels; "
                "make it smaller, for example by listing values in one condition."
            )
        _require_part(part)
    return where


def _require_part(part: Filter) -> None:
    match part:
        case In(field, values):
            _require_field(field)
            if not 1 <= len(values) <= MAX_VALUES:
                raise InvalidInputError(
                    f"The filter on {field!r:.80} has {len(values)} values; give 1 to {MAX_VALUES}."
                )
            for value in values:
                _require_value(field, value)
        case Range():
            _require_range(part)
        case All(parts) | Any(parts) if not parts:
            raise InvalidInputError("An and/or of no conditions; give at least one.")
        case _:
            pass


def _require_range(part: Range) -> None:
    _require_field(part.field)
    if part.field in _OWN:
        raise InvalidInputError(
            f"A range on {part.field} is not possible; it applies to numbers in metadata."
        )
    if not part.bounds:
        raise InvalidInputError(
            f"The range on {part.field!r:.80} has no bound; give gt, gte, lt or lte."
        )
    for bound in part.bounds.values():
        if kind_of(bound) != "number" or not _is_finite(bound):
            raise InvalidInputError(
                f"The range on {part.field!r:.80} has the bound {bound!r:.50}; give a finite "
                "number."
            )


def _require_field(field: str) -> None:
    if field not in _OWN and (not field.startswith(METADATA) or field == METADATA):
        raise InvalidInputError(
            f"The filter names the field {field!r:.80}; expected {', '.join(_OWN)} or 'metadata.' "
            "with a key."
        )
    _require_unicode(field, "A filter's field")


def _require_value(field: str, value: MetadataValue) -> None:
    if field in _OWN and not isinstance(value, str):
        raise InvalidInputError(f"The filter on {field} compares {value!r:.50}; give strings.")
    if isinstance(value, str):
        _require_unicode(value, f"filter.{field}")
    elif not isinstance(value, bool | int | float) or not _is_finite(value):
        raise InvalidInputError(
            f"The filter on {field!r:.80} compares {value!r:.50}; give strings, finite numbers or "
            "booleans."
        )


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer beyond any float
        return False


def _require_unicode(text: str, what: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{what} holds a lone surrogate at position {error.start}; send valid Unicode."
        ) from error


def _walk(where: Filter, depth: int) -> Iterator[tuple[Filter, int]]:
    yield where, depth
    if depth > MAX_DEPTH:
        return
    parts: Sequence[Filter] = ()
    match where:
        case All(several) | Any(several):
            parts = several
        case Not(part):
            parts = (part,)
        case _:
            pass
    for part in parts:
        yield from _walk(part, depth + 1)


def _same(left: MetadataValue, right: MetadataValue) -> bool:
    return kind_of(left) == kind_of(right) and left == right
