"""A new vocabulary on an old body: the first rows of its embedding table.

A body has learned to read the rows of its old table, so a new token starts where the old table says
it is: at the row of the same token, or else at the mean of the rows of the pieces that the old
tokenizer splits it into. What the old tokenizer cannot read at all is drawn like the old rows are
spread. What this trades away: the mean of pieces is a guess, which training has to correct.

References:
    Gee, Zugarini, Rigutini and Torroni 2022, Fast Vocabulary Transfer for Language Model
    Compression (the same token's row, else the mean of its pieces),
    https://arxiv.org/abs/2402.09977.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer, pre_tokenizers
from torch import Tensor

_WORD_MARK = "\u2581"  # starts a word in the vocabularies that are learned here


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a tokenizer writes a token that starts a word and one that goes on.

    Attributes:
        start: Put before the first piece of a word.
        inside: Put before a piece that goes on.
        end: Put after the last piece of a word.
        bytes: Whether pieces are written as bytes, one character each.
    """

    start: str = ""
    inside: str = ""
    end: str = ""
    bytes: bool = False

    def candidates(self, text: str, *, starts_word: bool) -> list[str]:
        """Write a token's text as this tokenizer would, likeliest first."""
        if self.bytes:
            text = _as_bytes(text)
        marked = (self.start if starts_word else self.inside) + text
        # Where the end is marked, a token that starts a word is most often the whole of it.
        ends = ([self.end, ""] if starts_word else ["", self.end]) if self.end else [""]
        return [marked + end for end in ends]


def transplant_rows(
    tokenizer: Tokenizer,
    old: Tokenizer,
    table: Tensor,
    special: Mapping[int, int],
    *,
    seed: int,
) -> tuple[Tensor, Counter[str]]:
    """Make the embedding table of a new vocabulary from that of an old one.

    Args:
        tokenizer: The new one; its tokens that start a word begin with U+2581.
        old: The one that the table belongs to.
        table: Embeddings of the old tokens, shape (old vocab, dim).
        special: New id -> old id of special tokens that play the same role.
        seed: Of the rows that are drawn.

    Returns:
        Table of shape (new vocab, dim), and how many rows were made in which way: "special",
        "same", "pieces" and "drawn".
    """
    vocabulary = old.get_vocab()
    spelling = find_spelling(old)
    old_special = {i for i, token in old.get_added_tokens_decoder().items() if token.special}
    pieces_of = _Pieces(old, spelling, {*special.values(), *old_special, _unknown_id(old)})
    dice = torch.Generator().manual_seed(seed)
    drawn = torch.randn(tokenizer.get_vocab_size(), table.shape[1], generator=dice)
    rows = table.mean(dim=0) + drawn * table.std(dim=0)  # (new vocab, dim)
    counts: Counter[str] = Counter(special=0, same=0, pieces=0, drawn=0)
    for token, index in tokenizer.get_vocab().items():
        if index in special:
            rows[index] = table[special[index]]
            counts["special"] += 1
            continue
        starts_word = token.startswith(_WORD_MARK)
        text = token.removeprefix(_WORD_MARK)
        spelled = spelling.candidates(text, starts_word=starts_word) if text else []
        same = next((vocabulary[one] for one in spelled if one in vocabulary), None)
        if same is not None:
            rows[index] = table[same]
            counts["same"] += 1
        elif pieces := pieces_of(text, starts_word=starts_word):
            rows[index] = table[pieces].mean(dim=0)
            counts["pieces"] += 1
        else:
            counts["drawn"] += 1
    return rows, counts


class _Pieces:
    """The pieces that a tokenizer splits a token's text into, without those that say nothing."""

    def __init__(self, tokenizer: Tokenizer, spelling: Spelling, ignored: set[int]) -> None:
        self._tokenizer = tokenizer
        self._spelling = spelling
        self._ignored = ignored
        self._mark = tokenizer.token_to_id(spelling.start) if spelling.start else None

    def __call__(self, text: str, *, starts_word: bool) -> list[int]:
        """Split a text; empty if nothing of it is known."""
        if not text:
            return []
        if starts_word:
            ids: Sequence[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        else:
            # The model alone, past the stage that would mark the text as the start of a word.
            normalizer = self._tokenizer.normalizer
            text = normalizer.normalize_str(text) if normalizer else text
            spelled = self._spelling.inside + (_as_bytes(text) if self._spelling.bytes else text)
            ids = [token.id for token in self._tokenizer.model.tokenize(spelled)]
        known = [index for index in ids if index not in self._ignored]
        return [] if set(known) <= {self._mark} else known


def find_spelling(tokenizer: Tokenizer) -> Spelling:
    """Tell how a tokenizer marks the start, the inside and the end of words."""
    described = json.loads(tokenizer.to_str())
    model = described["model"]
    kinds = {step["type"]: step for step in _steps(described.get("pre_tokenizer"))}
    if model.get("type") == "WordPiece":
        return Spelling(inside=model.get("continuing_subword_prefix") or "")
    if "Metaspace" in kinds:
        return Spelling(start=kinds["Metaspace"].get("replacement", _WORD_MARK))
    if "ByteLevel" in kinds:
        return Spelling(start=_as_bytes(" "), bytes=True)
    if any(step["type"] == "Prepend" for step in _steps(described.get("normalizer"))):
        return Spelling(start=_WORD_MARK)
    return Spelling(end=model.get("end_of_word_suffix") or "")


def _steps(stage: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """Lay the stages of a tokenizer out that are sequences of others."""
    if stage is None:
        return []
    inner = stage.get("pretokenizers") or stage.get("normalizers")
    return [step for part in inner for step in _steps(part)] if inner else [stage]


def _as_bytes(text: str) -> str:
    """Write a text in the alphabet of byte-level tokenizers."""
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return "".join(piece for piece, _ in level.pre_tokenize_str(text))


def _unknown_id(tokenizer: Tokenizer) -> int:
    model = json.loads(tokenizer.to_str())["model"]
    if isinstance(model.get("unk_id"), int):
        return model["unk_id"]
    unknown = model.get("unk_token")
    index = tokenizer.token_to_id(unknown) if isinstance(unknown, str) else None
    return -1 if index is None else index
