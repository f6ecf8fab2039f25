"""Hard negatives of queries: those that a file gives, and those that the encoder mined.

A text that is a positive of the query, or translates one, is no negative of it, whether it stands
in the file or in the batch.
"""

import numpy as np
from numpy.random import Generator

from training.collation import Ints, within_runs
from training.corpus import Bitext
from training.meanings import Meanings


class HardNegatives:
    """Chooses the hard negatives of a batch."""

    def __init__(self, bitext: Bitext, count: int) -> None:
        """Take what is given.

        Args:
            bitext: Pairs, some of which may have negatives.
            count: Of each query.
        """
        self.count = count
        self.meanings = Meanings(bitext.text_a, bitext.text_b, len(bitext.texts))
        given = bitext.negatives
        self._texts = np.zeros(0, np.int64) if given is None else given.texts.astype(np.int64)
        self._starts = np.zeros(len(bitext) + 1, np.int64) if given is None else given.starts

    def __len__(self) -> int:
        return len(self._texts)

    def draw(self, rows: Ints, mined: Ints | None, rng: Generator) -> Ints:
        """Draw hard negatives of pairs, each once: given ones first, then mined ones.

        Args:
            rows: Row of the bitext of each pair, shape (pairs,).
            mined: Texts mined for each pair, -1 for none, shape (pairs, any); None: nothing was.
            rng: Draws among those that are given.

        Returns:
            Texts of shape (pairs, count), -1 where there is none.
        """
        starts = self._starts[rows]
        counts = self._starts[rows + 1] - starts
        pair = np.repeat(np.arange(len(rows)), counts)  # (given,)
        texts = self._texts[np.repeat(starts, counts) + within_runs(counts)]
        shuffled = np.lexsort((rng.random(len(pair)), pair))
        place = within_runs(counts)  # after shuffling: each pair's stand together still
        kept = place < self.count
        drawn = np.full((len(rows), self.count), -1, np.int64)
        drawn[pair[kept], place[kept]] = texts[shuffled][kept]
        if mined is None:
            return drawn
        known = (mined[:, :, None] == drawn[:, None, :]).any(axis=2)
        both = np.concatenate([drawn, np.where(known, -1, mined)], axis=1)
        order = np.argsort(both < 0, axis=1, kind="stable")[:, : self.count]
        return np.take_along_axis(both, order, axis=1)

    def masked(self, queries: Ints, documents: Ints, negatives: Ints) -> tuple[Ints, Ints]:
        """List the (query, negative) that say the same, or whose document says what it says.

        Args:
            queries: Text of each query, shape (pairs,).
            documents: Text of each document, shape (pairs,).
            negatives: Text of each hard negative of the batch, shape (negatives,).
        """
        rows, columns = self.meanings.same_pairs(np.concatenate([queries, documents]), negatives)
        flat = np.unique(rows % len(queries) * len(negatives) + columns)
        found = np.divmod(flat, len(negatives))
        return found[0], found[1]
