"""Documents as points of Qdrant and back, the same for its embedded engine and its server.

A passage is a point. The first of a document holds the document; the others hold what filters
compare, and their place. Ids are derived from the ``doc_id``, those of one document adjoin. The
engine keeps no check sums, so each point has one of its payload, ``sum``, and all of a document
have one over them and their vectors, ``check``, which tells whether they belong together.

What filters compare stands beside the metadata, which travel as JSON text: the engine would round
large integers, and numbers with many digits by the last bit. ``f`` has a token for each value, the
same for equal values alone; ``h``, ``l`` and ``m`` have a number in three whole parts, of which the
order is that of the numbers.
"""

import hashlib
import json
import math
import re
import struct
import sys
import uuid
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from json.encoder import encode_basestring_ascii
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.retrieval.checks import Entry
from app.retrieval.documents import Document, MetadataValue, Span
from app.retrieval.filters import kind_of, script_of_document
from app.retrieval.lexical import Sparse, weights_of
from app.retrieval.store import MAX_SPANS

WORDS = "words"
"""Name of the sparse vector; the dense one has none."""
HEAD_FIELDS = ("doc_id", "text", "metadata", "lang")
"""What ``to_document`` reads."""
PROBE_SCALE = 1e5
_NAMESPACE = uuid.UUID("6f1b8a52-2d1e-5f0c-9a37-4c1f6d0e7b11")
_UUID5_BITS = 5 << 76 | 2 << 62
_FIRST_BITS = (1 << 128) - MAX_SPANS & ~(0xF << 76 | 3 << 62)
_SORTED = json.JSONEncoder(sort_keys=True)
_PLAIN_KEY = re.compile(r"(?!x-)[A-Za-z0-9_-]{1,40}")
_MAX_TOKEN_CHARS = 64
_LARGEST_REST = 1 << 53


@dataclass(frozen=True, slots=True)
class PointRow:
    """A point to write.

    Attributes:
        point_id: A UUID.
        vector: The passage's unit vector, shape (dim,).
        words: The passage's tokens, weights in single precision.
        payload: What is stored beside them.
    """

    point_id: str
    vector: NDArray[np.float32]
    words: Sparse
    payload: dict[str, Any]


def point_ids(doc_id: str, parts: int = 1) -> list[str]:
    """Derive the ids of a document's passages, ascending and adjoining."""
    # What uuid.uuid5 does, in a fifth of its time
    digest = hashlib.sha1(_NAMESPACE.bytes + doc_id.encode(), usedforsecurity=False).digest()
    first = (int.from_bytes(digest[:16], "big") & _FIRST_BITS) | _UUID5_BITS
    return [_uuid(first + part) for part in range(parts)]


def _uuid(number: int) -> str:
    digits = f"{number:032x}"
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return "-".join(parts)


def passage_ids(first: str, parts: int) -> list[str]:
    """Derive the ids of all passages from that of the first."""
    number = uuid.UUID(first).int
    return [first, *(str(uuid.UUID(int=number + part)) for part in range(1, parts))]


def document_number(point_id: str) -> int:
    """Number the document that a point belongs to; its points adjoin in the order of ids."""
    return uuid.UUID(point_id).int // MAX_SPANS


def parts_of(payload: Mapping[str, Any]) -> int:
    """Tell how many passages a document has, from its first point's payload."""
    return int(payload.get("parts", 1))


def span_of(payload: Mapping[str, Any]) -> Span:
    """Read a passage's place off its payload."""
    if "span" in payload:
        return (payload["span"][0], payload["span"][1])
    return (0, len(payload["text"]))


def to_rows(entry: Entry) -> list[PointRow]:
    """Lay out a document as points, with the check sum over all of them."""
    return rows_of([entry])[0]


def rows_of(entries: Sequence[Entry]) -> list[list[PointRow]]:
    """Lay out documents as points, each with the check sum over all of its own."""
    words = iter(weights_of([e.document.text[a:b] for e in entries for a, b in e.spans]))
    return [_lay_out(entry, list(islice(words, len(entry.spans)))) for entry in entries]


def _lay_out(entry: Entry, weights: Iterable[Sparse]) -> list[PointRow]:
    payloads = _payloads(entry)
    words = [_single_precision(sparse) for sparse in weights]
    products = (entry.vectors @ probe_signs(entry.vectors.shape[1])).tolist()
    for payload, product in zip(payloads, products, strict=True):
        payload["probe"] = round(product * PROBE_SCALE)
        payload["sum"] = _sum_of(payload)
    sums = [payload["sum"] for payload in payloads]
    check = check_sum(zip(sums, (row.tobytes() for row in entry.vectors), words, strict=True))
    for payload in payloads:
        payload["check"] = check
    ids = point_ids(entry.document.doc_id, len(payloads))
    return list(map(PointRow, ids, entry.vectors, words, payloads))


def _payloads(entry: Entry) -> list[dict[str, Any]]:
    document, compared = entry.document, _compared(entry.document)
    payloads: list[dict[str, Any]] = []
    for part, span in enumerate(entry.spans):
        payload = {"doc_id": document.doc_id, **compared}
        if part:
            payload["part"] = part
        else:
            payload["text"] = document.text
            payload["metadata"] = json.dumps(dict(document.metadata), ensure_ascii=False)
            if len(entry.spans) > 1:
                payload["parts"] = len(entry.spans)
        if part or span != (0, len(document.text)):
            payload["span"] = list(span)
        payloads.append(payload)
    return payloads


def payload_sum(payload: Mapping[str, Any]) -> int:
    """Compute the check sum of a point's payload but for the sums themselves, 63 bits."""
    return _sum_of({key: value for key, value in payload.items() if key not in ("sum", "check")})


