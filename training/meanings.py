"""Which texts say the same, as far as the corpora tell: they are one pivot, or translate one.

A text can have several pivots (a short one translates many), so this is no partition of the texts:
two texts say the same if one pivot is among those of both.
"""

import numpy as np
from numpy.typing import NDArray

from training.collation import Ints, equal_pairs, within_runs


class Meanings:
    """The pivots of each text; a pivot is its own."""

    def __init__(
        self, pivots: NDArray[np.integer], translations: NDArray[np.integer], texts: int
    ) -> None:
        """Note who translates whom.

        Args:
            pivots: Text that each pair has as its pivot, shape (pairs,).
            translations: The other text of each pair, shape (pairs,).
            texts: How many texts there are.
        """
        of_pivots = pivots.astype(np.int64)
        # Sorted, so that the pivots of a text stand together and any (text, pivot) is found.
        self._keys = np.unique(
            np.concatenate([of_pivots << 32, translations.astype(np.int64) << 32])
            | np.concatenate([of_pivots, of_pivots])
        )
        self._pivots = self._keys & 0xFFFFFFFF
        self._starts = np.searchsorted(self._keys >> 32, np.arange(texts + 1))

    def pivots(self, texts: Ints) -> tuple[Ints, Ints]:
        """Return all (place in ``texts``, pivot of the text there)."""
        starts = self._starts[texts]
        counts = self._starts[texts + 1] - starts
        places = np.repeat(starts, counts) + within_runs(counts)
        return np.repeat(np.arange(len(texts)), counts), self._pivots[places]

    def same(self, left: Ints, right: Ints) -> NDArray[np.bool_]:
        """Tell of each two texts whether they say the same; all of shape (n,)."""
        places, pivots = self.pivots(left)
        keys = right[places] << 32 | pivots
        found = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        hits = places[self._keys[found] == keys] if len(keys) else places
        shared = np.zeros(len(left), bool)
        shared[hits] = True
        return shared | (left == right)

    def same_pairs(self, left: Ints, right: Ints) -> tuple[Ints, Ints]:
        """Return all (i, j) of which ``left[i]`` and ``right[j]`` say the same."""
        rows, row_pivots = self.pivots(left)
        columns, column_pivots = self.pivots(right)
        places, others = equal_pairs(row_pivots, column_pivots)
        alike, alike_others = equal_pairs(left, right)  # texts that stand in no pair
        flat = np.unique(
            np.concatenate([rows[places], alike]) * len(right)
            + np.concatenate([columns[others], alike_others])
        )
        found = np.divmod(flat, max(1, len(right)))
        return found[0], found[1]
