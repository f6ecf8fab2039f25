"""Pairs -> hybrid batches: with probability ``cross_probability`` cross-lingual, else monolingual.

A cross-lingual batch pairs a text with its translation, or a query with a document in another
language; where several languages share the pivot, the pair may leave the pivot out (query in X,
document in Y). A monolingual batch is in one language: queries with their documents where own files
have them, else two crops of one text or two neighboring sentences of a document. One model trained
on both comes near the best of each (Elmahdy, Lin and Ahmad 2024, https://arxiv.org/abs/2408.10536).

Every batch is a function of (seed, step) alone: a resumed run, or one split over processes, sees
the same batches; only mined negatives depend on more, the encoder that mined them. Pairs that are
negatives by accident (the same text, or two translations of the same sentence) are listed in
``Batch.masked``.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.collation import Batch, Ints, Side, false_negatives
from training.config import BatchesSection, CorporaSection
from training.corpus import Bitext, CorpusError
from training.negatives import HardNegatives
from training.rewriting import Rewriter, Texts
from training.sampling import Drawn, Lines, Pairs, alike
from training.spans import Spans, collate, crop_spans, whole_spans
from training.tokens import Role, TokenTable

__all__ = ["Batch", "HybridBatches", "Side"]

# What draws augmentations and negatives, apart from what draws the pairs: with or without them a
# seed gives the same pairs.
_REWRITING, _NEGATIVES = 1, 2


@dataclass(frozen=True, slots=True)
class _Made:
    """The pairs of a step before they become arrays.

    Attributes:
        kind: Of the batch.
        query: Its queries.
        document: Its documents.
        rows: Row of the bitext of each pair, -1 if it is made of single texts, shape (pairs,).
        line: One of the lines that a monolingual batch is made of, else -1.
    """

    kind: Literal["cross", "mono"]
    query: Spans
    document: Spans
    rows: Ints
    line: int = -1

    @property
    def real(self) -> bool:
        """Whether its pairs stand in a corpus as pairs; all of them do or none."""
        return bool(self.rows[0] >= 0)


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
        rewriter: Rewriter | None = None,
    ) -> None:
        """Sort the pairs into buckets.

        Args:
            bitext: All pairs.
            tokens: Token ids of its texts.
            corpora: Weights of corpora and languages.
            batches: What batches are made of.
            max_tokens: Of a text, special tokens and prompt among them.
            seed: Of all draws.
            rewriter: Augments texts; None: they stay as they are.

        Raises:
            CorpusError: If the corpora have nothing for a kind of batch that is asked for.
        """
        self._tokens, self._room = tokens, tokens.room(max_tokens)
        self._config, self._seed, self._rewriter = batches, seed, rewriter
        weights = np.array([corpora.weights[corpus.name] for corpus in bitext.corpora])
        self._pairs = Pairs(bitext, weights, corpora.language_exponent)
        self._lines = Lines(bitext, tokens.lengths, weights, corpora.language_exponent)
        self._negatives = (
            HardNegatives(bitext, batches.hard_negatives) if batches.hard_negatives else None
        )
        _check_kinds(bitext, batches, self._pairs, self._lines)

    def batch(self, step: int) -> Batch:
        """Make the batch of a step (from 0)."""
        made = self._make(step)
        query, document = made.query, made.document
        batch = Batch(
            kind=made.kind,
            query=collate(self._tokens, query, "query"),
            document=collate(self._tokens, document, "document"),
            pivots=document.pivots,
            masked=false_negatives(query.texts, document.texts, query.pivots, document.pivots),
            query_texts=np.where(query.cropped, -1, query.texts),
            document_texts=np.where(document.cropped, -1, document.texts),
            sources=(query.texts, document.texts),
        )
        if self._rewriter is not None:
            batch = self._rewrite(self._rewriter, batch, made, step)
        if self._negatives is not None and made.real:
            batch = self._with_negatives(self._negatives, batch, made, step)
        return batch

    def pivot_chances(self) -> NDArray[np.float64]:
        """Return how often each text is the pivot of a pair, up to a factor, shape (texts,)."""
        return self._pairs.pivot_chances()

    def _make(self, step: int) -> _Made:
        rng = np.random.default_rng([self._seed, step])
        cross = rng.random() < self._config.cross_probability
        return self._make_cross(rng) if cross else self._make_mono(rng)

    def _make_cross(self, rng: Generator) -> _Made:
        single = rng.random() < self._config.single_corpus
        drawn = self._pairs.draw(
            rng, self._config.pairs, pivot_free=self._config.pivot_free, single=single
        )
        return self._whole("cross", drawn)

    def _make_mono(self, rng: Generator) -> _Made:
        lines, following = self._lines.draw(rng, self._config.pairs)
        if self._lines.rows[lines[0]] >= 0:
            return self._whole("mono", self._lines.pairs(lines), int(lines[0]))
        neighbor = rng.random(len(lines)) < self._config.neighbor_probability
        neighbor &= following >= 0
        other = np.where(neighbor, following, lines)
        query, document = (
            crop_spans(self._tokens, self._spans(*self._lines.of(side)), ~neighbor, self._room, rng)
            for side in (lines, other)
        )
        return _Made("mono", query, document, self._lines.rows[lines], int(lines[0]))

    def _whole(self, kind: Literal["cross", "mono"], drawn: Drawn, line: int = -1) -> _Made:
        query = self._spans(drawn.queries, drawn.pivots, drawn.query_langs)
        document = self._spans(drawn.documents, drawn.pivots, drawn.document_langs)
        return _Made(kind, query, document, drawn.rows, line)

    def _spans(self, texts: Ints, pivots: Ints, langs: Ints) -> Spans:
        return whole_spans(self._tokens, texts, pivots, langs, self._room)

    def _rewrite(self, rewriter: Rewriter, batch: Batch, made: _Made, step: int) -> Batch:
        """Replace words of queries and documents, and write typos into queries."""
        rng = np.random.default_rng([self._seed, step, _REWRITING])
        tokens, room = self._tokens, self._room

        def side(spans: Spans, role: Role, texts: Texts) -> Side:
            ids = rewriter.tokenized(texts, room, tokens.pad_id)
            return collate(tokens, spans, role, ids)

        queries = rewriter.switched(tokens, made.query, rng)
        documents = rewriter.switched(tokens, made.document, rng)
        noisy = rewriter.with_typos(tokens, made.query, queries, rng)
        taught = rewriter.self_teaching
        queries = queries if taught else noisy
        return replace(
            batch,
            query=side(made.query, "query", queries) if queries else batch.query,
            document=side(made.document, "document", documents) if documents else batch.document,
            noisy=side(made.query, "query", noisy) if taught else None,
            query_texts=_without(batch.query_texts, queries),
            document_texts=_without(batch.document_texts, documents),
        )

    def _with_negatives(
        self, negatives: HardNegatives, batch: Batch, made: _Made, step: int
    ) -> Batch:
        """Add hard negatives, if there are any for one of the pairs."""
        rng = np.random.default_rng([self._seed, step, _NEGATIVES])
        texts = negatives.draw(made.rows, None, rng)  # (pairs, n), -1: none
        if (texts < 0).all():
            return batch
        rows, places = np.nonzero(texts < 0)
        texts[rows, places] = self._documents_like(made, len(rows), rng)
        flat = texts.ravel()
        langs = np.zeros_like(flat)
        rows, columns = negatives.masked(made.query.texts, made.document.texts, flat)
        return replace(
            batch,
            negatives=collate(self._tokens, self._spans(flat, flat, langs), "document"),
            masked=(
                np.concatenate([batch.masked[0], rows]),
                np.concatenate([batch.masked[1], len(texts) + columns]),
            ),
        )

    def _documents_like(self, made: _Made, count: int, rng: Generator) -> Ints:
        """Draw documents as those of a batch were drawn."""
        if made.kind == "cross":
            free = self._config.pivot_free
            return self._pairs.draw(rng, count, pivot_free=free, single=False).documents
        return self._lines.pivots[self._lines.draw(rng, count, like=made.line)[0]]


def _without(texts: Ints, changed: Texts) -> Ints:
    """Mark texts that are not as they were drawn with -1."""
    marked = texts.copy()
    marked[list(changed)] = -1
    return marked


def _check_kinds(bitext: Bitext, batches: BatchesSection, pairs: Pairs, lines: Lines) -> None:
    cross = batches.cross_probability
    if cross > 0 and not len(pairs):
        raise CorpusError(
            f"got batches.cross_probability = {cross:g} and no pair in two languages: expected "
            "some; add a corpus, or set batches.cross_probability = 0"
        )
    if cross < 1 and not len(lines):
        raise CorpusError(
            f"got batches.cross_probability = {cross:g} and no text that is long enough to be "
            "cropped: expected some; add a corpus, or set batches.cross_probability = 1"
        )
    if cross == 1 and len(alone := _of_one_language(bitext)):
        raise CorpusError(
            f"got batches.cross_probability = 1 and {', '.join(alone)}, all of whose pairs are in "
            "one language and would never be drawn: set batches.cross_probability below 1, or "
            "drop it"
        )


def _of_one_language(bitext: Bitext) -> list[str]:
    """Name the own files without a pair in two languages."""
    same = alike(bitext)
    return [
        corpus.name
        for index, corpus in enumerate(bitext.corpora)
        if corpus.own and same[bitext.corpus == index].all()
    ]
