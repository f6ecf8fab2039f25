"""Pairs -> hybrid batches: with probability ``cross_probability`` cross-lingual, else monolingual.

A cross-lingual batch pairs a text with its translation, or a query with a document in another
language; where several languages share the pivot, the pair may leave the pivot out (query in X,
document in Y). A monolingual batch is in one language: queries with their documents where own files
have them, else two crops of one text or two neighboring sentences of a document. One model trained
on both comes near the best of each (Elmahdy, Lin and Ahmad 2024, https://arxiv.org/abs/2408.10536).

Every batch is a function of (seed, step) alone, and yet each pair of a corpus and language is drawn
once before any is drawn twice (``epochs``). So a resumed run, or one split over processes, sees the
same batches; only mined negatives depend on more, the encoder that mined them. Pairs that are
negatives by accident (the same text, or two translations of the same sentence) are listed in
``Batch.masked``.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from training.collation import Batch, Ints, Side, false_negatives
from training.config import BatchesSection, CorporaSection
from training.corpus import Bitext, CorpusError
from training.mining import EncodeSide, Mined, Ranker, encode_sorted
from training.negatives import HardNegatives
from training.pairing import Pairing, PairSource, Use
from training.rewriting import Rewriter, Texts
from training.spans import Spans, collate
from training.tokens import Role, TokenTable

__all__ = ["Batch", "HybridBatches", "Side"]

# What draws augmentations, negatives and pools, apart from what draws the pairs: with or without
# them a seed gives the same pairs.
_REWRITING, _NEGATIVES, _MINING = 1, 2, 3


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
            CorpusError: If the corpora have nothing for a kind of batch, or no hard negatives,
                though the configuration asks for them.
        """
        self._tokens, self._room = tokens, tokens.room(max_tokens)
        self._config, self._seed, self._rewriter = batches, seed, rewriter
        self._source = PairSource(bitext, tokens, corpora, batches, room=self._room, seed=seed)
        self._mined: Mined | None = None
        self._negatives = None
        if batches.hard_negatives:
            self._negatives = HardNegatives(bitext, batches.hard_negatives)
            _check_negatives(batches, self._negatives, self._source)

    def batch(self, step: int) -> Batch:
        """Make the batch of a step (from 0).

        Raises:
            RuntimeError: If negatives are to be mined for the step, and were not.
        """
        pairing = self._source.draw(step)
        query, document = pairing.query, pairing.document
        batch = Batch(
            kind=pairing.kind,
            query=collate(self._tokens, query, "query"),
            document=collate(self._tokens, document, "document"),
            pivots=document.pivots,
            masked=false_negatives(query.texts, document.texts, query.pivots, document.pivots),
            query_texts=np.where(query.cropped, -1, query.texts),
            document_texts=np.where(document.cropped, -1, document.texts),
            sources=(query.texts, document.texts),
        )
        if self._rewriter is not None:
            batch = self._rewritten(self._rewriter, batch, pairing, step)
        if self._negatives is not None and pairing.real:
            batch = self._with_negatives(self._negatives, batch, pairing, step)
        return batch

    def pivot_chances(self) -> NDArray[np.float64]:
        """Return how often each text is the pivot of a pair, up to a factor, shape (texts,)."""
        return self._source.pivot_chances()

    def uses(self, steps: int) -> list[Use]:
        """Count how often each bucket of pairs is drawn in a number of steps."""
        return self._source.uses(steps)

    def must_mine(self, step: int) -> bool:
        """Tell whether ``mine`` is to be called before the batch of a step can be made."""
        known = self._mined is not None and self._mined.at(step) is not None
        return self._config.mine_every > 0 and not known

    def ready_until(self, step: int, stop: int) -> int:
        """Return up to which step batches can be made once that of ``step`` can.

        Args:
            step: For which nothing is left to be mined.
            stop: Last step of the run, itself left out.
        """
        every = self._config.mine_every
        return min(stop, (step // every + 1) * every) if every else stop

    def mine(self, step: int, stop: int, encode: EncodeSide) -> None:
        """Mine hard negatives for the steps up to the next multiple of ``mine_every``.

        Args:
            step: The first of them.
            stop: Last step of the run, itself left out.
            encode: The encoder under training, as it is before ``step``.
        """
        negatives = self._negatives
        if negatives is None or not self._config.mine_every:
            raise RuntimeError("got mine without batches.hard_negatives and batches.mine_every")
        window = range(step, self.ready_until(step, stop))
        drawn = {at: pairing for at in window if (pairing := self._source.draw(at)).real}
        groups: dict[int, list[int]] = {}  # -1: cross-lingual; else the language of the batch
        for at, pairing in drawn.items():
            lang = -1 if pairing.kind == "cross" else int(pairing.query.langs[0])
            groups.setdefault(lang, []).append(at)
        mined = np.full((len(window), self._config.pairs, negatives.count), -1, np.int32)
        for lang, steps in groups.items():
            rng = np.random.default_rng([self._seed, step, _MINING, lang + 1])
            size = max(1, self._config.mine_pool * len(steps) // len(drawn))
            pool = np.unique(self._source.documents_like(drawn[steps[0]], size, rng))
            vectors = self._encode(self._whole(pool), "document", encode)
            ranker = Ranker(negatives.meanings, pool, vectors, negatives.count)
            for at in steps:
                query, document = drawn[at].query, drawn[at].document
                queries = self._encode(query, "query", encode)
                documents = self._encode(document, "document", encode)
                sides = (query.texts, document.texts)
                mined[at - step] = ranker.find(sides, (queries, documents), rng)
        self._mined = Mined(step, mined)

    def mined_state(self) -> dict[str, NDArray[np.integer]]:
        """Return what a checkpoint must hold of what was mined; nothing if nothing was."""
        return {} if self._mined is None else self._mined.state()

    def load_mined(self, state: Mapping[str, NDArray[np.integer]]) -> None:
        """Take back what ``mined_state`` returned."""
        self._mined = Mined.of_state(state) if state else None

    def _encode(self, spans: Spans, role: Role, encode: EncodeSide) -> NDArray[np.float32]:
        def side(places: Ints) -> Side:
            return collate(self._tokens, spans.at(places), role)

        return encode_sorted(side, spans.lengths, encode)

    def _whole(self, texts: Ints) -> Spans:
        return self._source.spans(texts, texts, np.zeros_like(texts))

    def _rewritten(self, rewriter: Rewriter, batch: Batch, pairing: Pairing, step: int) -> Batch:
        """Replace words of queries and documents, and write typos into queries."""
        rng = np.random.default_rng([self._seed, step, _REWRITING])
        tokens, query, document = self._tokens, pairing.query, pairing.document

        def side(spans: Spans, role: Role, texts: Texts) -> Side:
            ids = rewriter.tokenized(texts, self._room, tokens.pad_id)
            return collate(tokens, spans, role, ids)

        queries = rewriter.switched(tokens, query, rng)
        documents = rewriter.switched(tokens, document, rng)
        noisy = rewriter.with_typos(tokens, query, queries, rng)
        taught = rewriter.self_teaching
        queries = queries if taught else noisy
        return replace(
            batch,
            query=side(query, "query", queries) if queries else batch.query,
            document=side(document, "document", documents) if documents else batch.document,
            noisy=side(query, "query", noisy) if taught else None,
            query_texts=_without(batch.query_texts, queries),
            document_texts=_without(batch.document_texts, documents),
        )

    def _with_negatives(
        self, negatives: HardNegatives, batch: Batch, pairing: Pairing, step: int
    ) -> Batch:
        """Add hard negatives, if there are any for one of the pairs."""
        mined = None if self._mined is None else self._mined.at(step)
        if self._config.mine_every and mined is None:
            raise RuntimeError(f"nothing was mined for step {step}: call mine first")
        rng = np.random.default_rng([self._seed, step, _NEGATIVES])
        texts = negatives.draw(pairing.rows, mined, rng)  # (pairs, n), -1: none
        if (texts < 0).all():
            return batch
        # A free place takes a document at random.
        free = np.nonzero(texts < 0)
        texts[free] = self._source.documents_like(pairing, len(free[0]), rng)
        flat = texts.ravel()  # (pairs * n,)
        rows, columns = negatives.masked(pairing.query.texts, pairing.document.texts, flat)
        return replace(
            batch,
            negatives=collate(self._tokens, self._whole(flat), "document"),
            masked=(
                np.concatenate([batch.masked[0], rows]),
                np.concatenate([batch.masked[1], len(texts) + columns]),
            ),
        )


def _without(texts: Ints, changed: Texts) -> Ints:
    """Mark texts that are not as they were drawn with -1."""
    marked = texts.copy()
    marked[list(changed)] = -1
    return marked


def _check_negatives(batches: BatchesSection, negatives: HardNegatives, source: PairSource) -> None:
    got = f"got batches.hard_negatives = {batches.hard_negatives}"
    if not source.has_pairs:
        raise CorpusError(
            f"{got} for batches of crops and neighboring sentences alone, which take none: set "
            "batches.cross_probability above 0, add a file of queries and documents in one "
            "language, or set batches.hard_negatives = 0"
        )
    if not batches.mine_every and not len(negatives):
        raise CorpusError(
            f"{got}, but no file gives any: add a column negatives to one of corpora.files, set "
            "batches.mine_every to mine them, or set batches.hard_negatives = 0"
        )
