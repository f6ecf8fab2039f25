"""Which tokens to try in which place: the first-order gain of every exchange (HotFlip).

The loss changes by (e_new - e_old) . g to first order, for all tokens and places in one product.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.robustness.inside import Array, Inside, TokenRow

_DIGITS = 6


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

    def surface(self, token: int) -> str:
        """What a token is written as; empty for those without a writing."""
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


def best_tokens(
    inside: Inside, gradients: Array, most: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the tokens whose embeddings lead farthest down a gradient.

    Args:
        inside: The white box; candidates are its vocabulary.
        gradients: dL/dembedding of single places, shape (places, hidden).
        most: Tokens for each place.

    Returns:
        Token ids and their e . g, the least first, equal ones by id, both (places, tokens).

    References:
        Ebrahimi et al. 2018, equation 7, https://arxiv.org/abs/1712.06751.
    """
    # A gradient's size says nothing about which token is best; its last bits then neither.
    scale = np.sqrt((gradients * gradients).sum(axis=1, keepdims=True))
    units = gradients / np.maximum(scale, 1e-20)
    ids = np.empty((len(gradients), 0), dtype=np.int64)
    found = np.empty((len(gradients), 0), dtype=np.float32)
    for tokens, table in inside.blocks():
        slopes = np.round(units @ table.T, _DIGITS)
        ids = np.hstack([ids, np.broadcast_to(tokens, slopes.shape)])
        found = np.hstack([found, slopes])
        least = np.argpartition(found, min(most, found.shape[1]) - 1, axis=1)[:, :most]
        # Ids rise from left to right, so that a stable sort leaves equal ones in their order.
        least = np.sort(least, axis=1)
        ids, found = (
            np.take_along_axis(ids, least, axis=1),
            np.take_along_axis(found, least, axis=1),
        )
    order = np.argsort(found, axis=1, kind="stable")
    ids, found = np.take_along_axis(ids, order, axis=1), np.take_along_axis(found, order, axis=1)
    return ids, (found * scale).astype(np.float32)
