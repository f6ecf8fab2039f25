"""Pairs -> hybrid batches: with probability ``cross_probability`` cross-lingual, else monolingual.

A cross-lingual batch pairs a text with its translation; where several languages share the pivot,
the pair may leave the pivot out (query in X, document in Y). A monolingual batch is in one
language: two crops of one text, or two neighboring sentences of a document. One model trained on
both comes near the best of each (Elmahdy, Lin and Ahmad 2024, https://arxiv.org/abs/2408.10536).

Every batch is a function of (seed, step) alone: a resumed run, or one split over processes, sees
the same batches. Pairs that are negatives by accident (the same text, or two translations of the
same sentence) are listed in ``Batch.masked``.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.config import BatchesSection, CorporaSection
from training.corpus import Bitext
from training.sampling import Ints, Lines, Pairs
from training.tokens import Role, TokenTable

CROP_SHARES = (0.4, 0.8)  # share of a text that a crop keeps


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a batch: token ids and attention mask, both of shape (pairs, seq)."""

    input_ids: Ints
    attention_mask: Ints


@dataclass(frozen=True, slots=True)
class Batch:
    """Pairs of one step.

    Attributes:
        kind: Cross-lingual or monolingual.
        query: What is searched with.
        document: What is to be found; row i belongs to query i.
        pivots: Index of the text that the document translates (itself, if it is the pivot),
            shape (pairs,).
        masked: Rows and columns, both of shape (n,), of query-document pairs off the diagonal
            that must not count as negatives.
    """

    kind: Literal["cross", "mono"]
    query: Side
    document: Side
    pivots: Ints
    masked: tuple[Ints, Ints]


@dataclass(frozen=True, slots=True)
class _Draw:
    """Spans of tokens, with the text and the pivot that each is of; all of shape (pairs,)."""

    texts: Ints
    pivots: Ints
    starts: Ints
    lengths: Ints


class HybridBatches:
    """All batches of a run, made on demand."""

    def __init__(
        self,
        bitext: Bitext,
        tokens: TokenTable,
        corpora: CorporaSection,
        batches: BatchesSection,
        *,
        max_tokens: int,
        seed: int,
    ) -> None:
        self._tokens = tokens
        self._lengths = tokens.lengths
        self._config = batches
        self._max_tokens = tokens.room(max_tokens)
        self._seed = seed
        weights = np.array([corpora.weights[corpus.name] for corpus in bitext.corpora])
        self._pairs = Pairs(bitext, weights, corpora.language_exponent)
        self._lines = Lines(bitext, self._lengths, weights, corpora.language_exponent)

    def batch(self, step: int) -> Batch:
        """Make the batch of a step (from 0)."""
        rng = np.random.default_rng([self._seed, step])
        cross = rng.random() < self._config.cross_probability or not len(self._lines)
        query, document = self._draw_cross(rng) if cross else self._draw_mono(rng)
        return Batch(
            kind="cross" if cross else "mono",
            query=self._collate(query, "query"),
            document=self._collate(document, "document"),
            pivots=document.pivots,
            masked=false_negatives(query.texts, document.texts, query.pivots, document.pivots),
        )

    def pivot_chances(self) -> NDArray[np.float64]:
        """Return how often each text is the pivot of a pair, up to a factor, shape (texts,)."""
        return self._pairs.pivot_chances()

    def _draw_cross(self, rng: Generator) -> tuple[_Draw, _Draw]:
        single = rng.random() < self._config.single_corpus
        left, right, pivots = self._pairs.draw(
            rng, self._config.pairs, pivot_free=self._config.pivot_free, single=single
        )
        swap = rng.random(len(left)) < 0.5
        left, right = np.where(swap, right, left), np.where(swap, left, right)
        return self._whole(left, pivots), self._whole(right, pivots)

    def _draw_mono(self, rng: Generator) -> tuple[_Draw, _Draw]:
        lines, following = self._lines.draw(rng, self._config.pairs)
        neighbor = rng.random(len(lines)) < self._config.neighbor_probability
        neighbor &= following >= 0
        other = np.where(neighbor, following, lines)
        texts, pivots = self._lines.texts, self._lines.pivots
        query = self._crop(texts[lines], pivots[lines], ~neighbor, rng)
        return query, self._crop(texts[other], pivots[other], ~neighbor, rng)

    def _whole(self, texts: Ints, pivots: Ints) -> _Draw:
        lengths = np.minimum(self._lengths[texts], self._max_tokens)
        return _Draw(texts, pivots, self._tokens.offsets[texts], lengths)

    def _crop(self, texts: Ints, pivots: Ints, crop: NDArray[np.bool_], rng: Generator) -> _Draw:
        """Take a random span of the texts marked by ``crop`` and the others whole."""
        whole = self._lengths[texts]
        share = np.where(crop, rng.uniform(*CROP_SHARES, len(texts)), 1.0)
        lengths = np.minimum(np.ceil(whole * share).astype(np.int64), self._max_tokens)
        room = np.where(crop, whole - lengths, 0)
        starts = self._tokens.offsets[texts] + rng.integers(0, room + 1)
        return _Draw(texts, pivots, starts, lengths)

    def _collate(self, draw: _Draw, role: Role) -> Side:
        return Side(*self._tokens.gather(draw.starts, draw.lengths, role))  # (pairs, seq) each


def false_negatives(
    query_texts: Ints, document_texts: Ints, query_pivots: Ints, document_pivots: Ints
) -> tuple[Ints, Ints]:
    """List the pairs off the diagonal whose two sides say the same, as (rows, columns).

    Query i and document j are no negatives of one another if they, or their partners, are the same
    text or translations of the same text.
    """
    pairs = [
        _equal_pairs(left, right)
        for left, right in (
            (query_pivots, document_pivots),
            (query_pivots, query_pivots),
            (document_pivots, document_pivots),
            (query_texts, document_texts),
            (query_texts, query_texts),
            (document_texts, document_texts),
        )
    ]
    size = len(query_texts)
    flat = np.unique(np.concatenate([rows * size + columns for rows, columns in pairs]))
    rows, columns = np.divmod(flat, size)
    return rows, columns


def _equal_pairs(left: Ints, right: Ints) -> tuple[Ints, Ints]:
    """Return all (i, j), i != j, with ``left[i] == right[j]``, without comparing each to each."""
    order = np.argsort(right, kind="stable")
    low = np.searchsorted(right[order], left, side="left")
    counts = np.searchsorted(right[order], left, side="right") - low
    rows = np.repeat(np.arange(len(left)), counts)
    # Position within each run of equal values: 0, 1, ... counts - 1.
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    columns = order[np.repeat(low, counts) + within]
    off_diagonal = rows != columns
    return rows[off_diagonal], columns[off_diagonal]
