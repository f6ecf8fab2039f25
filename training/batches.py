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

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.collation import Batch, Ints, Side, false_negatives
from training.config import BatchesSection, CorporaSection
from training.corpus import Bitext
from training.sampling import Lines, Pairs
from training.tokens import Role, TokenTable

__all__ = ["Batch", "HybridBatches", "Side"]

CROP_SHARES = (0.4, 0.8)  # share of a text that a crop keeps


@dataclass(frozen=True, slots=True)
class _Draw:
    """Spans of tokens, with the text and the pivot that each is of; all of shape (pairs,)."""

    texts: Ints
    pivots: Ints
    starts: Ints
    lengths: Ints
    cropped: NDArray[np.bool_]


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
            query_texts=np.where(query.cropped, -1, query.texts),
            document_texts=np.where(document.cropped, -1, document.texts),
            sources=(query.texts, document.texts),
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
        whole = np.zeros(len(texts), bool)
        return _Draw(texts, pivots, self._tokens.offsets[texts], lengths, whole)

    def _crop(self, texts: Ints, pivots: Ints, crop: NDArray[np.bool_], rng: Generator) -> _Draw:
        """Take a random span of the texts marked by ``crop`` and the others whole."""
        whole = self._lengths[texts]
        share = np.where(crop, rng.uniform(*CROP_SHARES, len(texts)), 1.0)
        lengths = np.minimum(np.ceil(whole * share).astype(np.int64), self._max_tokens)
        room = np.where(crop, whole - lengths, 0)
        starts = self._tokens.offsets[texts] + rng.integers(0, room + 1)
        return _Draw(texts, pivots, starts, lengths, crop)

    def _collate(self, draw: _Draw, role: Role) -> Side:
        return Side(*self._tokens.gather(draw.starts, draw.lengths, role))  # (pairs, seq) each
