"""Texts to token ids, at a bounded cost: the first stage of the encoder.

The artifact's ``tokenizer.json`` does all the work; truncation and padding are done here, so that
the caller learns which texts were cut and no text pays for another's length. Truncating does not
bound a tokenizer's cost (it works through the whole text first, and one character may unfold into
eighteen), so a long text is tokenized by a prefix that grows only while tokens are missing.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import Tokenizer as Engine

from app.artifact import TOKENIZER, Manifest
from app.encoder.excerpt import bound, excerpt, first_reach, is_visible
from app.errors import ArtifactError, InvalidInputError, TooLargeError
from app.text.normalize import require_text

InputType = Literal["query", "document"]

# Characters looked at for each token wanted: at first so many, which ordinary text fills; then more
# and more; and never more than the longest tokens have.
FIRST_CHARACTERS_PER_TOKEN = 4
GROWTH = 4
MOST_CHARACTERS_PER_TOKEN = 16
# A cut inside a word (scripts without spaces) changes its last few tokens: they must not be wanted.
SPARE_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Tokens:
    """The token ids of one text, special tokens included, and whether the text was cut."""

    ids: list[int]
    truncated: bool


class Tokenizer:
    """The artifact's tokenizer.

    A visible text that has no token in the vocabulary is given the unknown token, so that it still
    has a vector.
    """

    def __init__(self, content: bytes, manifest: Manifest) -> None:
        try:
            self._engine = Engine.from_str(content.decode("utf-8"))
            self._fallback_id = _unknown_id(json.loads(content), self._engine, manifest.pad_id)
        except Exception as error:  # the engine raises bare Exception for any broken file
            raise ArtifactError(
                f"{TOKENIZER}: got a file that cannot be read as a tokenizer ({error}); expected "
                "Hugging Face tokenizers' JSON. Export the artifact again."
            ) from error
        # A file may carry fixed padding or a cut of its own: every text would pay, or lose, by it.
        self._engine.no_padding()
        self._engine.no_truncation()
        highest = max(self._engine.get_vocab(with_added_tokens=True).values(), default=-1)
        if highest >= manifest.vocab_size:
            raise ArtifactError(
                f"{TOKENIZER}: got token id {highest}; expected ids below the manifest's "
                f"vocab_size {manifest.vocab_size}. Export the artifact again."
            )
        self._prefix, self._suffix = _special_tokens(self._engine)
        self._room = manifest.max_tokens - len(self._prefix) - len(self._suffix)
        if self._room < 1:
            raise ArtifactError(
                f"manifest.json: got max_tokens {manifest.max_tokens}, which the special tokens "
                "fill; expected room for text. Export the artifact again."
            )
        self._max_tokens = manifest.max_tokens
        self._prompts = {"query": manifest.prompts.query, "document": manifest.prompts.document}

    def tokenize(
        self, texts: Sequence[str], input_type: InputType, *, truncate: bool = True, first: int = 0
    ) -> list[Tokens]:
        """Tokenize texts; each comes out the same whatever it is tokenized with.

        Args:
            texts: Texts from outside.
            input_type: Which prompt to put before each, "query" or "document".
            truncate: Cut what is beyond ``max_tokens`` rather than refuse it.
            first: Number of the first text, for error messages.

        Raises:
            InvalidInputError: If a text is empty, shows nothing, or holds a lone surrogate.
            TooLargeError: If a text is too long and is not to be cut.
        """
        prompt = self._prompts[input_type]
        most = self._room * MOST_CHARACTERS_PER_TOKEN
        bounded = [bound(text, most) for text in texts]
        # Two steps, so that no prompt can hide that a text is empty.
        ready = [require_text(text, f"inputs[{n}]") for n, (text, _) in enumerate(bounded, first)]
        for index, text in enumerate(ready, first):
            _require_visible(text, index)
        if prompt:
            ready = [require_text(prompt + text) for text in ready]
        rows = [
            Tokens(
                ids=[*self._prefix, *(row[: self._room] or [self._fallback_id]), *self._suffix],
                truncated=was_cut or len(row) > self._room,
            )
            for row, (_, was_cut) in zip(self._tokens_of(ready), bounded, strict=True)
        ]
        if not truncate:
            self._require_short(rows, first)
        return rows

    def _tokens_of(self, texts: list[str]) -> list[list[int]]:
        """Tokenize at least as much of each text as its first ``_room`` tokens need."""
        limits = [first_reach(text, self._room * FIRST_CHARACTERS_PER_TOKEN) for text in texts]
        rows = self._encode([excerpt(*pair) for pair in zip(texts, limits, strict=True)])
        while open_rows := [
            index
            for index, row in enumerate(rows)
            if len(texts[index]) > limits[index] and len(row) <= self._room + SPARE_TOKENS
        ]:
            for index in open_rows:
                limits[index] *= GROWTH
            longer = self._encode([excerpt(texts[index], limits[index]) for index in open_rows])
            for index, row in zip(open_rows, longer, strict=True):
                rows[index] = row
        return rows

    def _encode(self, texts: list[str]) -> list[list[int]]:
        batch = self._engine.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in batch]

    def _require_short(self, rows: list[Tokens], first: int) -> None:
        for index, row in enumerate(rows, first):
            if row.truncated:
                raise TooLargeError(
                    f"inputs[{index}] has more than {self._max_tokens} tokens, the most that this "
                    "encoder reads; expected a shorter text: split it, or send truncate=true to "
                    "have it cut."
                )


def _require_visible(text: str, index: int) -> None:
    if not any(map(is_visible, text)):
        raise InvalidInputError(
            f"inputs[{index}] has nothing but invisible characters, such as "
            f"U+{ord(text[0]):04X}; expected at least one that shows: send some text."
        )


def _special_tokens(engine: Engine) -> tuple[list[int], list[int]]:
    """Find the ids that the tokenizer puts before and after each text."""
    bare = engine.encode("a", add_special_tokens=False).ids
    full = engine.encode("a").ids
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return full[:start], full[start + len(bare) :]
    raise ValueError("its special tokens stand inside the text")


def _unknown_id(content: dict[str, Any], engine: Engine, pad_id: int) -> int:
    """Find the id that stands for what the vocabulary lacks."""
    model = content.get("model", {})
    if isinstance(index := model.get("unk_id"), int):
        return index
    name = model.get("unk_token")
    found = engine.token_to_id(name) if isinstance(name, str) else None
    return pad_id if found is None else found