def _sum_of(covered: Mapping[str, Any]) -> int:
    # As JSONEncoder(sort_keys=True) writes it, in half the time; the names are our own.
    pairs = (f'"{key}": {_written(covered[key])}' for key in sorted(covered))
    data = ("{" + ", ".join(pairs) + "}").encode("ascii")
    return _63_bits(hashlib.blake2b(data, digest_size=8).digest())


def _written(value: object) -> str:
    if type(value) is str:
        return encode_basestring_ascii(value)
    return str(value) if type(value) is int else _SORTED.encode(value)


def is_as_written(payload: Mapping[str, Any]) -> bool:
    """Tell whether a point's payload fits its sum."""
    return payload.get("sum") == payload_sum(payload)


def check_sum(parts: Iterable[tuple[int, bytes, Sparse]]) -> int:
    """Compute a document's check sum, 63 bits.

    Args:
        parts: Of each point in order the sum of its payload, the bytes of its dense vector, and the
            sparse one.
    """
    digest = hashlib.blake2b(digest_size=8)
    for total, vector, words in parts:
        digest.update(total.to_bytes(8, "big"))
        digest.update(vector)
        digest.update(array("I", words.indices))
        digest.update(array("f", words.values))
    return _63_bits(digest.digest())


@lru_cache(maxsize=16)
def probe_signs(dim: int) -> NDArray[np.float32]:
    """Make signs at random, the same ones always, shape (dim,).

    A vector's dot product with them tells whether it is as it was, and an engine computes it fast.
    """
    data = hashlib.shake_128(b"signs").digest(dim // 8 + 1)
    bits = np.unpackbits(np.frombuffer(data, np.uint8))[:dim]
    return bits.astype(np.float32) * 2 - 1


def is_probe(found: float, stored: int, dim: int) -> bool:
    """Tell whether a dot product with ``probe_signs`` is the one stored, but for rounding.

    What this lets pass moves a cosine by less than 1e-4.
    """
    return abs(found * PROBE_SCALE - stored) <= 2 + dim / 384  # False for what is not a number


def to_document(payload: Mapping[str, Any]) -> Document:
    """Read a document back from its first point's payload."""
    return Document(
        doc_id=payload["doc_id"],
        text=payload["text"],
        lang=payload.get("lang"),
        metadata=json.loads(payload["metadata"]),
    )


def field_key(key: str) -> str:
    """Name a metadata key so that it can stand in a path: as it is, or by its hash."""
    if _PLAIN_KEY.fullmatch(key):
        return key
    return "x-" + hashlib.blake2b(key.encode(), digest_size=16).hexdigest()


def token(value: MetadataValue) -> str:
    """Name a value so that equal values of one kind, and only they, have one name."""
    match kind_of(value):
        case "string":
            name = f"s{value}"
        case "boolean":
            name = f"b{int(value)}"
        case "number":
            whole = isinstance(value, int) or float(value).is_integer()
            name = f"n{int(value):x}" if whole else f"n{float(value).hex()}"
    if len(name) <= _MAX_TOKEN_CHARS:
        return name
    return f"#{name[0]}{hashlib.blake2b(name.encode(), digest_size=16).hexdigest()}"


def order_of(value: float) -> tuple[int, int, int]:
    """Split a number in whole parts whose order, the first first, is that of the numbers.

    The first two are the upper and lower half of the bits of the largest double that is not above
    the number; the third is the rest, which only integers beyond 53 bits have. A rest of 2**53 or
    more, of integers beyond 106 bits, is taken for 2**53.
    """
    double, rest = _floor(value) if isinstance(value, int) else (value + 0.0, 0)  # No -0.0
    bits = struct.unpack(">Q", struct.pack(">d", double))[0]
    bits = bits ^ 0xFFFF_FFFF_FFFF_FFFF if bits >> 63 else bits | 1 << 63
    return bits >> 32, bits & 0xFFFF_FFFF, rest


def _floor(value: int) -> tuple[float, int]:
    try:
        double = float(value)
    except OverflowError:  # Bounds are finite, so all integers beyond them may be one
        return (sys.float_info.max, _LARGEST_REST) if value > 0 else (-math.inf, 0)
    if double > value:
        double = math.nextafter(double, -math.inf)
    rest = _LARGEST_REST if math.isinf(double) else value - int(double)
    return double, min(rest, _LARGEST_REST)


def _compared(document: Document) -> dict[str, Any]:
    """What filters compare; zeros of ``l`` and ``m`` are left out."""
    compared: dict[str, Any] = {"script": script_of_document(document)}
    if document.lang is not None:
        compared["lang"] = document.lang
    for key, value in document.metadata.items():
        name = field_key(key)
        compared.setdefault("f", {})[name] = token(value)
        if isinstance(value, str | bool):
            continue
        for part, number in zip("hlm", order_of(value), strict=True):
            if number or part == "h":
                compared.setdefault(part, {})[name] = number
    return compared


def _63_bits(digest: bytes) -> int:
    return int.from_bytes(digest, "big") >> 1


def _single_precision(words: Sparse) -> Sparse:
    return Sparse(words.indices, array("f", words.values).tolist())


def index_paths(fields: Sequence[str]) -> dict[str, str]:
    """Name what is to be indexed, each with its type: those of ``fields`` and our own.

    Returns:
        Paths with ``keyword`` or ``integer``.
    """
    paths = {"lang": "keyword", "script": "keyword", "part": "integer"}
    for key in map(field_key, fields):
        paths |= {f"f.{key}": "keyword"} | {f"{part}.{key}": "integer" for part in "hlm"}
    return paths
