"""Translations and synonyms at hand: which words can stand for a word, and in which language.

Read from dictionaries (see ``app.text.dictionaries`` and ``app.text.freedict`` for their formats),
for texts that switch between languages, in training and in the probe alike. The words lie in one
block of bytes with arrays of numbers beside it, where a dict of strings takes several times as
much; what it trades away: a look-up takes some microseconds.
"""

import re
import zlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.text.dictionaries import Entry, fold
from app.text.mounted import find_dictionaries, read_dictionary
from app.text.normalize import normalize
from app.text.tables import DICTIONARIES

_PARTS = re.compile("[ \\-\u2010\u2011]")


@dataclass(frozen=True, slots=True, eq=False)
class Lexicon:
    """Words and their neighbors, each of which is a translation or a synonym.

    Attributes:
        languages: Those that have words here, in order of their codes.
        sizes: Distinct words of each language.
        entries: Distinct pairs of words.
    """

    languages: tuple[str, ...]
    sizes: Mapping[str, int]
    entries: int
    _longest: Mapping[str, tuple[int, int]]
    _text: bytes  # the words as written, one after the other
    _ends: NDArray[np.uint32]  # (words + 1,), where each word begins and ends in it
    _lang: NDArray[np.uint16]  # (words,), index into languages
    _buckets: NDArray[np.uint32]  # (buckets + 1,), first word of each; by checksum of the key
    _firsts: NDArray[np.uint32]  # (words + 1,), first neighbor of each
    _neighbors: NDArray[np.uint32]  # (2 * entries,)

    @classmethod
    def load(cls, paths: Sequence[Path]) -> Self:
        """Read dictionaries; what stands in several of them, or twice in one, counts once.

        Raises:
            InvalidInputError: If a file cannot be read or has a line that is none; names the file
                and the line.
        """
        return cls.of(entry for path in paths for entry in read_dictionary(path))

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Self:
        """Build from entries; of spellings that differ in case alone, the first one is kept."""
        ids: dict[str, dict[str, int]] = {}
        words: list[str] = []
        ends = array("q")
        for lang_a, word_a, lang_b, word_b in entries:
            for lang, word in ((lang_a, word_a), (lang_b, word_b)):
                number = ids.setdefault(lang, {}).setdefault(fold(word), len(words))
                if number == len(words):
                    words.append(normalize(word))
                ends.append(number)
        langs = tuple(sorted(ids))
        lang, checksum = np.zeros(len(words), np.uint16), np.zeros(len(words), np.uint32)
        for code, keys in ids.items():
            numbers = np.fromiter(keys.values(), np.int64, len(keys))
            lang[numbers] = langs.index(code)
            checksum[numbers] = [zlib.crc32(_bytes(key)) for key in keys]
        order, buckets = _into_buckets(checksum)
        firsts, neighbors = _adjacency(np.frombuffer(ends, np.int64).reshape(-1, 2), order)
        written = [_bytes(words[number]) for number in order.tolist()]
        return cls(
            languages=langs,
            sizes={code: len(ids[code]) for code in langs},
            entries=len(neighbors) // 2,
            _longest={code: _longest(ids[code], words) for code in langs},
            _text=b"".join(written),
            _ends=np.cumsum([0, *map(len, written)], dtype=np.uint32),
            _lang=lang[order],
            _buckets=buckets,
            _firsts=firsts,
            _neighbors=neighbors,
        )

    def longest(self, lang: str) -> tuple[int, int]:
        """Return the most words and the most code points of an entry of a language; zeros if none.

        Parts of a word between hyphens count as words. Nothing longer needs to be looked up.
        """
        return self._longest.get(lang, (0, 0))

    def lookup(self, word: str, lang: str, *, through: str = "") -> tuple[tuple[str, str], ...]:
        """Find what can stand for a word.

        Args:
            word: In any case, its accents composed or not.
            lang: Its language.
            through: A language that joins others, such as ``eng_Latn``: the neighbors of the
                word's neighbors in it count too. Off by default, for a word with two meanings
                there makes neighbors of words that have nothing in common.

        Returns:
            Words with their languages, in order of their files and as the files write them; empty
            if the word is unknown.
        """
        number = self.find(word, lang)
        found = [] if number is None else self.neighbors(number, through=through)
        return tuple(map(self.word, found))

    def find(self, word: str, lang: str) -> int | None:
        """Return the number of a word, None if it is unknown; see `lookup`."""
        key = fold(word)
        if lang not in self.sizes or not key:
            return None
        bucket = zlib.crc32(_bytes(key)) & (len(self._buckets) - 2)
        for number in range(self._buckets.item(bucket), self._buckets.item(bucket + 1)):
            written, language = self.word(number)
            if language == lang and fold(written) == key:
                return number
        return None

    def neighbors(self, number: int, *, through: str = "") -> list[int]:
        """Return the numbers of what can stand for a word; see `lookup`."""
        found = self._around(number)
        if not through:
            return found
        bridges = [bridge for bridge in found if self.language(bridge) == through]
        joined = dict.fromkeys(found)
        for bridge in bridges:
            joined |= dict.fromkeys(self._around(bridge))
        joined.pop(number, None)
        return list(joined)

    def language(self, number: int) -> str:
        """Return the language of a word."""
        return self.languages[self._lang.item(number)]

    def word(self, number: int) -> tuple[str, str]:
        """Return a word as its file writes it, and its language."""
        written = self._text[self._ends.item(number) : self._ends.item(number + 1)]
        return written.decode(), self.language(number)

    def _around(self, number: int) -> list[int]:
        return self._neighbors[self._firsts.item(number) : self._firsts.item(number + 1)].tolist()


