"""What every message on the wire shares: strict types, no unknown fields, names with bounds."""

import asyncio
import math
from collections.abc import KeysView, Sequence
from functools import cache
from typing import Annotated, Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
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
from starlette.types import Receive, Scope, Send

from app.hidden import PREFIX, is_hidden
from app.retrieval.points import MAX_DOC_ID_BYTES, NAME_PATTERN
from app.settings import MAX_ITEMS
from app.text.script import LANG_PATTERN

COLLECTION_NAME = f"^{NAME_PATTERN}$"
LANG = f"^{LANG_PATTERN}$"
MAX_KEYS = 64
MAX_VALUE_CHARS = 4096
MAX_METADATA_CHARS = 8192
"""Keys and strings of a document's metadata together: an answer repeats them for each hit."""
MAX_KEY_CHARS = 128
KEYS = f"keys should have 1 to {MAX_KEY_CHARS} characters of Unicode"
VALUES = (
    f"strings of at most {MAX_VALUE_CHARS} characters, 64-bit integers, finite numbers or booleans"
)
_PIECE = 1 << 15  # numbers, about a millisecond's worth
_PART_BYTES = 1 << 18  # likewise, through a socket
_LEAST, _MOST = -(2**63), 2**63 - 1


class Wire(BaseModel):
    """A part of a request: types are not coerced and unknown fields are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _name_the_known_fields(cls, data: Any) -> Any:
        # Pydantic's own message would put the unknown name, which is input, into the location.
        if isinstance(data, dict) and not data.keys() <= _own_names(cls):
            known = ", ".join(_own_names(cls)) or "none"
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
    names = frozenset(_own_names(model))
    return names.union(*(_names_of(child) for child in model.__subclasses__()))


@cache
def _own_names(model: type[BaseModel]) -> KeysView[str]:
    fields = model.model_fields.items()
    return {field.alias or name: None for name, field in fields}.keys()


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _check_metadata(value: Any) -> dict[str, str | int | float | bool]:
    if not isinstance(value, dict) or len(value) > MAX_KEYS:
        raise PydanticCustomError(
            "metadata", "should be an object of at most {most} entries", {"most": MAX_KEYS}
        )
    for key, entry in value.items():
        if not is_key(key):
            raise PydanticCustomError("metadata", "{keys}", {"keys": KEYS})
        if not is_value(entry):
            raise PydanticCustomError("metadata", "values should be {values}", {"values": VALUES})
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


def is_key(key: str) -> bool:
    """Tell whether a string may name a field of metadata."""
    return 1 <= len(key) <= MAX_KEY_CHARS and _is_unicode(key)


def is_value(entry: Any) -> bool:
    """Tell whether a field of metadata may have this value."""
    if isinstance(entry, str):
        return len(entry) <= MAX_VALUE_CHARS and _is_unicode(entry)
    if isinstance(entry, int):  # booleans too
        return _LEAST <= entry <= _MOST
    return isinstance(entry, float) and math.isfinite(entry)


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def _require_shown(name: str) -> str:
    if is_hidden(name):
        raise PydanticCustomError(
            "reserved",
            "should not begin with {prefix}, which is the service's own",
            {"prefix": PREFIX},
        )
    return name


def _require_few_bytes(doc_id: str) -> str:
    if len(doc_id.encode()) > MAX_DOC_ID_BYTES:
        raise PydanticCustomError(
            "doc_id", "should have at most {most} bytes in UTF-8", {"most": MAX_DOC_ID_BYTES}
        )
    return doc_id


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
KEY_SCHEMA = {"minLength": 1, "maxLength": MAX_KEY_CHARS}
VALUE_SCHEMAS: list[dict[str, Any]] = [
    {"type": "string", "maxLength": MAX_VALUE_CHARS},
    {"type": "integer", "minimum": _LEAST, "maximum": _MOST},
    {"type": "number"},
    {"type": "boolean"},
]
"""What ``is_value`` says, as JSON Schema."""
_METADATA_SCHEMA = {
    "type": "object",
    "maxProperties": MAX_KEYS,
    "propertyNames": KEY_SCHEMA,
    "additionalProperties": {"anyOf": VALUE_SCHEMAS},
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
CollectionName = Annotated[
    str, StringConstraints(pattern=COLLECTION_NAME), AfterValidator(_require_shown)
]
DocId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_DOC_ID_BYTES),
    AfterValidator(_require_few_bytes),
]


class JSON(Response):
    """A JSON response written by orjson; takes numpy arrays and reply models as they are."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Write the content as UTF-8 JSON."""
        return orjson.dumps(content, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send a large answer in parts: the event loop would do nothing else meanwhile."""
        body, size = self.body, len(self.body)
        if size <= _PART_BYTES:
            await super().__call__(scope, receive, send)
            return
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        for at in range(0, size, _PART_BYTES):
            part, left = body[at : at + _PART_BYTES], at + _PART_BYTES < size
            await send({"type": "http.response.body", "body": part, "more_body": left})
            await asyncio.sleep(0)


async def in_pieces(rows: Sequence[Any] | NDArray[Any], width: int) -> Any:
    """Write the vectors of a large answer piece by piece, so that others are served in between.

    Args:
        rows: What becomes a JSON list: rows of an array, or objects with one vector each.
        width: Numbers of a row.

    Returns:
        The list as JSON that ``JSON`` puts in as it is; a short one is left to it.
    """
    step = max(1, _PIECE // max(1, width))
    if len(rows) <= step:
        return rows
    pieces: list[bytes] = []
    for start in range(0, len(rows), step):
        piece = rows[start : start + step]
        pieces.append(orjson.dumps(piece, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1])
        await asyncio.sleep(0)
    return orjson.Fragment(b"[" + b",".join(pieces) + b"]")


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple):  # one with names: orjson takes plain ones alone
        return list(value)
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")
