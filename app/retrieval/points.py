"""What names, ids and vectors may be: checks that every engine shares (see also ``checks.py``)."""

import re

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.retrieval.store import MAX_TOP_K

MAX_DIM = 65_536
MAX_DOC_ID_BYTES = 512
NAME_PATTERN = r"[a-z0-9][a-z0-9_-]{0,63}"
"""What a collection's name looks like as a whole."""
_NAME = re.compile(NAME_PATTERN)


def require_name(name: str) -> str:
    """Return the name if it may name a collection, and hence a directory.

    Raises:
        InvalidInputError: If it is not 1 to 64 of a-z, 0-9, ``_`` and ``-``, beginning with a
            letter or digit.
    """
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise InvalidInputError(
            f"{name!r:.100} is not a collection name: use 1 to 64 characters of a-z, 0-9, '_' and "
            "'-', beginning with a letter or digit."
        )
    return name


def require_doc_id(doc_id: str) -> str:
    """Return the ``doc_id`` if it is a non-empty string of at most 512 bytes in UTF-8.

    Raises:
        InvalidInputError: If it is not.
    """
    encoded = _require_text(doc_id, "doc_id")
    if not 1 <= len(encoded) <= MAX_DOC_ID_BYTES:
        raise InvalidInputError(
            f"A doc_id has {len(encoded)} bytes; 1 to {MAX_DOC_ID_BYTES} are possible."
        )
    return doc_id


def require_top_k(top_k: int) -> int:
    """Return ``top_k`` if it is 1 to ``MAX_TOP_K``.

    Raises:
        InvalidInputError: If it is not.
    """
    if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= MAX_TOP_K:
        raise InvalidInputError(f"top_k is {top_k!r:.50}; give an integer from 1 to {MAX_TOP_K}.")
    return top_k


def unit_rows(vectors: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """Scale rows to length 1, so that a dot product is a cosine.

    Args:
        vectors: Shape (rows, dim).
        dim: The dimension expected.

    Returns:
        A float32 array of the same shape.

    Raises:
        InvalidInputError: If the shape differs, or a row is zero or not finite.
    """
    rows = np.asarray(vectors)
    if rows.ndim != 2 or rows.shape[1] != dim or rows.dtype.kind not in "fiu":
        raise InvalidInputError(
            f"The vectors have shape {rows.shape} and type {rows.dtype}; expected numbers of shape "
            f"(rows, {dim})."
        )
    wide = rows.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)  # (rows, 1)
    bad = np.flatnonzero(~np.isfinite(lengths[:, 0]) | (lengths[:, 0] < 1e-30))
    if bad.size:
        raise InvalidInputError(
            f"Vector {int(bad[0])} is zero or not finite; it has no direction to compare."
        )
    return (wide / lengths).astype(np.float32)


def _require_text(value: str, field: str) -> bytes:
    if not isinstance(value, str):
        raise InvalidInputError(f"{field} is {type(value).__name__}; give a string.")
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{field} holds a lone surrogate at position {error.start}; send valid Unicode."
        ) from error
