"""The pairs of each step, as spans of tokens: buckets -> turns -> pairs -> batches.

Cross-lingual pairs are translations, or queries with documents in another language; a monolingual
batch has queries with their documents where own files have them in its language, else crops and
neighboring sentences. Each pair of a bucket is drawn once before any is drawn twice, and the pairs
of a step are a function of (seed, step) alone.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.collation import Ints
from training.config import BatchesSection, CorporaSection
from training.corpus import Bitext, CorpusError
from training.epochs import Orders, Timetable
from training.sampling import Drawn, Lines, Pairs, alike
from training.spans import Spans, crop_spans, whole_spans
from training.tokens import TokenTable


@dataclass(frozen=True, slots=True)
class Pairing:
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


@dataclass(frozen=True, slots=True)
class Use:
    """How often a run draws pairs of a bucket.

    Attributes:
        kind: Of the batches that draw them.
        corpus: Name of the bucket's corpus.
        languages: As ``eng_Latn-swh_Latn``, or one.
        size: Pairs, or texts where it has single ones.
        drawn: How many are drawn, each time counted.
    """

    kind: Literal["cross", "mono"]
    corpus: str
    languages: str
    size: int
    drawn: int


class PairSource:
    """Draws the pairs of any step; not for several threads at a time."""

    def __init__(
        self,
        bitext: Bitext,
        tokens: TokenTable,
        corpora: CorporaSection,
        batches: BatchesSection,
        *,
        room: int,
        seed: int,
    ) -> None:
        """Sort the pairs into buckets.

        Args:
            bitext: All pairs.
            tokens: Token ids of its texts.
            corpora: Weights of corpora and languages.
            batches: What batches are made of.
            room: Tokens of a text that are kept.
            seed: Of all draws.

        Raises:
            CorpusError: If the corpora have nothing for a kind of batch that is asked for.
        """
        self._tokens, self._room, self._seed = tokens, room, seed
        self._config = batches
        weights = np.array([corpora.weights[corpus.name] for corpus in bitext.corpora])
        self._pairs = Pairs(bitext, weights, corpora.language_exponent)
        self._lines = Lines(bitext, tokens.lengths, weights, corpora.language_exponent)
        _check_kinds(bitext, batches, self._pairs, self._lines)
        cross, mono = self._pairs.buckets, self._lines.buckets
        self._timetable = Timetable(cross, mono, batches, seed)
        self._orders = {True: Orders(cross.sizes, seed, 0), False: Orders(mono.sizes, seed, 1)}

    @property
    def has_pairs(self) -> bool:
        """Whether any batch is of pairs, not of crops and neighbors."""
        cross = self._config.cross_probability
        return cross > 0 or bool((self._lines.rows >= 0).any())

    def draw(self, step: int) -> Pairing:
        """Draw the pairs of a step (from 0)."""
        turns = self._timetable.at(step)
        places = self._orders[turns.cross].places(turns.buckets, turns.turns)
        rng = np.random.default_rng([self._seed, step])
        made = self._cross if turns.cross else self._mono
        return made(turns.buckets, places, rng)

    def uses(self, steps: int) -> list[Use]:
        """Count how often each bucket is drawn in a number of steps."""
        found: list[Use] = []
        kinds: tuple[Literal["cross", "mono"], ...] = ("cross", "mono")
        sources = (self._pairs, self._lines)
        for kind, source, counts in zip(kinds, sources, self._timetable.counts(steps), strict=True):
            for names, size, count in zip(source.names, source.buckets.sizes, counts, strict=True):
                found.append(Use(kind, *names, int(size), int(count)))
        return found

    def _cross(self, buckets: Ints, places: Ints, rng: Generator) -> Pairing:
        free = self._config.pivot_free
        return self._whole("cross", self._pairs.take(buckets, places, rng, pivot_free=free))

    def _mono(self, buckets: Ints, places: Ints, rng: Generator) -> Pairing:
        lines = self._lines.take(buckets, places)
        if self._lines.rows[lines[0]] >= 0:
            return self._whole("mono", self._lines.pairs(lines), int(lines[0]))
        following = self._lines.following(lines)
        neighbor = rng.random(len(lines)) < self._config.neighbor_probability
        neighbor &= following >= 0
        other = np.where(neighbor, following, lines)
        query, document = (
            crop_spans(self._tokens, self.spans(*self._lines.of(side)), ~neighbor, self._room, rng)
            for side in (lines, other)
        )
        return Pairing("mono", query, document, self._lines.rows[lines], int(lines[0]))

    def _whole(self, kind: Literal["cross", "mono"], drawn: Drawn, line: int = -1) -> Pairing:
        query = self.spans(drawn.queries, drawn.pivots, drawn.query_langs)
        document = self.spans(drawn.documents, drawn.pivots, drawn.document_langs)
        return Pairing(kind, query, document, drawn.rows, line)

    def pivot_chances(self) -> NDArray[np.float64]:
        """Return how often each text is the pivot of a pair, up to a factor, shape (texts,)."""
        return self._pairs.pivot_chances()

    def spans(self, texts: Ints, pivots: Ints, langs: Ints) -> Spans:
        """Take texts whole, or up to the tokens that are kept."""
        return whole_spans(self._tokens, texts, pivots, langs, self._room)

    def documents_like(self, made: Pairing, count: int, rng: Generator) -> Ints:
        """Draw documents as those of a batch were drawn."""
        if made.kind == "cross":
            free = self._config.pivot_free
            return self._pairs.draw(rng, count, pivot_free=free).documents
        return self._lines.pivots[self._lines.draw(rng, count, like=made.line)]


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
