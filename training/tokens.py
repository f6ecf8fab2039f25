"""Texts -> token ids, once, in one flat array, from which any crop of any text is a slice.

Tokenizing is done before training, so that a batch of thousands of texts costs one gather. Special
tokens and prompts are kept apart and put around each span when it is gathered, so that a crop has
them as a whole text does. What it trades away: the memory of all ids, some 200 MB for two million
short texts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training.config import ConfigError

CHUNK = 10_000  # texts tokenized at a time
Role = Literal["query", "document"]
_PROBES = ("a", "The", "\u0436\u0443", "\u4e2d", "1", "(b")


@dataclass(frozen=True, slots=True)
class Frame:
    """Token ids that stand around a text's own: special tokens and a prompt."""

    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Tokens that it adds."""
        return len(self.before) + len(self.after)


@dataclass(frozen=True, slots=True)
class TokenTable:
    """The token ids of all texts.

    Attributes:
        ids: All ids in a row, without special tokens, shape (tokens,).
        offsets: Where each text starts, and the end, shape (texts + 1,).
        pad_id: The id that fills short rows.
        frame: What stands around each text.
        frames: What stands around a query or a document in its place, where there are prompts.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    pad_id: int
    frame: Frame = Frame()
    frames: Mapping[Role, Frame] = field(default_factory=dict)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text itself, shape (texts,)."""
        return np.diff(self.offsets)

    def room(self, max_tokens: int) -> int:
        """Count the tokens of a text itself that fit into ``max_tokens``, at least 1."""
        return max(1, max_tokens - max(f.size for f in (self.frame, *self.frames.values())))

    def gather(
        self, starts: NDArray[np.int64], lengths: NDArray[np.int64], role: Role | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Copy spans into a padded block, special tokens and the role's prompt around each.

        Args:
            starts: First position of each span in ``ids``, shape (rows,).
            lengths: Tokens of each span, at least 1, shape (rows,).
            role: Whose prompt to put before each; None: no prompt.

        Returns:
            Token ids and attention mask, both of shape (rows, longest span and its frame).
        """
        frame = self.frame if role is None else self.frames.get(role, self.frame)
        columns = np.arange(lengths.max(initial=1))  # (seq,)
        mask = columns < lengths[:, None]  # (rows, seq)
        places = np.where(mask, starts[:, None] + columns, 0)
        ids = np.where(mask, self.ids[places], self.pad_id)
        if frame.size:
            ids, mask = _framed(frame, ids, lengths, self.pad_id)
        return ids.astype(np.int64), mask.astype(np.int64)


def tokenize_texts(
    tokenizer: Tokenizer,
    texts: Iterable[str],
    pad_id: int,
    prompts: Mapping[Role, str] | None = None,
) -> TokenTable:
    """Tokenize texts whole.

    A text without a single token (of unknown invisible characters, say) gets one pad token, so
    that no row of a batch is empty.

    Args:
        tokenizer: Its special tokens become the table's frame.
        texts: In order.
        pad_id: The id that fills short rows.
        prompts: What ``gather`` puts before a text that it is told the role of.

    Raises:
        ConfigError: If a prompt changes how the text after it is tokenized.
    """
    frame = find_frame(tokenizer)
    parts: list[NDArray[np.int32]] = []
    counts: list[int] = []
    source = iter(texts)
    while chunk := list(islice(source, CHUNK)):
        encodings = tokenizer.encode_batch_fast(chunk, add_special_tokens=False)
        rows = [encoding.ids or [pad_id] for encoding in encodings]
        counts.extend(map(len, rows))
        parts.append(np.fromiter((i for row in rows for i in row), np.int32))
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    ids = np.concatenate(parts) if parts else np.zeros(0, np.int32)
    frames: dict[Role, Frame] = {
        role: Frame(frame.before + find_prompt(tokenizer, prompt), frame.after)
        for role, prompt in (prompts or {}).items()
        if prompt
    }
    return TokenTable(ids, offsets, pad_id, frame, frames)


def find_frame(tokenizer: Tokenizer) -> Frame:
    """Find the ids that a tokenizer puts before and after each text."""
    marked = [(e.ids, e.special_tokens_mask) for e in tokenizer.encode_batch(list(_PROBES))]
    # A text of known characters, so that its own tokens lie between the special ones.
    ids, special = next((pair for pair in marked if 0 in pair[1]), marked[0])
    first = special.index(0) if 0 in special else len(special)
    last = len(special) - special[::-1].index(0) if 0 in special else len(special)
    return Frame(tuple(ids[:first]), tuple(ids[last:]))


def find_prompt(tokenizer: Tokenizer, prompt: str) -> tuple[int, ...]:
    """Tokenize a prompt as it stands before a text.

    Raises:
        ConfigError: If it and a text are not tokenized each by itself.
    """
    found: set[tuple[int, ...]] = set()
    for probe in _PROBES:
        alone = tokenizer.encode(probe, add_special_tokens=False).ids
        whole = tokenizer.encode(prompt + probe, add_special_tokens=False).ids
        if alone and whole[-len(alone) :] != alone:
            raise ConfigError(
                f"got the prompt {prompt!r}, after which this tokenizer splits {probe!r} "
                "differently: expected one that ends so that a new word starts, as in 'query: '"
            )
        if alone:
            found.add(tuple(whole[: -len(alone)]))
    if len(found) != 1:
        raise ConfigError(
            f"got the prompt {prompt!r}, which this tokenizer splits by what follows it: expected "
            "one that ends so that a new word starts, as in 'query: '"
        )
    return found.pop()


def _framed(
    frame: Frame, ids: NDArray[np.integer], lengths: NDArray[np.int64], pad_id: int
) -> tuple[NDArray[np.integer], NDArray[np.bool_]]:
    """Put a frame around the spans of a padded block."""
    rows, seq = ids.shape
    start, end = len(frame.before), len(frame.after)
    block = np.full((rows, seq + frame.size), pad_id, ids.dtype)
    block[:, :start] = frame.before
    block[:, start : start + seq] = ids
    # The closing tokens follow each span at once, before its padding.
    places = start + lengths[:, None] + np.arange(end)  # (rows, end)
    block[np.arange(rows)[:, None], places] = frame.after
    mask = np.arange(block.shape[1]) < lengths[:, None] + frame.size
    return block, mask
