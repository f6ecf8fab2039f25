"""Texts of a batch as spans of tokens, whole or cropped, and their padded blocks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.collation import Ints, Side, within_runs
from training.tokens import Role, TokenTable

CROP_SHARES = (0.4, 0.8)  # share of a text that a crop keeps


@dataclass(frozen=True, slots=True)
class Spans:
    """Spans of tokens; all of shape (pairs,).

    Attributes:
        texts: The text that each is of.
        pivots: The text that it translates, or itself.
        langs: Index of its language.
        starts: First position in the token table.
        lengths: How many tokens.
        cropped: Whether it is a crop of its text.
    """

    texts: Ints
    pivots: Ints
    langs: Ints
    starts: Ints
    lengths: Ints
    cropped: NDArray[np.bool_]

    def at(self, places: Ints) -> "Spans":
        """Return some of them."""
        return Spans(
            self.texts[places],
            self.pivots[places],
            self.langs[places],
            self.starts[places],
            self.lengths[places],
            self.cropped[places],
        )


@dataclass(frozen=True, slots=True)
class Rewritten:
    """Token ids that stand for some spans in place of their own."""

    rows: Ints
    ids: Sequence[Sequence[int]]


def whole_spans(tokens: TokenTable, texts: Ints, pivots: Ints, langs: Ints, room: int) -> Spans:
    """Take texts from their beginning, up to ``room`` tokens."""
    starts = tokens.offsets[texts]
    lengths = np.minimum(tokens.offsets[texts + 1] - starts, room)
    return Spans(texts, pivots, langs, starts, lengths, np.zeros(len(texts), bool))


def crop_spans(
    tokens: TokenTable, whole: Spans, crop: NDArray[np.bool_], room: int, rng: Generator
) -> Spans:
    """Take a random span, up to ``room`` tokens, of the texts marked by ``crop``."""
    sizes = tokens.offsets[whole.texts + 1] - whole.starts
    share = np.where(crop, rng.uniform(*CROP_SHARES, len(sizes)), 1.0)
    lengths = np.minimum(np.ceil(sizes * share).astype(np.int64), room)
    left = np.where(crop, sizes - lengths, 0)
    starts = whole.starts + rng.integers(0, left + 1)
    return replace(whole, starts=starts, lengths=lengths, cropped=crop)


def collate(
    tokens: TokenTable, spans: Spans, role: Role, rewritten: Rewritten | None = None
) -> Side:
    """Copy spans into a padded block, prompt and special tokens of the role around each."""
    starts, lengths = spans.starts, spans.lengths
    if rewritten is not None and len(rewritten.rows):
        # A table of this batch alone: the spans one after another, then what was rewritten.
        places = np.repeat(starts, lengths) + within_runs(lengths)
        new = [np.asarray(row, np.int32) for row in rewritten.ids]
        tokens = replace(tokens, ids=np.concatenate([tokens.ids[places], *new]))
        sizes = np.concatenate([lengths, [len(row) for row in new]])
        all_starts = np.cumsum(sizes) - sizes
        starts, lengths = all_starts[: len(starts)].copy(), lengths.copy()
        starts[rewritten.rows] = all_starts[len(starts) :]
        lengths[rewritten.rows] = sizes[len(lengths) :]
    return Side(*tokens.gather(starts, lengths, role))  # (pairs, seq) each
