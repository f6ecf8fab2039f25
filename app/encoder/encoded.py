"""What becomes of texts: their vectors, and what the caller should know about them.

Knows no session and no tokenizer, so that whoever only reads answers need not load either.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A sum of unit vectors shorter than this has no direction worth keeping.
LEAST_NORM = 1e-6


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of a request went, in seconds.

    Attributes:
        tokenize_s: Texts to token ids.
        queue_s: Waiting for the model.
        inference_s: Runs of the model that held texts of the request.
    """

    tokenize_s: float = 0.0
    queue_s: float = 0.0
    inference_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Encoded:
    """What became of some texts.

    Attributes:
        vectors: Unit rows, shape (texts, dim), float32.
        truncated: For each text whether it was cut to the encoder's ``max_tokens``.
        tokens: Tokens of all texts together, special tokens included.
        lengths: Tokens of each text, special tokens of all its windows included.
        windows: For each text how many windows it was split in; 1 unless windows were asked for.
        timings: Where the time went.
    """

    vectors: NDArray[np.float32]
    truncated: list[bool]
    tokens: int
    lengths: list[int]
    windows: list[int]
    timings: Timings


def shorten(vectors: NDArray[np.float32], dimensions: int | None) -> NDArray[np.float32]:
    """Keep the leading dimensions of unit rows and normalize what is left."""
    if dimensions is None or dimensions >= vectors.shape[1]:
        return vectors
    return _normalized(np.ascontiguousarray(vectors[:, :dimensions]))


def pool_windows(
    vectors: NDArray[np.float32], counts: Sequence[int], weights: Sequence[int]
) -> NDArray[np.float32]:
    """Average the vectors of each text's windows, weighted, and normalize.

    Args:
        vectors: Unit rows of all windows, those of a text in sequence, shape (windows, dim).
        counts: Windows of each text; all positive.
        weights: Tokens of each window.

    Returns:
        Unit rows, shape (texts, dim); the very row where a text has one window.
    """
    if len(vectors) == len(counts):
        return vectors
    starts = np.cumsum([0, *counts[:-1]])
    weighted = vectors * np.asarray(weights, dtype=np.float32)[:, None]  # (windows, dim)
    pooled = _normalized(np.add.reduceat(weighted, starts, axis=0))  # (texts, dim)
    alone = np.asarray(counts) == 1
    pooled[alone] = vectors[starts[alone]]
    return pooled


def _normalized(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    # Nothing is left of such a row; any direction is then as good as another.
    rows = np.where(norms > LEAST_NORM, rows, np.float32(1))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
