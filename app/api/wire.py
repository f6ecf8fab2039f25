"""What every message on the wire shares: strict types, no unknown fields, names with bounds."""

import math
from functools import cache
from typing import Annotated, Any

import numpy as np
import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from app.retrieval.points import MAX_DOC_ID_BYTES, NAME_PATTERN
from app.settings import MAX_ITEMS
from app.text.script import LANG_PATTERN

COLLECTION_NAME = f"^{NAME_PATTERN}$"
LANG = f"^{LANG_PATTERN}$"
MAX_KEYS = 64
MAX_VALUE_CHARS = 4096
MAX_METADATA_CHARS = 8192
"""Keys and strings of a document's metadata together: an answer repeats them for each hit."""
_LEAST, _MOST = -(2**63), 2**63 - 1


class Wire(BaseModel):
    """A part of a request: types are not coerced and unknown fields are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _name_the_known_fields(cls, data: Any) -> Any:
        # Pydantic's own message would put the unknown name, which is input, into the location.
        if isinstance(data, dict) and not data.keys() <= cls.model_fields.keys():
            known = ", ".join(cls.model_fields) or "none"
            raise PydanticCustomError(
                "unknown_field", "has an unknown field; known are: {known}", {"known": known}
            )
        return data


class Reply(BaseModel):
    """A part of an answer; documents it, and builds the small ones."""

    model_config = ConfigDict(frozen=True)


def known_names() -> frozenset[str]:
    """Names that may appear in an error's location because they are ours, not the client's."""
    return _names_of(Wire) | {"body", "path", "query", "header", "name", "doc_id"}


@cache
def _names_of(model: type[BaseModel]) -> frozenset[str]:
    names = frozenset(model.model_fields)
    return names.union(*(_names_of(child) for child in model.__subclasses__()))


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _check_metadata(value: Any) -> dict[str, str | int | float | bool]:
    if not isinstance(value, dict) or len(value) > MAX_KEYS:
        raise PydanticCustomError(
            "metadata", "should be an object of at most {most} entries", {"most": MAX_KEYS}
        )
    for key, entry in value.items():
        if not 1 <= len(key) <= 128 or not _is_unicode(key):
            raise PydanticCustomError("metadata", "keys should have 1 to 128 characters of Unicode")
        fits = isinstance(entry, bool) or (isinstance(entry, int) and _LEAST <= entry <= _MOST)
        fits = fits or (isinstance(entry, float) and math.isfinite(entry))
        if isinstance(entry, str):
            fits = len(entry) <= MAX_VALUE_CHARS and _is_unicode(entry)
        if not fits:
            raise PydanticCustomError(
                "metadata",
                "values should be strings of at most {most} characters, 64-bit integers, finite "
                "numbers or booleans",
                {"most": MAX_VALUE_CHARS},
            )
    if _chars_of(value) > MAX_METADATA_CHARS:
        raise PydanticCustomError(
            "metadata",
            "keys and strings should have at most {most} characters together",
            {"most": MAX_METADATA_CHARS},
        )
    return value


def _chars_of(metadata: dict[str, Any]) -> int:
    strings = sum(len(entry) for entry in metadata.values() if isinstance(entry, str))
    return sum(map(len, metadata)) + strings


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


_TEXTS_SCHEMA = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "minItems": 1,
            "maxItems": MAX_ITEMS,
        },
    ]
}
_METADATA_SCHEMA = {
    "type": "object",
    "maxProperties": MAX_KEYS,
    "propertyNames": {"minLength": 1, "maxLength": 128},
    "additionalProperties": {
        "anyOf": [
            {"type": "string", "maxLength": MAX_VALUE_CHARS},
            {"type": "integer", "minimum": _LEAST, "maximum": _MOST},
            {"type": "number"},
            {"type": "boolean"},
        ]
    },
}

Texts = Annotated[
    list[str],
    Field(min_length=1, max_length=MAX_ITEMS),
    BeforeValidator(_as_list),
    WithJsonSchema(_TEXTS_SCHEMA),
]
"""One text or a list of texts; a list either way once it is read."""
Metadata = Annotated[
    dict[str, Any], PlainValidator(_check_metadata), WithJsonSchema(_METADATA_SCHEMA)
]
Lang = Annotated[str, StringConstraints(pattern=LANG)]
"""A language and script in the manner of FLORES, such as ``yor_Latn``."""
CollectionName = Annotated[str, StringConstraints(pattern=COLLECTION_NAME)]
DocId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_DOC_ID_BYTES)]


class JSON(Response):
    """A JSON response written by orjson; takes numpy arrays and reply models as they are."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Write the content as UTF-8 JSON."""
        return orjson.dumps(content, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")
