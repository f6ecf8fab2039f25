"""Words as far as they can be told without a dictionary: what word-level families move about.

Spaces and punctuation part words, an apostrophe does not. Scripts without spaces have no such
signs, and a dictionary of their words is a large thing to ship; there a line is cut by rule:
Chinese and Japanese in pairs of characters, and at each change between kana and others; Burmese at
syllables; Thai, Lao and Khmer before vowels that begin a syllable, or after three clusters. What
that loses: such pieces are no words, and some cut one in two. No cluster is ever cut.
"""

from collections.abc import Iterator
from itertools import groupby

from app.text.perturbations.passage import Passage, clusters_of
from app.text.script import script_of_character
from app.text.switching import word_spans

_LENGTH = {"Hani": 2, "Hira": 2, "Kana": 4, "Thai": 3, "Laoo": 3, "Khmr": 3, "Mymr": 4}
_LEADING = frozenset("เแโใไເແໂໃໄ")
_ASAT, _STACKER = "\u103a", "\u1039"


def units_of(passage: Passage) -> list[tuple[int, int]]:
    """Cut a text into words and pieces of lines without spaces.

    Returns:
        Offsets of the first code point and after the last one, in order; only of the part of the
        text that is edited at all.
    """
    most = passage.clusters[-1].end if passage.clusters else 0
    units: list[tuple[int, int]] = []
    for start, end in word_spans(passage.text):
        if end > most:
            break
        text = passage.text[start:end]
        if not any(character.isalpha() for character in text):
            continue
        if not is_unspaced(text):
            units.append((start, end))
            continue
        for length in _cut(text):
            units.append((start, start + length))
            start += length
    return units


def is_unspaced(text: str) -> bool:
    """Tell whether a text begins in a script that does not part words."""
    return _script(text) in _LENGTH


def _cut(line: str) -> Iterator[int]:
    """Yield the lengths of the pieces of a line without spaces."""
    for script, group in groupby(clusters_of(line), key=_script):
        length = 0
        count = 0
        for cluster in group:
            if count and _begins(cluster, count, script):
                yield length
                length = count = 0
            length += len(cluster)
            count += 1
        yield length


def _script(cluster: str) -> str:
    # The sign of a long vowel belongs to both kana; katakana have it oftener.
    script = script_of_character(cluster[0])
    return "Kana" if cluster[0] == "ー" else script


def _begins(cluster: str, count: int, script: str) -> bool:
    """Tell whether a cluster begins a piece, after so many of the one before."""
    if script == "Mymr":
        # A consonant that is silenced or stacked ends the syllable before it.
        return _ASAT not in cluster and _STACKER not in cluster
    return cluster[0] in _LEADING or count >= _LENGTH.get(script, 2)
