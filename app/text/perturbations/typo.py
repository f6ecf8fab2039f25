"""Slips of the finger: letters swapped, lost, doubled, mistaken or added, in any script.

The unit is the grapheme cluster, which is never torn: a vowel sign stays with its consonant. A new
letter is always of the script of the word, near on the keyboard for Latin, and either a letter of
the same text or an everyday one elsewhere.
"""

import unicodedata
from collections.abc import Iterator

from app.text.perturbations.alphabets import alphabet, is_vowel, keys_around
from app.text.perturbations.edits import Draw, Edit
from app.text.perturbations.passage import Cluster, Passage, clusters_of
from app.text.script import COMMON, INHERITED

_HANGUL_FIRST, _HANGUL_LAST = "가", "힣"
# Jamo (initial, medial, final) that occur in many words, by their number in the syllable formula.
_JAMO = ((0, 2, 3, 5, 6, 7, 9, 11, 12, 18), (0, 1, 4, 5, 8, 13, 18, 20), (0, 1, 4, 8, 16, 17, 21))


def propose(passage: Passage, draw: Draw) -> Iterator[Edit]:
    """Propose every swap, loss and doubling, and two mistaken and added letters a place."""
    for edit in _candidates(passage, draw):
        if edit.before != edit.after and _keeps_clusters(passage, edit):
            yield edit


def _candidates(passage: Passage, draw: Draw) -> Iterator[Edit]:
    for left, right in passage.neighbors():
        yield Edit(left.start, right.end, left.text + right.text, right.text + left.text)
    letters = passage.letters
    numbers = draw.numbers("letters", 4 * len(letters)).tolist()
    own = {
        script: sorted({c.text[0].lower() for c in letters if c.script == script})
        for script in passage.scripts
    }
    for index, cluster in enumerate(letters):
        mistaken, mistaken_own, added, added_own = numbers[4 * index : 4 * index + 4]
        if len(passage.words[cluster.word]) > 1:
            yield Edit(cluster.start, cluster.end, cluster.text, "")
        yield Edit(cluster.end, cluster.end, "", cluster.text)
        if cluster.script in (COMMON, INHERITED):
            continue
        choices = _choices(cluster)
        for number, letters_there in ((mistaken, choices), (mistaken_own, own[cluster.script])):
            yield Edit(
                cluster.start, cluster.end, cluster.text, _mistake(cluster, letters_there, number)
            )
        for number, letters_there in ((added, choices), (added_own, own[cluster.script])):
            letter = _pick(letters_there, number, cluster)
            yield Edit(cluster.end, cluster.end, "", letter)


def _choices(cluster: Cluster) -> str:
    base = unicodedata.normalize("NFD", cluster.text[0])[0].lower()
    return keys_around(base) or alphabet(cluster.script, cluster.text[0])


def _mistake(cluster: Cluster, letters: str | list[str], number: int) -> str:
    if _HANGUL_FIRST <= cluster.text <= _HANGUL_LAST and isinstance(letters, str):
        return _other_syllable(cluster.text, number)
    return _pick(letters, number, cluster) + cluster.text[1:]


def _pick(letters: str | list[str], number: int, cluster: Cluster) -> str:
    """Choose a letter of the same case, and of the same kind where marks depend on the kind."""
    base = cluster.text[0]
    if len(cluster.text) > 1:
        letters = [c for c in letters if is_vowel(c) == is_vowel(base)]
    if not letters:
        return base
    letter = letters[number % len(letters)]
    if letter == base.lower() and len(letters) > 1:
        letter = letters[(number + 1) % len(letters)]
    capital = letter.upper()
    return capital if base.isupper() and len(capital) == 1 else letter


def _other_syllable(syllable: str, number: int) -> str:
    """Change one jamo of a Hangul syllable."""
    code = ord(syllable[0]) - ord(_HANGUL_FIRST)
    jamo = [code // 588, code % 588 // 28, code % 28]
    place, number = number % 3, number // 3
    others = [j for j in _JAMO[place] if j != jamo[place]]
    jamo[place] = others[number % len(others)]
    return chr(ord(_HANGUL_FIRST) + jamo[0] * 588 + jamo[1] * 28 + jamo[2]) + syllable[1:]


def _keeps_clusters(passage: Passage, edit: Edit) -> bool:
    """Tell whether the clusters around an edit stay apart from what it puts there."""
    text = passage.text
    if text.isascii():
        return True
    # Eight code points are more than a cluster's length in any word.
    left = clusters_of(text[max(0, edit.start - 8) : edit.start])[-1:]
    right = clusters_of(text[edit.end : edit.end + 8])[:1]
    joined = "".join(left) + edit.after + "".join(right)
    return clusters_of(joined) == left + clusters_of(edit.after) + right
