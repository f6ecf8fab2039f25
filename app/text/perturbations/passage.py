"""A text cut into grapheme clusters and words: the places where it can be edited."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise

import regex

from app.text.perturbations.edits import Edit
from app.text.script import script_of_character

MAX_CLUSTERS = 2048
"""Only this many leading clusters of a text are edited; bounds the work on very long texts."""

# A mark that Unicode lets stand alone, as it does with some Burmese vowel signs, belongs to the
# letter before it all the same.
_CLUSTER = regex.compile(r"\X(?:(?=\p{M})\X)*")
# The letters that join with a letter beside them: Thai and Lao AM, half-width voicing marks,
# Hangul's conjoining jamo, and those that Unicode calls prepended. All other joining takes a mark
# or a control.
_JOINING = regex.compile(
    "[\u0e33\u0eb3\uff9e\uff9f\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff\u0d4e\U000111c2\U000111c3\U000113d1\U0001193f"
    "\U00011941\U00011a00-\U00011a9f\U00011d46\U00011f02]"
)
# Hangul fillers are letters by category, but nothing shows of a text that keeps them alone.
_FILLERS = frozenset("\u115f\u1160\u3164\uffa0")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a reader takes for one character.

    Attributes:
        start: Offset of its first code point.
        end: Offset after its last one.
        text: Its code points.
        script: ISO 15924 code of the first one.
        word: Number of the word it belongs to, or -1 between words.
    """

    start: int
    end: int
    text: str
    script: str
    word: int


@dataclass(frozen=True, slots=True)
class Passage:
    """A text with its clusters; a word is a run of clusters that begin with a letter."""

    text: str
    clusters: tuple[Cluster, ...]
    words: tuple[tuple[Cluster, ...], ...]

    @classmethod
    def of(cls, text: str) -> "Passage":
        """Cut a text into clusters and words."""
        clusters: list[Cluster] = []
        words = -1
        inside = False
        for match in _CLUSTER.finditer(text):
            first = match.group()[0]
            letter = first.isalpha() and first not in _FILLERS
            words += letter and not inside
            inside = letter
            script = script_of_character(first)
            word = words if letter else -1
            clusters.append(Cluster(match.start(), match.end(), match.group(), script, word))
            if len(clusters) == MAX_CLUSTERS:
                break
        grouped = groupby(clusters, key=lambda cluster: cluster.word)
        return cls(
            text, tuple(clusters), tuple(tuple(group) for word, group in grouped if word >= 0)
        )

    @property
    def letters(self) -> tuple[Cluster, ...]:
        """The clusters that begin with a letter."""
        return tuple(cluster for word in self.words for cluster in word)

    @property
    def scripts(self) -> frozenset[str]:
        """The scripts of the letters."""
        return frozenset(cluster.script for cluster in self.letters)

    def neighbors(self) -> Iterator[tuple[Cluster, Cluster]]:
        """Each two clusters that stand side by side in a word."""
        for word in self.words:
            yield from pairwise(word)


def clusters_of(text: str) -> list[str]:
    """Cut a text into grapheme clusters."""
    return _CLUSTER.findall(text)


def keeps_clusters(text: str, edit: Edit) -> bool:
    """Tell whether the grapheme clusters around an edit stay apart from what it puts there."""
    if text.isascii() and edit.after.isascii():
        return True
    around = (
        f"{text[max(0, edit.start - 1) : edit.start]}{edit.after}{text[edit.end : edit.end + 1]}"
    )
    if around.replace(" ", "").isalpha() and not _JOINING.search(around):
        return True
    # Eight code points are more than a cluster's length in any word.
    left = _clusters_of(text[max(0, edit.start - 8) : edit.start])[-1:]
    right = _clusters_of(text[edit.end : edit.end + 8])[:1]
    joined = "".join((*left, edit.after, *right))
    return clusters_of(joined) == [*left, *_clusters_of(edit.after), *right]


@lru_cache(maxsize=1 << 12)
def _clusters_of(text: str) -> list[str]:
    return clusters_of(text)
