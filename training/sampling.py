"""Which pairs and texts a batch draws: buckets of one corpus and language, drawn by weight.

A corpus has its weight whatever its size; within it a language with n pairs gets a share in
proportion to n ** exponent, so that small languages are seen more often than their size says.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.collation import Ints
from training.corpus import Bitext

MIN_CROP_TOKENS = 6  # shorter texts are not cropped


@dataclass(frozen=True, slots=True)
class Drawn:
    """Pairs that were drawn; all of shape (pairs,).

    Attributes:
        rows: Row of the bitext, or -1 where there is none.
        queries: Text of each query.
        documents: Text of each document.
        pivots: The text that both of them translate.
        query_langs: Index into the bitext's languages.
        document_langs: The same of the documents.
    """

    rows: Ints
    queries: Ints
    documents: Ints
    pivots: Ints
    query_langs: Ints
    document_langs: Ints


class Pairs:
    """Pairs in two languages, in buckets of one corpus and one pair of languages."""

    def __init__(self, bitext: Bitext, weights: NDArray[np.float64], exponent: float) -> None:
        lang_pairs = bitext.lang_a.astype(np.int64) * len(bitext.langs) + bitext.lang_b
        keys = bitext.corpus.astype(np.int64) * len(bitext.langs) ** 2 + lang_pairs
        order = np.argsort(keys, kind="stable")
        self._rows = order[~alike(bitext)[order]]
        _, self._starts, self._sizes = np.unique(
            keys[self._rows], return_index=True, return_counts=True
        )
        corpus = bitext.corpus[self._rows[self._starts]].astype(np.int64)
        self._shares = bucket_weights(corpus, self._sizes, weights, exponent)
        self._cumulative = np.cumsum(self._shares)
        # Buckets of a corpus stand together: where they begin and end, for each bucket.
        self._first = np.searchsorted(corpus, corpus, side="left")
        self._last = np.searchsorted(corpus, corpus, side="right")
        self._bitext = bitext
        self._n_way = np.array([c.n_way for c in bitext.corpora])[bitext.corpus]
        self._directed = np.array([c.own for c in bitext.corpora])[bitext.corpus]
        # Pairs of a corpus with one pivot stand together: any two of them give an X-Y pair.
        pivots = bitext.corpus.astype(np.int64) << 32 | bitext.text_a
        self._by_pivot = np.argsort(pivots, kind="stable")
        ordered = pivots[self._by_pivot]
        self._group_start = np.searchsorted(ordered, pivots, side="left")
        self._group_size = np.searchsorted(ordered, pivots, side="right") - self._group_start

    def __len__(self) -> int:
        return len(self._rows)

    def pivot_chances(self) -> NDArray[np.float64]:
        """Return how often each text is drawn as a pivot, up to a factor, shape (texts,)."""
        of_row = np.repeat(self._shares / self._sizes, self._sizes)  # in the order of _rows
        pivots = self._bitext.text_a[self._rows]
        return np.bincount(pivots, of_row, len(self._bitext.texts)).astype(np.float64)

    def draw(self, rng: Generator, count: int, *, pivot_free: float, single: bool) -> Drawn:
        """Draw pairs, of a single corpus or of all; translations in either direction."""
        bitext = self._bitext
        bucket = self._draw_buckets(rng, count, single=single)
        rows = self._rows[self._starts[bucket] + rng.integers(0, self._sizes[bucket])]
        mates = self._by_pivot[self._group_start[rows] + rng.integers(0, self._group_size[rows])]
        free = (rng.random(count) < pivot_free) & self._n_way[rows]
        left, left_langs = bitext.text_b[rows], bitext.lang_b[rows]
        free &= bitext.lang_b[mates] != left_langs
        free &= bitext.text_b[mates] != left
        pivots = bitext.text_a[rows]
        right = np.where(free, bitext.text_b[mates], pivots)
        right_langs = np.where(free, bitext.lang_b[mates], bitext.lang_a[rows])
        swap = (rng.random(count) < 0.5) & ~self._directed[rows]
        columns = (
            rows,
            np.where(swap, right, left),
            np.where(swap, left, right),
            pivots,
            np.where(swap, right_langs, left_langs),
            np.where(swap, left_langs, right_langs),
        )
        return Drawn(*(column.astype(np.int64) for column in columns))

    def _draw_buckets(self, rng: Generator, count: int, *, single: bool) -> Ints:
        if not single:
            return draw_weighted(rng, self._cumulative, count)
        bucket = draw_weighted(rng, self._cumulative, 1)[0]
        first, last = self._first[bucket], self._last[bucket]
        return first + draw_weighted(rng, np.cumsum(self._shares[first:last]), count)


class Lines:
    """What a monolingual batch is made of, in buckets of one language and one corpus.

    Where own files have pairs of a query and a document in one language, these; in each other
    language the single texts, to be cropped or paired with their neighbors.

    Attributes:
        texts: Text of each line, or the query of a pair, shape (lines,).
        pivots: The text it translates, or itself, or the document of a pair, shape (lines,).
        rows: Row of the bitext of a pair, -1 of a line, shape (lines,).
    """

    def __init__(
        self, bitext: Bitext, lengths: Ints, weights: NDArray[np.float64], exponent: float
    ) -> None:
        paired = np.flatnonzero(alike(bitext))
        # The pivot sides count as lines too, each text once in a corpus.
        _, first = np.unique(
            bitext.corpus.astype(np.int64) << 32 | bitext.text_a, return_index=True
        )
        first.sort()
        texts = np.concatenate([bitext.text_b, bitext.text_a[first]]).astype(np.int64)
        pivots = np.concatenate([bitext.text_a, bitext.text_a[first]]).astype(np.int64)
        langs = np.concatenate([bitext.lang_b, bitext.lang_a[first]]).astype(np.int64)
        corpus = np.concatenate([bitext.corpus, bitext.corpus[first]]).astype(np.int64)
        rows = np.full(len(texts), -1, np.int64)
        rows[paired] = paired  # text_b is the query, and text_a its document
        with_pairs = np.zeros(len(bitext.langs), bool)
        with_pairs[bitext.lang_b[paired]] = True
        keys = langs * len(bitext.corpora) + corpus
        order = np.argsort(keys, kind="stable")
        usable = ~with_pairs[langs] & (lengths[texts] >= MIN_CROP_TOKENS) | (rows >= 0)
        order = order[usable[order]]
        keys, self.texts, self.pivots = keys[order], texts[order], pivots[order]
        self.rows, self._line_langs = rows[order], langs[order]
        ordered = np.array([c.document_order for c in bitext.corpora])[corpus[order]]
        self._followed = np.zeros(len(keys), bool)
        self._followed[:-1] = ordered[:-1] & (keys[1:] == keys[:-1])
        buckets, self._starts, self._sizes = np.unique(keys, return_index=True, return_counts=True)
        bucket_langs, bucket_corpus = np.divmod(buckets, len(bitext.corpora))
        self._weights = bucket_weights(bucket_corpus, self._sizes, weights, exponent)
        self._cumulative = np.cumsum(self._weights)
        # Buckets of a language stand together: where they begin and end, for each bucket.
        self._first = np.searchsorted(bucket_langs, bucket_langs, side="left")
        self._last = np.searchsorted(bucket_langs, bucket_langs, side="right")

    def __len__(self) -> int:
        return len(self.texts)

    def draw(self, rng: Generator, count: int, like: int | None = None) -> tuple[Ints, Ints]:
        """Draw lines of one language.

        Args:
            rng: Draws the language too.
            count: How many.
            like: A line in whose language to draw; None: in any.

        Returns:
            The lines, and the line after each in its document (or -1), each of shape (count,).
        """
        if like is None:
            of_lang = draw_weighted(rng, self._cumulative, 1)[0]
        else:
            of_lang = np.searchsorted(self._starts, like, side="right") - 1
        first, last = self._first[of_lang], self._last[of_lang]
        bucket = first + draw_weighted(rng, np.cumsum(self._weights[first:last]), count)
        lines = self._starts[bucket] + rng.integers(0, self._sizes[bucket])
        return lines, np.where(self._followed[lines], lines + 1, -1)

    def pairs(self, lines: Ints) -> Drawn:
        """Return lines, all of them pairs of an own file, as queries and documents."""
        langs, documents = self._line_langs[lines], self.pivots[lines]
        return Drawn(self.rows[lines], self.texts[lines], documents, documents, langs, langs)

    def of(self, lines: Ints) -> tuple[Ints, Ints, Ints]:
        """Return the text, pivot and language of each line."""
        return self.texts[lines], self.pivots[lines], self._line_langs[lines]


def alike(bitext: Bitext) -> NDArray[np.bool_]:
    """Mark the pairs of own files whose two sides are in one language, shape (pairs,)."""
    own = np.array([corpus.own for corpus in bitext.corpora])[bitext.corpus]
    return own & (bitext.lang_a == bitext.lang_b)


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
