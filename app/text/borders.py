"""Where a text may be cut, in the text as it is and in its normalized form at once.

Normalizing drops controls, folds white space and composes letters, so a place in the one form is
another place in the other. Words are normalized one by one, which gives the same as normalizing the
whole: nothing composes across white space.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import regex

from app.text.normalize import drop_controls

CLUSTER, WORD, SENTENCE = 0, 1, 2
"""How good a place to cut is: between letters, between words, between sentences."""
LONG_WORD = 16
"""A word of more characters may be cut inside; scripts without spaces write whole texts so."""

_WORDS = re.compile(r"\S+")
_CLUSTERS = regex.compile(r"\X")
_ENDS = regex.compile(r"\p{Sentence_Terminal}[\p{Pe}\p{Pf}\p{Pi}\"']*\Z")
_NEW_LINE = re.compile("[\n\x0b\x0c\r\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Border:
    """A place between two parts of a text.

    Attributes:
        at: Where the part after it begins in the normalized text.
        end: Where the part before it ends in the text as it is.
        start: Where the part after it begins there; what lies between is white space and controls.
        strength: ``CLUSTER``, ``WORD`` or ``SENTENCE``.
    """

    at: int
    end: int
    start: int
    strength: int


def borders(text: str) -> list[Border]:
    """List the places where a text may be cut, its beginning and end included.

    Never inside of what a reader takes for one letter (a grapheme cluster).

    Args:
        text: Any text with at least one character that normalizing keeps.

    Returns:
        Ascending; at least two. The last one's ``at`` is the length of the normalized text.
    """
    found: list[Border] = []
    at, end = 0, 0
    before = ""
    for match in _WORDS.finditer(text):
        clean = drop_controls(match.group())
        if not clean:
            continue
        word = unicodedata.normalize("NFC", clean)
        if found:
            at += 1  # the space
            ends = _ENDS.search(before) or _NEW_LINE.search(text, end, match.start())
            found.append(Border(at, end, match.start(), SENTENCE if ends else WORD))
        else:
            found.append(Border(0, 0, match.start(), SENTENCE))
        if len(clean) > LONG_WORD:
            found += _inside(match.group(), at, match.start())
        at += len(word)
        before, end = word, match.end()
    return [*found, Border(at, end, len(text), SENTENCE)]


def _inside(word: str, at: int, start: int) -> Iterator[Border]:
    """List the places inside of a word that has no white space."""
    before = ""
    for cluster, length in _clusters(word):
        if before:
            strength = SENTENCE if _ENDS.search(before) else CLUSTER
            yield Border(at, start, start, strength)
        before = unicodedata.normalize("NFC", drop_controls(cluster))
        at += len(before)
        start += length


def _clusters(word: str) -> Iterator[tuple[str, int]]:
    """Yield what is one letter to a reader, once controls are gone, with its length before that."""
    kept = [place for place, letter in enumerate(word) if drop_controls(letter)]
    clean = "".join(word[place] for place in kept)
    kept.append(len(word))
    last = 0
    for match in _CLUSTERS.finditer(clean):
        place = kept[match.end()]
        yield match.group(), place - last
        last = place
