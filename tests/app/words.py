"""An encoder of words with its white box and its speller, for attacks that come out as texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .glass import Glass

WORDS = ["<s>", "</s>", *(f"{first}{second}" for first in "bdfgklmnprst" for second in "aeiou")]
SUBJECTS = 3


def sentences(count: int, seed: int) -> list[str]:
    """Sentences of six words, most of them of one of a few subjects."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        subject = rng.integers(SUBJECTS)
        own = rng.integers(2 + 20 * subject, 22 + 20 * subject, 5)
        found.append(" ".join(WORDS[n] for n in [*own, rng.integers(2, len(WORDS))]))
    return found


@dataclass(frozen=True)
class Read:
    text: str
    ids: tuple[int, ...]
    begin: int
    end: int
    spans: tuple[tuple[int, int], ...]


class Words(Glass):
    """``Glass`` over a vocabulary of words, those of one subject near each other."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        rng = np.random.default_rng(seed + 1)
        middles = rng.standard_normal((SUBJECTS, self.hidden))
        subjects = np.minimum(np.maximum(np.arange(len(WORDS)) - 2, 0) // 20, SUBJECTS - 1)
        noise = rng.standard_normal((len(WORDS), self.hidden))
        self.table = (middles[subjects] + 0.8 * noise).astype(np.float32)

    def read(self, texts: Sequence[str]) -> list[Read]:
        return [self._read(" ".join(text.split())) for text in texts]

    def surface(self, token: int, script: str | None = None) -> str:
        return WORDS[token] if token > 1 else ""

    def sort(self, token: int) -> tuple[bool, bool, bool]:
        return True, False, False

    def _read(self, text: str) -> Read:
        ids, spans, at = [0], [], 0
        for word in text.split():
            ids.append(WORDS.index(word))
            spans.append((at, at + len(word)))
            at += len(word) + 1
        ids.append(1)
        return Read(text, tuple(ids), 1, len(ids) - 1, tuple(spans))
