"""Which language a text is in, for the languages of the corpora that come without restriction.

A linear model over hashed n-grams of letters, with the rows of its table added up as integers: a
text's result is the same bits in any company. Its table (``tables/languages.npz``) was learned by
``python -m training.data.tables languages``. What it trades away: a query of three words is often
not enough, and neighbors that people too tell apart by a few words (Bosnian and Croatian, Dari and
Persian) are mixed up; ``probabilities`` says how sure it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
import regex
from numpy.typing import NDArray

LONGEST = 4
"""Letters of the longest n-grams."""
_TABLE = Path(__file__).parent / "tables" / "languages.npz"
_NO_LETTERS = regex.compile(r"[^\p{L}\p{M}]+")
_INVISIBLE = regex.compile(r"\p{Default_Ignorable_Code_Point}+")
_AT_ONCE = 512
_NOTHING = 3  # n-grams of a text without a letter: two borders, and both together
_DIGITS = 6
_STEP, _LETTER, _LENGTH = np.uint32(0x01000193), np.uint32(0x9E3779B1), 0x85EBCA6B
_MIXERS = ((15, 0x2C1B3C6D), (12, 0x297A2D39))


@dataclass(frozen=True, slots=True)
class Hashed:
    """N-grams of texts as rows of a table.

    Attributes:
        rows: For each length of n-gram, a row for each place, shape (LONGEST, places); where none
            begins, the row after the last.
        starts: Where each text begins among the places, shape (texts,).
        counts: N-grams of each text, shape (texts,).
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Identifier:
    """Tells languages by their letters.

    Attributes:
        languages: Those it knows, such as ``yor_Latn``.
        table: A row for each bucket of n-grams and one of zeros, shape (buckets + 1, dim), int8.
        head: What each language makes of a sum of rows, shape (dim, languages).
        bias: What it makes of nothing, shape (languages,).
    """

    languages: tuple[str, ...]
    table: NDArray[np.int8]
    head: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def load(cls, path: Path = _TABLE) -> Self:
        """Read a table."""
        with np.load(path) as file:
            return cls(
                tuple(file["languages"].tolist()),
                file["table"],
                file["head"].astype(np.float64),
                file["bias"].astype(np.float64),
            )

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """How likely each language is, shape (texts, languages); even without a letter."""
        parts = [
            self._some(texts[start : start + _AT_ONCE]) for start in range(0, len(texts), _AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.languages)))

    def _some(self, texts: Sequence[str]) -> NDArray[np.float64]:
        found = hash_letters(texts, len(self.table) - 1)
        sums = np.zeros((len(texts), self.table.shape[1]), np.int64)
        for rows in found.rows:
            sums += np.add.reduceat(self.table[rows], found.starts, axis=0, dtype=np.int64)
        scaled = sums / np.sqrt(np.maximum(found.counts, 1))[:, None]
        # One product for each text: BLAS rounds a larger one by its shape.
        values = np.array([one @ self.head for one in scaled]) + self.bias
        values[found.counts <= _NOTHING] = 0.0
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return np.round(powers / powers.sum(axis=1, keepdims=True), _DIGITS)


@cache
def identifier() -> Identifier:
    """The identifier that comes along, read once."""
    return Identifier.load()


def hash_letters(texts: Sequence[str], buckets: int) -> Hashed:
    """Cut texts into n-grams of letters and hash them.

    Small letters alone count; digits and punctuation part words, invisible characters are nothing.
    """
    cut = [_letters(text) for text in texts]
    gap = "\0" * LONGEST
    points = np.frombuffer(
        (gap.join(cut) + gap).encode("utf-32-le", "surrogatepass"), dtype=np.uint32
    )
    lengths = np.array([len(one) + LONGEST for one in cut], dtype=np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)[:-1]])
    rows = np.empty((LONGEST, len(points)), dtype=np.int64)
    counts = np.zeros(len(cut), dtype=np.int64)
    value = np.zeros(len(points), dtype=np.uint32)
    there = np.ones(len(points), dtype=bool)
    for length in range(1, LONGEST + 1):
        ahead = np.zeros_like(points)
        ahead[: len(points) - length + 1] = points[length - 1 :]
        there &= ahead > 0
        value = (value * _STEP) ^ (ahead * _LETTER)
        rows[length - 1] = np.where(there, _mixed(value, length) % np.uint32(buckets), buckets)
        counts += np.add.reduceat(there.astype(np.int64), starts)
    return Hashed(rows, starts, counts)


def _letters(text: str) -> str:
    shown = text if text.isascii() else _INVISIBLE.sub("", text)
    return f" {_NO_LETTERS.sub(' ', shown.lower()).strip()} "


def _mixed(value: NDArray[np.uint32], length: int) -> NDArray[np.uint32]:
    """Spread bits, so that a remainder of them is even."""
    mixed = value + np.uint32(length * _LENGTH & 0xFFFFFFFF)
    for shift, factor in _MIXERS:
        mixed = (mixed ^ (mixed >> np.uint32(shift))) * np.uint32(factor)
    return mixed ^ (mixed >> np.uint32(15))
