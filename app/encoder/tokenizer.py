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

import numpy as np
from numpy.typing import NDArray
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
MOST_WINDOWS = 256


@dataclass(frozen=True, slots=True)
class Tokens:
    """The token ids of one text, special tokens included, and whether the text was cut."""

    ids: list[int]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Windows:
    """The rows of token ids that stand for one text, and how much each of them counts."""

    rows: list[list[int]]
    weights: list[int]
    truncated: bool = False


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
        self._vocab_size = manifest.vocab_size
        self._prompts = {"query": manifest.prompts.query, "document": manifest.prompts.document}

    @property
    def engine(self) -> Engine:
        """The library's tokenizer; it neither pads nor cuts."""
        return self._engine

    @property
    def leading(self) -> int:
        """How many special tokens stand before each text."""
        return len(self._prefix)

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
        rows = [
            Tokens(
                ids=[*self._prefix, *(row[: self._room] or [self._fallback_id]), *self._suffix],
                truncated=was_cut or len(row) > self._room,
            )
            for row, was_cut in self._leading(texts, input_type, self._room, first)
        ]
        if not truncate:
            self._require_short(rows, first)
        return rows

    def windows(
        self, texts: Sequence[str], input_type: InputType, *, first: int = 0
    ) -> list[Windows]:
        """Tokenize texts, each in as many windows of ``max_tokens`` as it fills, none cut.

        Windows do not overlap; each begins with the prompt, as every text does.

        Args:
            texts: Texts from outside.
            input_type: Which prompt to put before each, "query" or "document".
            first: Number of the first text, for error messages.

        Raises:
            InvalidInputError: As ``tokenize``.
            TooLargeError: If a text fills more than ``MOST_WINDOWS`` windows.
        """
        most = self._room * MOST_WINDOWS
        found = self._leading(texts, input_type, most, first)
        prompt = self._prompt_ids(input_type)
        split: list[Windows] = []
        for index, (row, was_cut) in enumerate(found, first):
            windows = self._split(row or [self._fallback_id], prompt)
            if was_cut or len(windows.rows) > MOST_WINDOWS:
                raise TooLargeError(
                    f"inputs[{index}] fills more than {MOST_WINDOWS} windows of "
                    f"{self._max_tokens} tokens; expected a shorter text: split it."
                )
            split.append(windows)
        return split

    def starts(self, texts: Sequence[str]) -> list[NDArray[np.intp]]:
        """Find where the tokens of whole texts begin, without prompt and special tokens.

        Args:
            texts: Normalized texts.

        Returns:
            For each text the place of each token, in code points.
        """
        batch = self._engine.encode_batch(texts, add_special_tokens=False)
        return [np.array([start for start, _ in one.offsets], np.intp) for one in batch]

    def room(self, input_type: InputType) -> int:
        """Count the tokens of a text that fit beside prompt and special tokens, for certain."""
        # Cut out of a longer text, a passage may have some more tokens at its ends.
        return max(self._room - len(self._prompt_ids(input_type)) - SPARE_TOKENS, 0)

    def wrap(self, rows: Sequence[Sequence[int]], *, first: int = 0) -> list[Tokens]:
        """Check token ids from outside and put special tokens around those that have none.

        Args:
            rows: Token ids of each text, of this very tokenizer. No prompt is put before them.
            first: Number of the first row, for error messages.

        Raises:
            InvalidInputError: If a row is empty or an id is none of the vocabulary's.
            TooLargeError: If a row has more than ``max_tokens`` tokens.
        """
        wrapped = [Tokens(self._wrap(row, index), False) for index, row in enumerate(rows, first)]
        for index, row in enumerate(wrapped, first):
            if len(row.ids) > self._max_tokens:
                raise TooLargeError(
                    f"inputs[{index}] has {len(row.ids)} tokens, special tokens included; expected "
                    f"at most {self._max_tokens}, the most that this encoder reads: split it, or "
                    "send the text to have it cut."
                )
        return wrapped

    def _wrap(self, row: Sequence[int], index: int) -> list[int]:
        ids = list(row)
        if not ids:
            raise InvalidInputError(f"inputs[{index}] has no token ids; expected at least one.")
        # type(...): a truth value is an int to Python.
        if wrong := [one for one in ids if type(one) is not int or not 0 <= one < self._vocab_size]:
            raise InvalidInputError(
                f"inputs[{index}] has the token id {wrong[0]!r:.40}; expected integers from 0 to "
                f"{self._vocab_size - 1}, made by this model's own tokenizer: send the text itself "
                "if they are another's."
            )
        before, after = self._prefix, self._suffix
        ends = [*ids[: len(before)], *ids[len(ids) - len(after) :]]
        if len(ids) >= len(ends) and ends == [*before, *after]:
            return ids  # its tokenizer has put them there
        return [*before, *ids, *after]

    def _leading(
        self, texts: Sequence[str], input_type: InputType, wanted: int, first: int
    ) -> list[tuple[list[int], bool]]:
        """Tokenize at least the first ``wanted`` tokens of each text, and say if more was cut."""
        prompt = self._prompts[input_type]
        bounded = [bound(text, wanted * MOST_CHARACTERS_PER_TOKEN) for text in texts]
        # Two steps, so that no prompt can hide that a text is empty.
        ready = [require_text(text, f"inputs[{n}]") for n, (text, _) in enumerate(bounded, first)]
        for index, text in enumerate(ready, first):
            _require_visible(text, index)
        if prompt:
            ready = [require_text(prompt + text) for text in ready]
        cut = [was_cut for _, was_cut in bounded]
        return list(zip(self._tokens_of(ready, wanted), cut, strict=True))

    def _prompt_ids(self, input_type: InputType) -> list[int]:
        prompt = self._prompts[input_type]
        return self._encode([prompt])[0] if prompt else []

    def _split(self, row: list[int], prompt: list[int]) -> Windows:
        """Cut one text's tokens into windows, the prompt before each."""
        if len(row) <= self._room:
            return Windows([[*self._prefix, *row, *self._suffix]], [len(row)])
        # The prompt's last token may have merged with the text; what is left of it is repeated.
        pairs = enumerate(zip(row, prompt, strict=False))
        lead = prompt[: next((at for at, (ours, its) in pairs if ours != its), None)]
        size = self._room - len(lead)
        if size < 1:  # a prompt that fills a window alone
            lead, size = [], self._room
        body = row[len(lead) :]
        parts = [body[start : start + size] for start in range(0, len(body), size)]
        rows = [[*self._prefix, *lead, *part, *self._suffix] for part in parts]
        return Windows(rows, [len(part) for part in parts])

    def _tokens_of(self, texts: list[str], wanted: int) -> list[list[int]]:
        """Tokenize at least as much of each text as its first ``wanted`` tokens need."""
        limits = [first_reach(text, wanted * FIRST_CHARACTERS_PER_TOKEN) for text in texts]
        rows = self._encode([excerpt(*pair) for pair in zip(texts, limits, strict=True)])
        while open_rows := [
            index
            for index, row in enumerate(rows)
            if len(texts[index]) > limits[index] and len(row) <= wanted + SPARE_TOKENS
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
