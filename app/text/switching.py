"""Where a text can switch to another language, or to a synonym, and how the switch is written.

Words are found from left to right, the longest known phrase first: "railway station" before
"railway". In scripts without spaces the same search runs over every place of a line; a short entry
could lie there across two words by chance, so it must have two characters (Chinese, Japanese) or
four (Thai, Lao, Khmer, Burmese), or be all there is between two marks. Inflected forms are found
if the dictionary has them: nothing is stemmed.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import regex

from app.text.lexicon import Lexicon
from app.text.perturbations.edits import Edit
from app.text.perturbations.passage import clusters_of, keeps_clusters

_SYLLABIC = r"\p{Han}\p{Hiragana}\p{Katakana}\u30fc"
_UNSPACED = rf"{_SYLLABIC}\p{{Thai}}\p{{Lao}}\p{{Khmer}}\p{{Myanmar}}"
# A grapheme cluster that begins with a letter or digit, with the marks that stand alone after it.
_CLUSTER = r"(?:(?=[{}])\X(?:(?=\p{{M}})\X)*+)"
_SPACED_CLUSTER = _CLUSTER.format(rf"[\p{{L}}\p{{N}}]--[{_UNSPACED}]")
_PIECE = regex.compile(
    rf"(?P<run>{_CLUSTER.format(_UNSPACED)}++)"
    # Apostrophes, geresh and the Catalan dot stand inside words.
    rf"|(?P<word>{_SPACED_CLUSTER}++(?:['\u2019\u05f3\u05f4\u00b7]{_SPACED_CLUSTER}++)*+)"
    r"|(?:(?![\p{L}\p{N}])\X)++|\X",
    regex.V1,
)
_IS_UNSPACED = regex.compile(rf"[{_UNSPACED}]")
_IS_SYLLABIC = regex.compile(rf"[{_SYLLABIC}]")
_JOINS_PHRASE = regex.compile(r"\s+|[-\u2010\u2011]")
_JOINS_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]")


def word_spans(text: str) -> list[tuple[int, int]]:
    """Find the words of a text, and the runs of scripts without spaces, cut between clusters.

    Returns:
        Offsets of the first code point and after the last one.
    """
    return [piece.span() for piece in _PIECE.finditer(text) if piece.lastgroup]


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A known word or phrase of a text.

    Attributes:
        start: Offset of its first code point.
        end: Offset after its last one.
        neighbors: Numbers of what can stand for it in the lexicon; never empty.
    """

    start: int
    end: int
    neighbors: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Switches:
    """What can be switched: a lexicon, seen from the languages that may be switched to.

    Attributes:
        lexicon: Words and their neighbors.
        languages: Only neighbors in these; None for any.
        through: See `Lexicon.lookup`.
    """

    lexicon: Lexicon
    languages: Collection[str] | None = None
    through: str = ""

    def neighbors(self, word: str, lang: str) -> tuple[int, ...]:
        """Return the numbers of what can stand for a word, in the languages wanted."""
        number = self.lexicon.find(word, lang)
        if number is None:
            return ()
        found = self.lexicon.neighbors(number, through=self.through)
        if self.languages is None:
            return tuple(found)
        return tuple(n for n in found if self.lexicon.language(n) in self.languages)

    def occurrences(self, text: str, lang: str) -> list[Occurrence]:
        """Find the known words of a text; they do not overlap, and no grapheme cluster is cut."""
        most_words, most_points = self.lexicon.longest(lang)
        found: list[Occurrence] = []
        words: list[tuple[int, int]] = []
        if most_words:
            for piece in _PIECE.finditer(text):
                if piece.lastgroup == "run":
                    found += self._in_run(text, piece.span(), lang, most_points)
                elif piece.lastgroup == "word":
                    words.append(piece.span())
            found += self._among(text, words, lang)
        return sorted(found, key=lambda occurrence: occurrence.start)

    def _among(self, text: str, words: list[tuple[int, int]], lang: str) -> Iterator[Occurrence]:
        most_words, most_points = self.lexicon.longest(lang)
        index = 0
        while index < len(words):
            start = words[index][0]
            longest = _last_of_phrase(text, words, index, most_words)
            for final in range(longest, index - 1, -1):
                end = words[final][1]
                # Each gap counts as the one space that it is in the dictionary.
                points = sum(last - first for first, last in words[index : final + 1])
                if points + final - index > most_points:
                    continue
                if neighbors := self.neighbors(text[start:end], lang):
                    yield Occurrence(start, end, neighbors)
                    index = final
                    break
            index += 1

    def _in_run(
        self, text: str, run: tuple[int, int], lang: str, most_points: int
    ) -> Iterator[Occurrence]:
        start, stop = run
        ends = []
        for cluster in clusters_of(text[start:stop]):
            ends.append((ends[-1] if ends else start) + len(cluster))
        index = 0
        while index < len(ends):
            least = 2 if _IS_SYLLABIC.match(text, start) else 4
            for final in range(bisect_right(ends, start + most_points) - 1, index - 1, -1):
                end = ends[final]
                if end - start < least and (start, end) != run:
                    continue
                if neighbors := self.neighbors(text[start:end], lang):
                    yield Occurrence(start, end, neighbors)
                    index = final
                    break
            start = ends[index]
            index += 1


def write_switch(text: str, occurrence: Occurrence, word: str) -> Edit | None:
    """Write a word in the place of another.

    Its first letter becomes a capital if the other's is one, and a space parts it from letters
    that it would otherwise run into, as where an English word stands in a Chinese line.

    Returns:
        The edit; None if it would change nothing, or join a grapheme cluster of the text.
    """
    start, end = occurrence.start, occurrence.end
    before = text[start:end]
    if before[0].isupper() and len(capital := word[0].title()) == 1:
        word = capital + word[1:]
    if _would_join(text[start - 1 : start], word[0]):
        word = f" {word}"
    if _would_join(word[-1], text[end : end + 1]):
        word = f"{word} "
    edit = Edit(start, end, before, word)
    return edit if word != before and keeps_clusters(text, edit) else None


def _last_of_phrase(text: str, words: list[tuple[int, int]], first: int, most: int) -> int:
    """Return the last word that a phrase of at most so many words can have."""
    last = first
    while last + 1 < len(words) and last + 1 - first < most:
        if not _JOINS_PHRASE.fullmatch(text, words[last][1], words[last + 1][0]):
            break
        last += 1
    return last


def _would_join(left: str, right: str) -> bool:
    """Tell whether two characters side by side would read as one word."""
    if not (_JOINS_WORD.match(left) and _JOINS_WORD.match(right)):
        return False
    return not (_IS_UNSPACED.match(left) and _IS_UNSPACED.match(right))
