"""Collections of format 1, of which each point was a document: how to read them.

Their check sum covered the payload's four fields and the vector; there were no words, no fields to
filter by but the language, and no books.
"""

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from app.errors import StoreError
from app.retrieval.checks import Entry
from app.retrieval.edge.rows import Row
from app.retrieval.payload import to_document


def entries_of(rows: Iterable[Row]) -> Iterator[Entry]:
    """Read documents off the points of a collection of format 1.

    Raises:
        StoreError: If one does not fit its check sum.
    """
    for row in rows:
        if row.payload.get("check") != _check_sum(row.payload, row.vector):
            name = row.payload.get("doc_id")
            raise StoreError(f"the document {name!r:.80} does not fit its check sum")
        document = to_document(row.payload)
        vector = np.frombuffer(row.vector, np.float32)[None]  # (1, dim)
        yield Entry(document, [(0, len(document.text))], vector)


def _check_sum(payload: Mapping[str, Any], vector: bytes) -> int:
    fields = [payload.get(key) for key in ("doc_id", "text", "metadata", "lang")]
    return zlib.crc32(vector, zlib.crc32(json.dumps(fields).encode("ascii")))
