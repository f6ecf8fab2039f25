"""Texts -> token ids, once, in one flat array, from which any crop of any text is a slice.

Tokenizing is done before training, so that a batch of thousands of texts costs one gather. What it
trades away: the memory of all ids, some 200 MB for two million short texts.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

CHUNK = 10_000  # texts tokenized at a time


@dataclass(frozen=True, slots=True)
class TokenTable:
    """The token ids of all texts.

    Attributes:
        ids: All ids in a row, shape (tokens,).
        offsets: Where each text starts, and the end, shape (texts + 1,).
        pad_id: The id that fills short rows.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    pad_id: int

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text, shape (texts,)."""
        return np.diff(self.offsets)

    def gather(
        self, starts: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Copy spans into a padded block.

        Args:
            starts: First position of each span in ``ids``, shape (rows,).
            lengths: Tokens of each span, at least 1, shape (rows,).

        Returns:
            Token ids and attention mask, both of shape (rows, longest span).
        """
        columns = np.arange(lengths.max(initial=1))  # (seq,)
        mask = columns < lengths[:, None]  # (rows, seq)
        places = np.where(mask, starts[:, None] + columns, 0)
        ids = np.where(mask, self.ids[places], self.pad_id)
        return ids.astype(np.int64), mask.astype(np.int64)


def tokenize_texts(tokenizer: Tokenizer, texts: Iterable[str], pad_id: int) -> TokenTable:
    """Tokenize texts whole, special tokens of the tokenizer included.

    A text without a single token (of unknown invisible characters, say) gets one pad token, so
    that no row of a batch is empty.
    """
    parts: list[NDArray[np.int32]] = []
    counts: list[int] = []
    source = iter(texts)
    while chunk := list(islice(source, CHUNK)):
        rows = [encoding.ids or [pad_id] for encoding in tokenizer.encode_batch_fast(chunk)]
        counts.extend(map(len, rows))
        parts.append(np.fromiter((i for row in rows for i in row), np.int32))
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    ids = np.concatenate(parts) if parts else np.zeros(0, np.int32)
    return TokenTable(ids, offsets, pad_id)
