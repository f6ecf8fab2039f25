"""In how many passages each token stands, for ``lexical.idf``.

The engine's own statistics count passages that were deleted, so they are kept here: sorted arrays
for what is settled and a counter for what is new. 8 bytes a token.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_MERGE_AT = 1 << 16


class Tally:
    """Counts of tokens; one thread changes it at a time, any may read it."""

    def __init__(self, tokens: NDArray[np.uint32], counts: NDArray[np.uint32]) -> None:
        """Take tokens, ascending, and in how many passages each stands; shape (tokens,) both."""
        self._state = (tokens, counts, Counter[int]())  # Exchanged as one: others read meanwhile

    @classmethod
    def empty(cls) -> "Tally":
        """Make a tally of nothing."""
        return cls(np.empty(0, np.uint32), np.empty(0, np.uint32))

    @classmethod
    def of(cls, tokens: NDArray[np.uint32]) -> "Tally":
        """Count the tokens of passages, put one after the other, each passage's once."""
        unique, counts = np.unique(tokens, return_counts=True)
        return cls(unique.astype(np.uint32), counts.astype(np.uint32))

    @classmethod
    def load(cls, path: Path) -> "Tally":
        """Read what ``save`` wrote.

        Raises:
            OSError, ValueError: If there is no such file, or it is damaged.
        """
        both = np.load(path, allow_pickle=False)
        if both.dtype != np.uint32 or both.ndim != 2 or len(both) != 2:
            raise ValueError(f"{path.name} is no tally")
        return cls(both[0], both[1])

    def save(self, path: Path) -> None:
        """Write the tally to a file."""
        self._merge()
        with path.open("wb") as file:
            np.save(file, np.stack(self._state[:2]))

    def add(self, tokens: Iterable[int]) -> None:
        """Count passages more, the tokens of each once."""
        self._state[2].update(tokens)
        if len(self._state[2]) > _MERGE_AT:
            self._merge()

    def remove(self, tokens: Iterable[int]) -> None:
        """Count passages less."""
        self._state[2].subtract(tokens)

    def having(self, token: int) -> int:
        """Tell in how many passages a token stands."""
        tokens, counts, fresh = self._state
        place = int(np.searchsorted(tokens, np.uint32(token)))
        settled = int(counts[place]) if place < len(tokens) and tokens[place] == token else 0
        return max(0, settled + fresh[token])

    def _merge(self) -> None:
        tokens, counts, fresh = self._state
        if not fresh:
            return
        every = np.concatenate([tokens, np.fromiter(fresh.keys(), np.uint32, len(fresh))])
        amounts = np.concatenate(
            [counts.astype(np.int64), np.fromiter(fresh.values(), np.int64, len(fresh))]
        )
        unique, place = np.unique(every, return_inverse=True)
        sums = np.zeros(len(unique), np.int64)
        np.add.at(sums, place, amounts)
        kept = sums > 0
        self._state = (unique[kept], sums[kept].astype(np.uint32), Counter[int]())
