"""Which tokens to try in which place: the first-order gain of every exchange (HotFlip).

The loss changes by (e_new - e_old) . g to first order, for all tokens and places in one product.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.robustness.inside import Array, Inside, TokenRow
from app.text.script import script_of

_DIGITS = 6
_AT_ONCE = 10_000


class Spelled(Protocol):
    """A text with its tokens; ``app.encoder.spelling`` has one."""

    @property
    def text(self) -> str:
        """The text, normalized, without the prompt."""
        ...

    @property
    def ids(self) -> tuple[int, ...]:
        """Token ids, special tokens and prompt included."""
        ...

    @property
    def begin(self) -> int:
        """Where its own tokens begin."""
        ...

    @property
    def end(self) -> int:
        """Where they end."""
        ...

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """What each of its own tokens covers in the text."""
        ...


class Speller(Protocol):
    """Texts to tokens and back; ``app.encoder.spelling`` has one."""

    def read(self, texts: Sequence[str]) -> Sequence[Spelled]:
        """Tokenize texts as the service does."""
        ...

    def surface(self, token: int, script: str | None = None) -> str:
        """What a token is written as, in a script if one is given; empty if it is not known."""
        ...

    def sort(self, token: int) -> tuple[bool, bool, bool]:
        """What kind of token it is; those of one sort can stand in one another's place."""
        ...


def row_of(spelled: Spelled) -> TokenRow:
    """Take a text's tokens."""
    return TokenRow(spelled.ids, spelled.begin, spelled.end)


def steepest_places(gradients: Array, allowed: NDArray[np.bool_], most: int) -> NDArray[np.int64]:
    """Choose the places with the largest gradients, (batch, at most ``most``); -1 for none.

    Args:
        gradients: dL/dembedding, shape (batch, seq, hidden).
        allowed: Which places may change, shape (batch, seq).
        most: Places of each text.
    """
    sizes = np.sqrt((gradients.astype(np.float64) ** 2).sum(axis=-1))
    sizes = np.where(allowed, np.round(sizes, _DIGITS), -1.0)
    order = np.argsort(-sizes, axis=1, kind="stable")[:, :most]
    return np.where(np.take_along_axis(sizes, order, axis=1) >= 0.0, order, -1)


class Exchanges:
    """Which tokens can stand in which others' place: those of one sort, in its script if asked."""

    def __init__(self, inside: Inside, speller: Speller, *, same_script: bool) -> None:
        self._inside, self._speller = inside, speller
        self._same_script = same_script
        self._tokens = inside.vocabulary.tolist()
        self._sorts = np.array(list(self._sorted()))
        self._masks: dict[tuple[int, str | None], NDArray[np.bool_]] = {}

    def allowed(self, token: int, text: str) -> NDArray[np.bool_]:
        """Tell which of the vocabulary can take the place of a token that covers some text."""
        key = _code(self._speller.sort(token)), self._script(text)
        if key not in self._masks:
            self._masks[key] = (self._sorts == key[0]) & self._written(key[1])
        return self._masks[key]

    def _sorted(self) -> Iterator[int]:
        for number, token in enumerate(self._tokens):
            if not number % _AT_ONCE:
                self._inside.go_on()
            yield _code(self._speller.sort(token))

    def _written(self, script: str | None) -> NDArray[np.bool_]:
        """Tell of which tokens it is known how they are written."""
        found: list[bool] = []
        for start in range(0, len(self._tokens), _AT_ONCE):
            self._inside.go_on()
            some = self._tokens[start : start + _AT_ONCE]
            found += [bool(self._speller.surface(token, script)) for token in some]
        return np.array(found)

    def nothing(self) -> NDArray[np.bool_]:
        """No token at all."""
        return np.zeros(len(self._tokens), dtype=bool)

    def surface(self, token: int, text: str) -> str:
        """What a token is written as in the place of some text."""
        return self._speller.surface(token, self._script(text))

    def _script(self, text: str) -> str | None:
        return script_of(text) if self._same_script else None


def _code(sort: tuple[bool, bool, bool]) -> int:
    return sort[0] + 2 * sort[1] + 4 * sort[2]


def best_tokens(
    inside: Inside, gradients: Array, most: int, allowed: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the tokens whose embeddings lead farthest down a gradient.

    Args:
        inside: The white box; candidates are its vocabulary.
        gradients: dL/dembedding of single places, shape (places, hidden).
        most: Tokens for each place.
        allowed: Which tokens may stand in each place, shape (places, vocabulary); None: all.

    Returns:
        Token ids and their e . g, the least first, equal ones by id, both (places, tokens);
        infinite for tokens that are not allowed.

    References:
        Ebrahimi et al. 2018, equation 7, https://arxiv.org/abs/1712.06751.
    """
    # A gradient's size says nothing about which token is best; its last bits then neither.
    scale = np.sqrt((gradients * gradients).sum(axis=1, keepdims=True))
    units = gradients / np.maximum(scale, 1e-20)
    ids = np.empty((len(gradients), 0), dtype=np.int64)
    found = np.empty((len(gradients), 0), dtype=np.float32)
    start = 0
    for tokens, table in inside.blocks():
        slopes = np.round(units @ table.T, _DIGITS)
        if allowed is not None:
            here = allowed[:, start : start + len(tokens)]
            slopes = np.where(here, slopes, np.float32(np.inf))
        start += len(tokens)
        ids = np.hstack([ids, np.broadcast_to(tokens, slopes.shape)])
        found = np.hstack([found, slopes])
        # Ids rise from left to right, so that a stable sort leaves equal ones in their order.
        least = np.argpartition(found, min(most, found.shape[1]) - 1, axis=1)[:, :most]
        ids, found = _columns(np.sort(least, axis=1), ids, found)
    ids, found = _columns(np.argsort(found, axis=1, kind="stable"), ids, found)
    return ids, (found * np.maximum(scale, 1e-20)).astype(np.float32)


def _columns(
    order: NDArray[np.intp], ids: NDArray[np.int64], values: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(values, order, axis=1)
