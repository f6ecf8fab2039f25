"""Two sets of vectors side by side: cosines, relative errors, and whose neighbors are whose."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NEIGHBORS = 10
LEAST_TEXTS = 5 * NEIGHBORS
"""Among fewer texts the nearest ones are so far away that rounding chooses between them."""
SAME = 1e-6
"""Similarities no farther apart than that are a tie: either text may be the neighbor."""


def cosine_gap(left: NDArray[np.floating], right: NDArray[np.floating]) -> float:
    """Compute the most that the cosine of two vectors in the same row misses 1 by.

    Args:
        left: Shape (n, dim).
        right: Shape (n, dim).

    Returns:
        From 0 to 2; not a number if a vector is zero or not finite.
    """
    pair = [rows.astype(np.float64) for rows in (left, right)]
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in pair)
        # Half the squared distance of unit vectors: 1 - cos without its cancellation.
        return float((0.5 * np.square(a - b).sum(axis=1)).max())


def relative_error(got: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """Compute the most that a text's values differ, relative to the length of those expected.

    A text whose values are next to nothing beside the others' is held to a hundredth of theirs: of
    what is all rounding no share would mean anything.

    Args:
        got: Shape (texts, ...).
        expected: Shape (texts, ...).

    Returns:
        From 0; not a number if a value is.
    """
    flat = [rows.reshape(len(rows), -1).astype(np.float64) for rows in (got, expected)]
    lengths = np.linalg.norm(flat[1], axis=1)
    floor = max(float(lengths.max()) / 100, np.finfo(np.float64).tiny)
    return float((np.linalg.norm(flat[0] - flat[1], axis=1) / np.maximum(lengths, floor)).max())


def neighbors_lost(
    got: NDArray[np.floating], expected: NDArray[np.floating]
) -> NDArray[np.float64] | None:
    """Compute for each text the share of its nearest others that are not among those expected.

    Args:
        got: Unit rows, shape (texts, dim).
        expected: Unit rows, shape (texts, dim).

    Returns:
        From 0 to 1, shape (texts,), of ``NEIGHBORS`` neighbors; None for fewer texts than
        ``LEAST_TEXTS``.
    """
    if len(got) < LEAST_TEXTS:
        return None
    near, far = (_similarities(rows) for rows in (got, expected))
    chosen = np.argpartition(-near, NEIGHBORS - 1, axis=1)[:, :NEIGHBORS]
    least = np.partition(far, -NEIGHBORS, axis=1)[:, -NEIGHBORS]  # (texts,)
    return (np.take_along_axis(far, chosen, axis=1) < least[:, None] - SAME).mean(axis=1)


def batch_of(
    rows: Sequence[Sequence[int]], pad_id: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pad rows of token ids to the longest: ids and mask, both (batch, seq)."""
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, None]  # (batch, seq)
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = [token for row in rows for token in row]
    return ids, mask.astype(np.int64)


def _similarities(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    exact = rows.astype(np.float64)
    similarities = exact @ exact.T
    np.fill_diagonal(similarities, -np.inf)
    return similarities
