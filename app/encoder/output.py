"""Vectors as whole numbers or bits: smaller to send and to store, a little less exact.

Nothing is fitted to data, so vectors written today and next year can be compared:

    int8     round(127 * clip(x / r, -1, 1)), r = min(1, 8 / sqrt(dimensions))
    uint8    int8 + 128
    ubinary  one bit a component, set where x > 0, the first in the highest bit; padded with zeros
    binary   ubinary - 128, as a signed byte

Components of a unit vector have a root mean square of 1 / sqrt(dimensions); the range of int8 is
eight times that, of which the default encoder uses less than seven. A dot product of two int8
vectors is their cosine times (127 / r) squared. The bits are packed as sentence-transformers and
Cohere pack them; their int8 has other ranges, fitted to each component on texts of one's own.
"""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

OutputType = Literal["float", "int8", "uint8", "binary", "ubinary"]
LEVELS = 127
RANGE_IN_DEVIATIONS = 8.0
OFFSET = 128

DTYPES: dict[OutputType, np.dtype[Any]] = {
    "float": np.dtype("<f4"),
    "int8": np.dtype(np.int8),
    "uint8": np.dtype(np.uint8),
    "binary": np.dtype(np.int8),
    "ubinary": np.dtype(np.uint8),
}


def int8_range(dimensions: int) -> float:
    """The largest component that int8 can hold: it is written as 127."""
    return min(1.0, RANGE_IN_DEVIATIONS / math.sqrt(dimensions))


def convert(vectors: NDArray[np.float32], output_type: OutputType) -> NDArray[Any]:
    """Write unit rows in another type.

    Args:
        vectors: Unit rows, shape (texts, dim).
        output_type: One of ``DTYPES``.

    Returns:
        Shape (texts, dim), or (texts, ceil(dim / 8)) for bits; contiguous.
    """
    if output_type == "float":
        return np.ascontiguousarray(vectors, dtype=DTYPES["float"])
    if output_type in ("binary", "ubinary"):
        bits = np.packbits(vectors > 0, axis=1)  # (texts, ceil(dim / 8))
        return bits if output_type == "ubinary" else (bits ^ OFFSET).view(np.int8)
    scale = np.float32(LEVELS / int8_range(vectors.shape[1]))
    whole = np.rint(np.clip(vectors * scale, -LEVELS, LEVELS)).astype(np.int8)
    return whole if output_type == "int8" else whole.view(np.uint8) ^ OFFSET
