"""Documents to rows and back: text without NUL, metadata for filters, PostgreSQL's binary form.

Rows go in by ``COPY`` in binary: a passage's postings are some thirty rows, which numpy lays out
in one piece.
"""

import json
import struct
from collections.abc import Iterable, Sequence
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.retrieval.checks import Entry
from app.retrieval.documents import Document, MetadataValue
from app.retrieval.filters import script_of_document
from app.retrieval.lexical import weights_of

HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
TRAILER = struct.pack("!h", -1)
_POSTING = np.dtype(
    [
        ("fields", ">i2"),
        ("passage_bytes", ">i4"),
        ("passage", ">i8"),
        ("token_bytes", ">i4"),
        ("token", ">i4"),
        ("weight_bytes", ">i4"),
        ("weight", ">f4"),
    ]
)
_ELEMENT = np.dtype([("bytes", ">i4"), ("token", ">i4")])
_INT4 = 23
"""Type number of ``integer``, which a binary array names."""


def escaped(text: str) -> str:
    r"""Write NUL, which PostgreSQL's text cannot hold, as ``\0``, and a backslash twice."""
    return text.replace("\\", "\\\\").replace("\0", "\\0")


def unescaped(text: str) -> str:
    """Undo ``escaped``."""
    if "\\" not in text:
        return text
    return "\\".join(part.replace("\\0", "\0") for part in text.split("\\\\"))


def json_value(value: MetadataValue) -> str:
    """Write a value as JSON that PostgreSQL compares as Python does.

    Its numbers are decimals, and so each is written with the decimals that it really has: 2**70 as
    a float is then the same number as 2**70, and 0.1 is a little more than a tenth.

    Raises:
        InvalidInputError: If it is an integer of more digits than Python writes.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(escaped(value), ensure_ascii=False)
    if isinstance(value, float):
        return format(Decimal(value), "f")
    try:
        return str(value)
    except ValueError:
        raise InvalidInputError(
            f"A metadata value is an integer of {value.bit_length()} bits; give one of at most "
            "4,300 digits, or a string."
        ) from None


def json_fields(document: Document) -> str:
    """Write a document's metadata for filters."""
    pairs = (f"{json_value(key)}:{json_value(value)}" for key, value in document.metadata.items())
    return "{" + ",".join(pairs) + "}"


def signed(tokens: Sequence[int]) -> NDArray[np.int32]:
    """Map token ids from 0 .. 2**32 - 1 to PostgreSQL's integers, bit by bit."""
    return np.asarray(tokens, dtype=np.uint32).view(np.int32)


def vector_text(vector: NDArray[np.float32]) -> str:
    """Write a vector as pgvector reads it, exactly."""
    return str(vector.tolist())


def to_vectors(binary: Iterable[bytes], dim: int) -> NDArray[np.float32]:
    """Read vectors from pgvector's binary form, shape (vectors, dim)."""
    whole = b"".join(value[4:] for value in binary)
    return np.frombuffer(whole, dtype=">f4").astype(np.float32).reshape(-1, dim)


def to_document(doc_id: bytes, text: str, lang: str | None, metadata: str) -> Document:
    """Read a document from the columns of its row."""
    return Document(
        doc_id.decode(),
        unescaped(text),
        None if lang is None else unescaped(lang),
        json.loads(metadata),
    )


def document_rows(entries: Sequence[Entry]) -> Iterable[bytes]:
    """Lay out the rows of ``documents``: doc_id, text, lang, script, metadata, fields, passages."""
    for entry in entries:
        document = entry.document
        fields, lang = json_fields(document), document.lang
        yield _row(
            document.doc_id.encode(),
            escaped(document.text).encode(),
            None if lang is None else escaped(lang).encode(),
            escaped(script_of_document(document)).encode(),
            json.dumps(dict(document.metadata)).encode(),
            b"\x01" + fields.encode(),
            struct.pack("!i", len(entry.spans)),
        )


def passage_rows(entries: Sequence[Entry], first: int) -> tuple[list[bytes], bytes]:
    """Lay out the rows of ``passages`` (id, doc_id, start, stop, tokens, vector) and ``postings``.

    Args:
        entries: The documents.
        first: Id of the first passage.
    """
    passages: list[bytes] = []
    owners: list[NDArray[np.int64]] = []
    tokens: list[NDArray[np.int32]] = []
    weights: list[list[float]] = []
    texts = [entry.document.text[a:b] for entry in entries for a, b in entry.spans]
    words = iter(weights_of(texts))
    for entry in entries:
        name = entry.document.doc_id.encode()
        raw = entry.vectors.astype(">f4").tobytes()
        size = len(raw) // len(entry.spans)
        for number, (start, stop) in enumerate(entry.spans):
            sparse = next(words)
            ids = signed(sparse.indices)
            key = first + len(passages)
            vector = struct.pack("!hh", size // 4, 0) + raw[number * size : (number + 1) * size]
            passages.append(
                _row(
                    struct.pack("!q", key),
                    name,
                    struct.pack("!i", start),
                    struct.pack("!i", stop),
                    _array(ids),
                    vector,
                )
            )
            owners.append(np.full(len(ids), key, dtype=np.int64))
            tokens.append(ids)
            weights.append(sparse.values)
    return passages, _postings(owners, tokens, weights)


def _postings(
    owners: list[NDArray[np.int64]], tokens: list[NDArray[np.int32]], weights: list[list[float]]
) -> bytes:
    if not owners:
        return b""
    rows = np.empty(sum(map(len, owners)), dtype=_POSTING)
    rows["fields"], rows["passage_bytes"], rows["token_bytes"] = 3, 8, 4
    rows["weight_bytes"] = 4
    rows["passage"] = np.concatenate(owners)
    rows["token"] = np.concatenate(tokens)
    rows["weight"] = np.concatenate([np.asarray(some, dtype=np.float32) for some in weights])
    return rows[np.argsort(rows["token"], kind="stable")].tobytes()  # Near in the index


def _array(tokens: NDArray[np.int32]) -> bytes:
    if not len(tokens):
        return struct.pack("!iii", 0, 0, _INT4)
    elements = np.empty(len(tokens), dtype=_ELEMENT)
    elements["bytes"], elements["token"] = 4, tokens
    return struct.pack("!iiiii", 1, 0, _INT4, len(tokens), 1) + elements.tobytes()


def _row(*values: bytes | None) -> bytes:
    parts = [struct.pack("!h", len(values))]
    for value in values:
        parts.append(struct.pack("!i", -1 if value is None else len(value)))
        if value is not None:
            parts.append(value)
    return b"".join(parts)
