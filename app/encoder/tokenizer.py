"""Texts to token ids, at a bounded cost: the first stage of the encoder.

The artifact's ``tokenizer.json`` does all the work; truncation and padding are done here, so that
the caller learns which texts were cut and no text pays for another's length. Truncating does not
bound a tokenizer's cost (it works through the whole text first, and one character may unfold into
eighteen), so a long text is tokenized by a prefix that grows only while tokens are missing.
"""

import json
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import Tokenizer as Engine

from app.artifact import TOKENIZER, Manifest
from app.errors import ArtifactError, InvalidInputError, TooLargeError
from app.text.normalize import require_text

InputType = Literal["query", "document"]

# Characters looked at for each token wanted: first a few, which ordinary text fills, then as many
# as the longest tokens have. What is beyond the last cannot hold a token that is wanted.
FIRST_CHARACTERS_PER_TOKEN = 4
MOST_CHARACTERS_PER_TOKEN = 16
# A cut inside a word (scripts without spaces) changes its last few tokens: they must not be wanted.
SPARE_TOKENS = 8

# Default_Ignorable_Code_Point of Unicode: letters and marks that show nothing.
_INVISIBLE = (
    *((0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5)),
    *((0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164)),
    *((0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8)),
    *((0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF)),
)
_INVISIBLE_STARTS = tuple(first for first, _ in _INVISIBLE)


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
        # Two steps, so that no prompt can hide that a text is empty.
        ready = [require_text(text, f"inputs[{n}]") for n, text in enumerate(texts, first)]
        for index, text in enumerate(ready, first):
            _require_visible(text, index)
        if prompt:
            ready = [require_text(prompt + text) for text in ready]
        rows = self._tokens_of(ready)
        if not truncate:
            self._require_short(rows, first)
        return rows

    def _tokens_of(self, texts: list[str]) -> list[Tokens]:
        first = self._room * FIRST_CHARACTERS_PER_TOKEN
        rows = self._encode([_prefix_of(text, first) for text in texts])
        # Texts that go on, and whose beginning did not fill all tokens: few, and not costly ones.
        open_rows = [
            index
            for index, text in enumerate(texts)
            if len(text) > first and len(rows[index]) <= self._room + SPARE_TOKENS
        ]
        most = self._room * MOST_CHARACTERS_PER_TOKEN
        if open_rows:
            longer = self._encode([_prefix_of(texts[index], most) for index in open_rows])
            for index, row in zip(open_rows, longer, strict=True):
                rows[index] = row
        return [
            Tokens(
                ids=[*self._prefix, *(row[: self._room] or [self._fallback_id]), *self._suffix],
                truncated=len(row) > self._room or len(text) > most,
            )
            for row, text in zip(rows, texts, strict=True)
        ]

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


def is_visible(character: str) -> bool:
    """Tell whether a character shows anything: no space, control or default-ignorable."""
    if unicodedata.category(character) in ("Cc", "Cs", "Zs", "Zl", "Zp"):
        return False
    index = bisect_right(_INVISIBLE_STARTS, ord(character)) - 1
    return index < 0 or ord(character) > _INVISIBLE[index][1]


def _require_visible(text: str, index: int) -> None:
    if not any(map(is_visible, text)):
        raise InvalidInputError(
            f"inputs[{index}] has nothing but invisible characters, such as "
            f"U+{ord(text[0]):04X}; expected at least one that shows: send some text."
        )


def _prefix_of(text: str, limit: int) -> str:
    """Cut a text to at most ``limit`` characters, before a word where one begins not far back."""
    if len(text) <= limit:
        return text
    # A word cut in two would give tokens that the whole text does not have.
    space = text.rfind(" ", limit * 3 // 4, limit + 1)
    return text[: space if space > 0 else limit]


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
