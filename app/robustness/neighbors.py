"""Which words an encoder takes for nearly the same: the nearest rows among a vocabulary's.

Each word is encoded alone, as a text of one word: for an encoder that averages token vectors these
are its token embeddings, for others what comes nearest to them through ``Encode``. Neighbors are in
the script of the word, and differ in more than case and accents: other attacks have those.
"""

import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.retrieval.store import Encode
from app.text.dictionaries import fold
from app.text.perturbations.context import TokenNeighbors
from app.text.script import script_of

BATCH = 256
"""Words encoded in one call."""


class EncodedNeighbors:
    """The neighbors of words in the eyes of an encoder; one for all probes of it.

    Args:
        vocabulary: Words to choose from; those that differ in case alone count once.
        encode: The encoder that is probed.
        most: Neighbors of a word.
        least: The cosine below which a word is no neighbor.

    Raises:
        InvalidInputError: If the vocabulary is empty.
    """

    def __init__(
        self, vocabulary: Sequence[str], encode: Encode, *, most: int = 8, least: float = 0.3
    ) -> None:
        words = {fold(word): word for word in reversed(vocabulary) if fold(word)}
        if not words:
            raise InvalidInputError("the vocabulary has no words; expected some to choose from.")
        self._words = tuple(words.values())
        self._plain = tuple(map(_plain, self._words))
        self._scripts = np.array([script_of(word) for word in self._words])
        self._encode = encode
        self._most, self._least = most, least
        self._batches: list[NDArray[np.float32]] = []
        self._lookup: TokenNeighbors | None = None
        self._filling = Lock()

    def ready(self, stop: Callable[[], bool]) -> TokenNeighbors | None:
        """Encode the vocabulary as far as it is not; what was done is kept for the next time.

        Args:
            stop: Asked between batches whether to stop.

        Returns:
            A word -> its neighbors, nearest first, the earlier one of a tie; None if stopped.
        """
        with self._filling:
            while self._lookup is None:
                start = BATCH * len(self._batches)
                if start >= len(self._words):
                    rows = np.concatenate(self._batches)  # (words, dim)
                    self._lookup = lru_cache(maxsize=1 << 14)(partial(self._find, rows))
                elif stop():
                    return None
                else:
                    self._batches.append(self._encode(self._words[start : start + BATCH]))
        return self._lookup

    def _find(self, rows: NDArray[np.float32], word: str) -> tuple[str, ...]:
        scores = rows @ self._encode([word])[0]  # (words,)
        scores[self._scripts != script_of(word)] = -np.inf
        # Last bits differ between batches; they shall not choose.
        order = np.argsort(-scores.round(5), kind="stable")
        plain = _plain(word)
        found: list[str] = []
        for index in order.tolist():
            if scores[index] < self._least or len(found) == self._most:
                break
            if self._plain[index] != plain:
                found.append(self._words[index])
        return tuple(found)


def _plain(word: str) -> str:
    decomposed = unicodedata.normalize("NFD", fold(word))
    return "".join(c for c in decomposed if not unicodedata.combining(c))
