"""The words of many texts at once: what ``words.py`` says of one, found by tables of characters.

Each character has a class, looked up in a table, and words are runs of classes; only what
punctuation joins and scripts without spaces are left to the expressions of ``words.py``.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import regex
from numpy.typing import NDArray

from app.retrieval.words import (
    ANY_LETTER,
    UNSPACED,
    clusters_of,
    has_unspaced,
    joined_in,
    plain_of,
)

_OTHER, _LETTER, _UNSPACED, _MARK, _JOINER, _SUFFIX = range(6)
"""Classes of characters. A mark is of no script without spaces, and goes with what it follows."""
_BLOCK = 1 << 12
_CODES = 1 << 20 | 1 << 16
_PATTERNS = (
    (_LETTER, regex.compile(rf"(?V1)[{ANY_LETTER}]++")),
    (_MARK, regex.compile(r"\p{M}++")),
    (_UNSPACED, regex.compile(rf"(?V1)[{UNSPACED}]++")),
    (_JOINER, regex.compile(r"[-_./:@',]++")),
    (_SUFFIX, regex.compile(r"[+#]++")),
)
"""A later one overrules those before."""
Numbers = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Split:
    """The words of several texts, in no order.

    Attributes:
        words: Words of all texts, one for each place.
        owners: The number of each word's text, shape (words,).
        lengths: How many of its words count for a text's length, shape (texts,).
    """

    words: list[str]
    owners: Numbers
    lengths: Numbers


class _Classes:
    """The class of each character, looked up in ``regex`` when one of its block first comes."""

    def __init__(self) -> None:
        self._table = np.zeros(_CODES, np.uint8)
        self._known = np.zeros(_CODES // _BLOCK, bool)

    def of(self, codes: NDArray[np.uint32]) -> NDArray[np.uint8]:
        """Class each character, shape (characters,) both."""
        seen = np.bincount(codes // _BLOCK, minlength=len(self._known)) > 0
        for block in np.flatnonzero(seen & ~self._known).tolist():
            self._learn(block * _BLOCK)
            self._known[block] = True
        return self._table[codes]

    def _learn(self, first: int) -> None:
        characters = "".join(map(chr, range(first, first + _BLOCK)))
        for kind, pattern in _PATTERNS:
            for found in pattern.finditer(characters):
                self._table[first + found.start() : first + found.end()] = kind


_classes = _Classes()


def split(texts: Sequence[str]) -> Split:
    """Find the words, joined words and single clusters of simplified texts, as ``words.py`` does.

    Args:
        texts: At least one, from ``simplify``.
    """
    whole = "\n".join(texts) + "\n"
    codes = np.frombuffer(whole.encode("utf-32-le", "surrogatepass"), np.uint32)
    classes = _classes.of(codes)
    ends = np.cumsum([len(text) + 1 for text in texts])
    runs = _runs(_settled(classes))
    spaced = runs.kinds == _LETTER
    starts = runs.starts[spaced]
    words = [whole[a:b] for a, b in zip(starts.tolist(), runs.ends[spaced].tolist(), strict=True)]
    owners = np.searchsorted(ends, starts, "right")
    lengths = np.bincount(owners, minlength=len(texts))
    further, of_further = list[str](), list[int]()
    unspaced = np.flatnonzero(runs.kinds == _UNSPACED)
    of_runs = np.searchsorted(ends, runs.starts[unspaced], "right").tolist()
    for run, owner in zip(unspaced.tolist(), of_runs, strict=True):
        found, counted = _pairs(whole[runs.starts[run] : runs.ends[run]])
        further += found
        of_further += [owner] * len(found)
        lengths[owner] += counted
    for start, end in _joining(classes):
        found = list(joined_in(whole[start:end]))
        further += found
        of_further += [int(np.searchsorted(ends, start, "right"))] * len(found)
    return Split(words + further, np.concatenate([owners, np.array(of_further, np.intp)]), lengths)


def plain_forms(words: Sequence[str]) -> dict[str, str]:
    """Give those of the words that have a plain form, each with it, as ``forms_of`` does."""
    marked = [word for word in words if not word.isascii() or "'" in word]
    plain = plain_of("\n".join(marked)).split("\n") if marked else []
    return {
        word: other
        for word, other in zip(marked, plain, strict=True)
        if other not in (word, "") and not has_unspaced(word)
    }


def _settled(classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give each mark the class of what it follows; at the beginning of a word it is a letter."""
    marks = classes == _MARK
    settled = np.where(classes > _MARK, np.uint8(_OTHER), classes)
    if not marks.any():
        return settled
    places = np.where(marks, 0, np.arange(len(classes)))
    settled = settled[np.maximum.accumulate(places)]
    settled[marks & ((settled == _OTHER) | (settled == _MARK))] = _LETTER
    return settled


@dataclass(frozen=True, slots=True)
class _Runs:
    """Runs of one class each, all characters in order; shape (runs,) each."""

    starts: Numbers
    ends: Numbers
    kinds: NDArray[np.uint8]


def _runs(classes: NDArray[np.uint8]) -> _Runs:
    edges = np.flatnonzero(classes[1:] != classes[:-1]) + 1
    starts = np.concatenate([np.zeros(1, np.intp), edges])
    return _Runs(starts, np.append(edges, len(classes)), classes[starts])


def _pairs(run: str) -> tuple[list[str], int]:
    """Give a run's pairs of clusters and its clusters, and how many of these count as words."""
    clusters = clusters_of(run)
    if len(clusters) == 1:
        return [run], 1
    pairs = [left + right for left, right in itertools.pairwise(clusters)]
    return pairs + clusters, len(pairs)


def _joining(classes: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Find the places of letters and punctuation in which something may be joined."""
    letters = (classes == _LETTER) | (classes == _MARK)
    joiners = classes >= _JOINER
    held = np.zeros(len(classes), bool)
    held[:-2] = letters[:-2] & joiners[1:-1] & letters[2:]
    held[:-1] |= letters[:-1] & (classes[1:] == _SUFFIX)
    held[:-4] |= letters[:-4] & joiners[1:-3] & joiners[2:-2] & joiners[3:-1] & letters[4:]
    places = np.flatnonzero(held)
    if not len(places):
        return
    edges = np.flatnonzero(np.diff((letters | joiners).astype(np.int8), prepend=0))
    after = np.unique(np.searchsorted(edges, places, "right"))
    yield from zip(edges[after - 1].tolist(), edges[after].tolist(), strict=True)