@cache
def load_lexicon(mounted: Path | None = None) -> Lexicon:
    """Load the small dictionaries that come along, and those of the operator's; once.

    Args:
        mounted: A dictionary, or a folder of them.

    Raises:
        InvalidInputError: If there is none at that path, or one cannot be read; names the file.
    """
    return Lexicon.load((*DICTIONARIES, *(find_dictionaries(mounted) if mounted else ())))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a text that is looked up may hold anything


def _longest(keys: Mapping[str, int], words: Sequence[str]) -> tuple[int, int]:
    most_words = max(len(_PARTS.split(key)) for key in keys)
    return most_words, max(max(len(key), len(words[number])) for key, number in keys.items())


def _into_buckets(
    checksums: NDArray[np.uint32],
) -> tuple[NDArray[np.intp], NDArray[np.uint32]]:
    """Order words by bucket; returns the order and the first place of each bucket."""
    buckets = 1 << max(1, len(checksums).bit_length())
    bucket = checksums & np.uint32(buckets - 1)  # (words,)
    order = np.argsort(bucket, kind="stable")
    return order, np.searchsorted(bucket[order], np.arange(buckets + 1)).astype(np.uint32)


def _adjacency(
    pairs: NDArray[np.int64], order: NDArray[np.intp]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Turn pairs of words, numbered as they came, into each word's neighbors, numbered in order."""
    words = len(order)
    place = np.empty(words, np.int64)
    place[order] = np.arange(words)
    pairs = place[pairs[pairs[:, 0] != pairs[:, 1]]]  # (pairs, 2)
    both = np.stack([pairs, pairs[:, ::-1]], axis=1).reshape(-1, 2)  # (2 * pairs, 2)
    _, first = np.unique(both[:, 0] * words + both[:, 1], return_index=True)
    both = both[np.sort(first)]  # once each, as they came
    both = both[np.argsort(both[:, 0], kind="stable")]
    firsts = np.searchsorted(both[:, 0], np.arange(words + 1))
    return firsts.astype(np.uint32), both[:, 1].astype(np.uint32)
