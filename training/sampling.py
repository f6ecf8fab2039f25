"""Which pairs and texts a batch draws: buckets of one corpus and language, drawn by weight.

A corpus has its weight whatever its size; within it a language with n pairs gets a share in
proportion to n ** exponent, so that small languages are seen more often than their size says.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.collation import Ints
from training.corpus import Bitext

MIN_CROP_TOKENS = 6  # shorter texts are not cropped


class Pairs:
    """Translation pairs in buckets of one corpus and one pair of languages."""

    def __init__(self, bitext: Bitext, weights: NDArray[np.float64], exponent: float) -> None:
        lang_pairs = bitext.lang_a.astype(np.int64) * len(bitext.langs) + bitext.lang_b
        keys = bitext.corpus.astype(np.int64) * len(bitext.langs) ** 2 + lang_pairs
        self._rows = np.argsort(keys, kind="stable")
        _, self._starts, self._sizes = np.unique(
            keys[self._rows], return_index=True, return_counts=True
        )
        self._corpus = bitext.corpus[self._rows[self._starts]].astype(np.int64)
        self._shares = bucket_weights(self._corpus, self._sizes, weights, exponent)
        self._bitext = bitext
        self._n_way = np.array([c.n_way for c in bitext.corpora])[bitext.corpus]
        # Pairs of a corpus with one pivot stand together: any two of them give an X-Y pair.
        pivots = bitext.corpus.astype(np.int64) << 32 | bitext.text_a
        self._by_pivot = np.argsort(pivots, kind="stable")
        ordered = pivots[self._by_pivot]
        self._group_start = np.searchsorted(ordered, pivots, side="left")
        self._group_size = np.searchsorted(ordered, pivots, side="right") - self._group_start

    def pivot_chances(self) -> NDArray[np.float64]:
        """Return how often each text is drawn as a pivot, up to a factor, shape (texts,)."""
        of_row = np.repeat(self._shares / self._sizes, self._sizes)  # in the order of _rows
        pivots = self._bitext.text_a[self._rows]
        return np.bincount(pivots, of_row, len(self._bitext.texts)).astype(np.float64)

    def draw(
        self, rng: Generator, count: int, *, pivot_free: float, single: bool
    ) -> tuple[Ints, Ints, Ints]:
        """Draw pairs, of a single corpus or of all.

        Returns:
            Their texts on both sides and their pivots, each of shape (count,).
        """
        bitext = self._bitext
        shares = self._shares
        if single:
            corpus = self._corpus[draw_weighted(rng, np.cumsum(shares), 1)]
            shares = np.where(self._corpus == corpus, shares, 0.0)
        bucket = draw_weighted(rng, np.cumsum(shares), count)
        rows = self._rows[self._starts[bucket] + rng.integers(0, self._sizes[bucket])]
        mates = self._by_pivot[self._group_start[rows] + rng.integers(0, self._group_size[rows])]
        free = (rng.random(count) < pivot_free) & self._n_way[rows]
        free &= bitext.lang_b[mates] != bitext.lang_b[rows]
        free &= bitext.text_b[mates] != bitext.text_b[rows]
        pivots = bitext.text_a[rows].astype(np.int64)
        other = np.where(free, bitext.text_b[mates], pivots)
        return bitext.text_b[rows].astype(np.int64), other, pivots


class Lines:
    """Texts of one language each, in buckets of one language and one corpus.

    Attributes:
        texts: Text of each line, shape (lines,).
        pivots: The text it translates, or itself, shape (lines,).
    """

    def __init__(
        self, bitext: Bitext, lengths: Ints, weights: NDArray[np.float64], exponent: float
    ) -> None:
        # The pivot sides count as lines too, each text once in a corpus.
        _, first = np.unique(
            bitext.corpus.astype(np.int64) << 32 | bitext.text_a, return_index=True
        )
        first.sort()
        texts = np.concatenate([bitext.text_b, bitext.text_a[first]]).astype(np.int64)
        pivots = np.concatenate([bitext.text_a, bitext.text_a[first]]).astype(np.int64)
        langs = np.concatenate([bitext.lang_b, bitext.lang_a[first]]).astype(np.int64)
        corpus = np.concatenate([bitext.corpus, bitext.corpus[first]]).astype(np.int64)
        keys = langs * len(bitext.corpora) + corpus
        order = np.argsort(keys, kind="stable")
        order = order[lengths[texts[order]] >= MIN_CROP_TOKENS]
        keys, self.texts, self.pivots = keys[order], texts[order], pivots[order]
        ordered = np.array([c.document_order for c in bitext.corpora])[corpus[order]]
        self._followed = np.zeros(len(keys), bool)
        self._followed[:-1] = ordered[:-1] & (keys[1:] == keys[:-1])
        buckets, self._starts, self._sizes = np.unique(keys, return_index=True, return_counts=True)
        self._langs, corpus_of_bucket = np.divmod(buckets, len(bitext.corpora))
        self._weights = bucket_weights(corpus_of_bucket, self._sizes, weights, exponent)
        self._cumulative = np.cumsum(self._weights)

    def __len__(self) -> int:
        return len(self.texts)

    def draw(self, rng: Generator, count: int) -> tuple[Ints, Ints]:
        """Draw lines of one language.

        Returns:
            The lines, and the line after each in its document (or -1), each of shape (count,).
        """
        lang = self._langs[draw_weighted(rng, self._cumulative, 1)]
        own = np.flatnonzero(self._langs == lang)
        bucket = own[draw_weighted(rng, np.cumsum(self._weights[own]), count)]
        lines = self._starts[bucket] + rng.integers(0, self._sizes[bucket])
        return lines, np.where(self._followed[lines], lines + 1, -1)


def bucket_weights(
    corpus: Ints, sizes: Ints, weights: NDArray[np.float64], exponent: float
) -> NDArray[np.float64]:
    """Share the weight of each corpus among its buckets, in proportion to size ** exponent.

    Args:
        corpus: Corpus of each bucket, shape (buckets,).
        sizes: Pairs in each bucket, shape (buckets,).
        weights: Weight of each corpus, shape (corpora,).
        exponent: 1 draws by size, 0 gives each language of a corpus the same share.
    """
    powers = sizes.astype(np.float64) ** exponent
    return weights[corpus] * powers / np.bincount(corpus, powers, len(weights))[corpus]


def draw_weighted(rng: Generator, cumulative: NDArray[np.float64], count: int) -> Ints:
    """Draw indices in proportion to weights given by their running sum."""
    drawn = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
    return np.minimum(drawn, len(cumulative) - 1)
