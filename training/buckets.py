"""Buckets of pairs that are drawn by weight: of all of them, or of one group of them.

A corpus has its weight whatever its size; within it a language with n pairs gets a share in
proportion to n ** exponent, so that small languages are seen more often than their size says.
"""

import numpy as np
from numpy.typing import NDArray

from training.collation import Ints

Floats = NDArray[np.float64]
_CELLS = 1 << 16


class Buckets:
    """Buckets in groups: of one corpus each, or of one language.

    Attributes:
        sizes: Pairs in each, shape (buckets,).
        starts: Where each begins if they stand one after another, shape (buckets,).
        weights: How often each is drawn, up to a factor, shape (buckets,).
    """

    def __init__(self, sizes: Ints, weights: Floats, groups: Ints) -> None:
        """Prepare to draw.

        Args:
            sizes: Pairs in each, from 1, shape (buckets,).
            weights: Above 0, shape (buckets,).
            groups: Ascending, so that those of a group stand together, shape (buckets,).
        """
        self.sizes, self.weights = sizes, weights
        self.starts = np.cumsum(sizes) - sizes
        self._first = np.searchsorted(groups, groups, side="left")
        self._last = np.searchsorted(groups, groups, side="right")
        cumulative = np.cumsum(weights)
        self._edges = np.concatenate([[0.0], cumulative / cumulative[-1:]])  # (buckets + 1,)
        # A search of two million points takes a tenth of the time where most are only looked up.
        cells = np.arange(_CELLS + 1) / _CELLS
        low = np.searchsorted(self._edges[1:], cells, side="right")
        high = np.searchsorted(self._edges[1:], cells[1:], side="left")
        self._bucket_of_cell = np.where(low == np.append(high, -1), low, -1)

    def __len__(self) -> int:
        return len(self.sizes)

    def locate(self, points: Floats) -> Ints:
        """Return the bucket that each point from 0 to below 1 falls into, of the points' shape."""
        found = self._bucket_of_cell[(points * _CELLS).astype(np.int64)]
        unsure = found < 0  # an edge is in the cell
        found[unsure] = np.searchsorted(self._edges[1:], points[unsure], side="right")
        return found

    def draw(self, points: Floats, like: Ints) -> Ints:
        """Turn random points into buckets.

        Args:
            points: From 0 to below 1, shape (rows, n).
            like: A bucket in whose group to draw the row, or -1: in any, shape (rows,).

        Returns:
            Buckets of shape (rows, n).
        """
        first = np.where(like < 0, 0, self._first[like])
        last = np.where(like < 0, len(self), self._last[like])
        low, high = self._edges[first, None], self._edges[last, None]  # (rows, 1)
        # Rounding may push a point onto the edge of the next group.
        return np.minimum(self.locate(low + points * (high - low)), last[:, None] - 1)


def bucket_weights(corpus: Ints, sizes: Ints, weights: Floats, exponent: float) -> Floats:
    """Share the weight of each corpus among its buckets, in proportion to size ** exponent.

    Args:
        corpus: Corpus of each bucket, shape (buckets,).
        sizes: Pairs in each bucket, shape (buckets,).
        weights: Weight of each corpus, shape (corpora,).
        exponent: 1 draws by size, 0 gives each language of a corpus the same share.
    """
    powers = sizes.astype(np.float64) ** exponent
    return weights[corpus] * powers / np.bincount(corpus, powers, len(weights))[corpus]
