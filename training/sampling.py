"""The pairs and texts that batches are made of, in buckets of one corpus and language."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.buckets import Buckets, bucket_weights
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
    """Pairs in two languages, in buckets of one corpus and one pair of languages.

    Attributes:
        buckets: In groups of one corpus.
        names: Corpus and languages of each.
    """

    def __init__(self, bitext: Bitext, weights: NDArray[np.float64], exponent: float) -> None:
        lang_pairs = bitext.lang_a.astype(np.int64) * len(bitext.langs) + bitext.lang_b
        keys = bitext.corpus.astype(np.int64) * len(bitext.langs) ** 2 + lang_pairs
        order = np.argsort(keys, kind="stable")
        self._rows = order[~alike(bitext)[order]]
        _, starts, sizes = np.unique(keys[self._rows], return_index=True, return_counts=True)
        of_bucket = self._rows[starts]
        corpus = bitext.corpus[of_bucket].astype(np.int64)
        self.buckets = Buckets(sizes, bucket_weights(corpus, sizes, weights, exponent), corpus)
        self.names = _names(bitext, corpus, bitext.lang_a[of_bucket], bitext.lang_b[of_bucket])
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
        sizes = self.buckets.sizes
        of_row = np.repeat(self.buckets.weights / sizes, sizes)  # in the order of _rows
        pivots = self._bitext.text_a[self._rows]
        return np.bincount(pivots, of_row, len(self._bitext.texts)).astype(np.float64)

    def draw(self, rng: Generator, count: int, *, pivot_free: float) -> Drawn:
        """Draw pairs by weight, each anew: for what is compared with a batch, not for the batch."""
        buckets = self.buckets.draw(rng.random((1, count)), np.full(1, -1))[0]
        places = rng.integers(0, self.buckets.sizes[buckets])
        return self.take(buckets, places, rng, pivot_free=pivot_free)

    def take(self, buckets: Ints, places: Ints, rng: Generator, *, pivot_free: float) -> Drawn:
        """Take pairs by bucket and place in it; translations in either direction.

        Args:
            buckets: Shape (pairs,).
            places: From 0 to below the bucket's size, shape (pairs,).
            rng: Draws the direction, and the other translation where the pivot is left out.
            pivot_free: Share of pairs without their pivot, where n-way corpora allow it.
        """
        bitext, count = self._bitext, len(buckets)
        rows = self._rows[self.buckets.starts[buckets] + places]
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


class Lines:
    """What a monolingual batch is made of, in buckets of one language and one corpus.

    Where own files have pairs of a query and a document in one language, these; in each other
    language the single texts, to be cropped or paired with their neighbors.

    Attributes:
        buckets: In groups of one language.
        names: Corpus and language of each.
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
        buckets, sizes = np.unique(keys, return_counts=True)
        bucket_langs, corpora = np.divmod(buckets, len(bitext.corpora))
        shares = bucket_weights(corpora, sizes, weights, exponent)
        self.buckets = Buckets(sizes, shares, bucket_langs)
        self.names = _names(bitext, corpora, bucket_langs)

    def __len__(self) -> int:
        return len(self.texts)

    def draw(self, rng: Generator, count: int, like: int) -> Ints:
        """Draw lines by weight, each anew: for what is compared with a batch, not for the batch.

        Args:
            rng: Draws them.
            count: How many.
            like: A line in whose language to draw.

        Returns:
            The lines, shape (count,).
        """
        bucket = np.searchsorted(self.buckets.starts, [like], side="right") - 1
        buckets = self.buckets.draw(rng.random((1, count)), bucket)[0]
        return self.take(buckets, rng.integers(0, self.buckets.sizes[buckets]))

    def take(self, buckets: Ints, places: Ints) -> Ints:
        """Return the lines at places of buckets, all of shape (lines,)."""
        return self.buckets.starts[buckets] + places

    def following(self, lines: Ints) -> Ints:
        """Return the line after each in its document, or -1, shape (lines,)."""
        return np.where(self._followed[lines], lines + 1, -1)

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


def _names(bitext: Bitext, corpus: Ints, *langs: NDArray[np.integer]) -> list[tuple[str, str]]:
    """Name the corpus and the languages of each bucket."""
    codes = [[bitext.langs[lang] for lang in side] for side in langs]
    corpora = [bitext.corpora[index].name for index in corpus]
    return list(zip(corpora, map("-".join, zip(*codes, strict=True)), strict=True))
