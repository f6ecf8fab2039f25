"""Cursors: where the next part of an answer begins, bound to the request that it belongs to.

A cursor holds an offset and a digest, in no secret way: a client that makes one up reads what it
could have asked for. The digest is there so that one sent along with another request is refused,
rather than answered with a part of another ranking.
"""

import base64
import binascii
import hashlib
from typing import Any

import orjson

from app.errors import InvalidInputError

DIGEST_BYTES = 12
OFFSET_BYTES = 3
CURSOR_CHARS = (DIGEST_BYTES + OFFSET_BYTES) * 4 // 3
MAX_CURSOR_OFFSET = 256**OFFSET_BYTES - 1


def write_cursor(offset: int, request: Any) -> str:
    """Name the part of a request's answer that begins after ``offset`` items of it.

    Args:
        offset: 0 to ``MAX_CURSOR_OFFSET``.
        request: All that decides the answer, as plain values.
    """
    named = offset.to_bytes(OFFSET_BYTES, "big") + _digest(request)
    return base64.urlsafe_b64encode(named).decode()


def read_cursor(cursor: str, request: Any) -> int:
    """Return the offset of a cursor.

    Raises:
        InvalidInputError: If it is no cursor, or not one of this request's.
    """
    try:
        named = base64.b64decode(cursor, altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        named = b""
    if len(named) != OFFSET_BYTES + DIGEST_BYTES:
        raise InvalidInputError(
            "The cursor is none; expected what an earlier answer had as next, or leave it out."
        )
    if named[OFFSET_BYTES:] != _digest(request):
        raise InvalidInputError(
            "The cursor belongs to another request; expected all else to be as in the request "
            "whose answer it came with: send the same again, or leave the cursor out."
        )
    return int.from_bytes(named[:OFFSET_BYTES], "big")


def _digest(request: Any) -> bytes:
    plain = orjson.dumps(request, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(plain, digest_size=DIGEST_BYTES).digest()
