"""What every engine checks before it stores or searches, so that all refuse the same things."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import ConflictError, InvalidInputError
from app.retrieval.documents import Document, MetadataValue, Span
from app.retrieval.points import MAX_DIM, require_doc_id, require_name, unit_rows
from app.retrieval.store import (
    MAX_FIELDS,
    MAX_OFFSET,
    MAX_SPANS,
    Collection,
    FieldType,
    Options,
)

MAX_PAGE = 10_000
"""No page of ``scan`` may be longer."""
_PRECISIONS = ("", "full", "int8", "int4")
_INT64 = 1 << 63


@dataclass(frozen=True, slots=True)
class Entry:
    """A document that may be stored, with its passages.

    Attributes:
        document: The document.
        spans: Its passages, at least one.
        vectors: A unit row for each, shape (passages, dim).
    """

    document: Document
    spans: list[Span]
    vectors: NDArray[np.float32]


def require_collection(name: str, dim: int, model: str, options: Options) -> None:
    """Refuse to create what cannot be a collection.

    Raises:
        InvalidInputError: If name, dimension, model or an option does not fit.
    """
    require_name(name)
    if isinstance(dim, bool) or not isinstance(dim, int) or not 1 <= dim <= MAX_DIM:
        raise InvalidInputError(f"dim is {dim!r:.50}; give an integer from 1 to {MAX_DIM}.")
    if not model:
        raise InvalidInputError("model is empty; give the id of the encoder of this collection.")
    _require_encodable(model, "model")
    if options.precision not in _PRECISIONS:
        raise InvalidInputError(
            f"precision is {options.precision!r:.50}; give 'full', 'int8' or 'int4', or leave it "
            "empty."
        )
    if options.prompt is not None:
        _require_encodable(options.prompt, "prompt")
    if not 0 <= options.stride_tokens <= options.window_tokens or (
        options.window_tokens > 0 and options.stride_tokens == 0
    ):
        raise InvalidInputError(
            f"Windows of {options.window_tokens} tokens with a stride of {options.stride_tokens} "
            "are not possible; give a stride from 1 to the window's length, or 0 for both."
        )
    _require_fields(options.fields)


def require_same(found: Collection, dim: int, model: str, options: Options) -> Collection:
    """Return a collection that exists if it is what ``create`` asks for.

    Raises:
        ConflictError: If it has another dimension, another model or other options.
    """
    has = {"dim": found.dim, "model": found.model} | _plain(found.options)
    asked = {"dim": dim, "model": model} | _plain(options)
    unknown = {"precision": "", "prompt": None}  # What is not known fits any
    other = [
        key
        for key in has
        if has[key] != asked[key] and unknown.get(key, key) not in (has[key], asked[key])
    ]
    if other:
        differences = "; ".join(
            f"{key} {has[key]!r:.200}, not {asked[key]!r:.200}" for key in other
        )
        raise ConflictError(
            f"The collection {found.name} has {differences}. Drop it or choose another name."
        )
    return found


def require_entries(
    collection: Collection,
    documents: Sequence[Document],
    vectors: NDArray[np.float32],
    spans: Sequence[Sequence[Span]] | None,
) -> list[Entry]:
    """Check what ``upsert`` is given; of several documents with one ``doc_id`` keep the last.

    Raises:
        InvalidInputError: If a document cannot be stored, a value has not its declared field's
            type, passages are outside their text, or the vectors do not fit the passages.
    """
    for document in documents:
        require_document(document, collection.options.fields)
    rows = unit_rows(vectors, collection.dim)
    every = _spans(documents, spans)
    if sum(map(len, every)) != len(rows):
        raise InvalidInputError(
            f"Got {len(documents)} documents of {sum(map(len, every))} passages and {len(rows)} "
            "vectors; give a vector for each passage."
        )
    entries: dict[str, Entry] = {}
    first = 0
    for document, some in zip(documents, every, strict=True):
        entries[document.doc_id] = Entry(document, some, rows[first : first + len(some)])
        first += len(some)
    return list(entries.values())


def require_document(document: Document, fields: Mapping[str, FieldType]) -> Document:
    """Return a document if it may be stored.

    Args:
        document: The document.
        fields: Metadata fields with the types that their values must have.

    Raises:
        InvalidInputError: If not.
    """
    require_doc_id(document.doc_id)
    _require_encodable(document.text, "text")
    if document.lang is not None and not _require_encodable(document.lang, "lang"):
        raise InvalidInputError("lang is empty; leave it out or give a code such as 'swh_Latn'.")
    for key, value in document.metadata.items():
        _require_encodable(key, "a metadata key")
        if isinstance(value, str):
            _require_encodable(value, f"metadata[{key!r:.80}]")
        elif not isinstance(value, bool | int | float) or (
            isinstance(value, float) and not np.isfinite(value)
        ):
            raise InvalidInputError(
                f"metadata[{key!r:.80}] is {value!r:.50}; give a string, finite number or boolean."
            )
        if key in fields and not has_type(value, fields[key]):
            raise InvalidInputError(
                f"metadata[{key!r:.80}] of {document.doc_id!r:.80} is {value!r:.50}, but the field "
                f"was declared as {fields[key]}; correct the value, or drop the collection and "
                "create it with another type."
            )
    return document


def has_type(value: MetadataValue, declared: FieldType) -> bool:
    """Tell whether a value may stand in a field that was declared.

    Integers have 64 bits there, and numbers the range of a double, so that they can be indexed.
    """
    if isinstance(value, bool) or declared == "boolean":
        return isinstance(value, bool) and declared == "boolean"
    if isinstance(value, str) or declared == "string":
        return isinstance(value, str) and declared == "string"
    if declared == "integer":
        return isinstance(value, int) and -_INT64 <= value < _INT64
    return isinstance(value, float) or abs(value) <= int(np.finfo(np.float64).max)


def require_offset(offset: int) -> int:
    """Return ``offset`` if it is 0 to ``MAX_OFFSET``.

    Raises:
        InvalidInputError: If it is not.
    """
    return _require_number(offset, "offset", 0, MAX_OFFSET)


def require_limit(limit: int) -> int:
    """Return a page's ``limit`` if it is 1 to ``MAX_PAGE``.

    Raises:
        InvalidInputError: If it is not.
    """
    return _require_number(limit, "limit", 1, MAX_PAGE)


def require_query(query: str) -> str:
    """Return a query for ``match`` if it is a string that UTF-8 can hold.

    Raises:
        InvalidInputError: If it is not.
    """
    _require_encodable(query, "A query")
    return query


def _plain(options: Options) -> dict[str, object]:
    return {
        "precision": options.precision,
        "prompt": options.prompt,
        "fields": dict(options.fields),
        "window_tokens": options.window_tokens,
        "stride_tokens": options.stride_tokens,
    }


def _require_number(value: int, name: str, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidInputError(f"{name} is {value!r:.50}; give an integer from {least} to {most}.")
    return value


def _require_fields(fields: Mapping[str, FieldType]) -> None:
    if len(fields) > MAX_FIELDS:
        raise InvalidInputError(f"{len(fields)} fields are declared; at most {MAX_FIELDS} can be.")
    for key, declared in fields.items():
        if not _require_encodable(key, "A field's name"):
            raise InvalidInputError("A field's name is empty; name a key of the metadata.")
        if declared not in ("string", "integer", "number", "boolean"):
            raise InvalidInputError(
                f"The field {key!r:.80} is declared as {declared!r:.50}; give string, integer, "
                "number or boolean."
            )


def _spans(
    documents: Sequence[Document], spans: Sequence[Sequence[Span]] | None
) -> list[list[Span]]:
    if spans is None:
        return [[(0, len(document.text))] for document in documents]
    if len(spans) != len(documents):
        raise InvalidInputError(
            f"Got {len(documents)} documents and passages of {len(spans)}; give those of each."
        )
    for document, some in zip(documents, spans, strict=True):
        if not 1 <= len(some) <= MAX_SPANS:
            raise InvalidInputError(
                f"{document.doc_id!r:.80} has {len(some)} passages; 1 to {MAX_SPANS} are possible."
            )
        outside = [(a, b) for a, b in some if not 0 <= a <= b <= len(document.text)]
        if outside:
            raise InvalidInputError(
                f"{document.doc_id!r:.80} has {len(document.text)} characters and a passage "
                f"{outside[0]}; give (begin, end) within the text."
            )
    return [[(a, b) for a, b in some] for some in spans]


def _require_encodable(text: str, field: str) -> bytes:
    if not isinstance(text, str):
        raise InvalidInputError(f"{field} is {type(text).__name__}; give a string.")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{field} holds a lone surrogate at position {error.start}; send valid Unicode."
        ) from error
