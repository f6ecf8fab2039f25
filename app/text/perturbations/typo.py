"""Slips of the finger on the keyboard that a language is typed with, in any script.

A letter is swapped with the next one, lost, doubled, mistaken for a neighbor on the keyboard, or
joined by one; so are vowel signs and other marks, each within its grapheme cluster, which is never
torn. What is composed from several keys (Chinese, Korean, Ethiopic) slips as
``app.text.perturbations.composing`` tells. Where no layout is known, letters of the same text and
of the same alphabet stand in for neighbors.
"""

import unicodedata
from collections.abc import Iterator

from app.text.perturbations.alphabets import alphabet, is_vowel
from app.text.perturbations.composing import slips
from app.text.perturbations.context import Context
from app.text.perturbations.edits import Draw, Edit
from app.text.perturbations.keyboards import Keyboard, is_mark, keyboard_of
from app.text.perturbations.passage import Cluster, Passage, keeps_clusters
from app.text.script import COMMON, INHERITED, script_of_character

MISTAKEN, ADDED = 2, 2
"""How many mistaken and added letters are proposed a place."""
# Scripts whose marks are accents: who hits the wrong key puts none on what that key types.
_ACCENTED = frozenset({"Latn", "Grek", "Cyrl"})
# Hiragana is typed with the keys of katakana.
_TO_KATAKANA = 0x60
_HIRAGANA = range(0x3041, 0x3097)


def propose(passage: Passage, draw: Draw, context: Context) -> Iterator[Edit]:
    """Propose every swap, loss and doubling, and two mistaken and added letters a place."""
    for edit in _candidates(passage, draw, context):
        if edit.before != edit.after and keeps_clusters(passage.text, edit):
            yield edit


def _candidates(passage: Passage, draw: Draw, context: Context) -> Iterator[Edit]:
    for left, right in passage.neighbors():
        yield Edit(left.start, right.end, left.text + right.text, right.text + left.text)
    letters = passage.letters
    keyboards = {script: keyboard_of(context.lang, script) for script in passage.scripts}
    own = {
        script: sorted({c.text[0].lower() for c in letters if c.script == script})
        for script in passage.scripts
    }
    writing = (context.lang or "")[-4:]
    count = MISTAKEN + ADDED
    numbers = draw.numbers("letters", count * len(letters)).tolist()
    for index, cluster in enumerate(letters):
        drawn = numbers[count * index : count * (index + 1)]
        if len(passage.words[cluster.word]) > 1:
            yield Edit(cluster.start, cluster.end, cluster.text, "")
        yield Edit(cluster.end, cluster.end, "", cluster.text)
        if cluster.script in (COMMON, INHERITED):
            continue
        around = near(cluster, keyboards[cluster.script])
        composed = slips(cluster.text, cluster.script, writing)
        if around or composed:
            mistaken = composed or _mistaken(_typed(cluster), around)
            added = _added(around, composed)
        else:
            added = _alike(cluster, own[cluster.script])
            mistaken = tuple(letter + cluster.text[1:] for letter in added)
        for form in _some(mistaken, drawn[:MISTAKEN]):
            yield Edit(cluster.start, cluster.end, cluster.text, form)
        for turn, letter in enumerate(_some(added, drawn[MISTAKEN:])):
            place = cluster.start if turn else cluster.end
            yield Edit(place, place, "", letter)


def near(cluster: Cluster, keyboard: Keyboard | None) -> list[str]:
    """For each code point that is typed of a cluster what a finger may hit instead, of its kind.

    Returns:
        As many texts as there are code points, of alternatives each; empty if none has any.
    """
    if keyboard is None:
        return []
    typed = _typed(cluster)
    found = [_around(character, keyboard) for character in typed]
    if not any(found) and len(typed) == 1:
        # Letters that the layout composes, with a dead key say, are near what they are made of.
        found = [_around(unicodedata.normalize("NFD", typed)[0], keyboard)]
    return found if any(found) else []


def _typed(cluster: Cluster) -> str:
    return cluster.text[0] if cluster.script in _ACCENTED else cluster.text


def _around(character: str, keyboard: Keyboard) -> str:
    found = keyboard.around.get(character, "")
    if not found and ord(character) in _HIRAGANA:
        katakana = keyboard.around.get(chr(ord(character) + _TO_KATAKANA), "")
        found = "".join(chr(ord(c) - _TO_KATAKANA) for c in katakana if "ァ" <= c <= "ヶ")
    kind, script = is_mark(character), script_of_character(character)
    scripts = (script, COMMON, INHERITED) if kind else (script,)
    return "".join(c for c in found if is_mark(c) == kind and script_of_character(c) in scripts)


def _mistaken(text: str, near: list[str]) -> tuple[str, ...]:
    forms = (
        text[:place] + other + text[place + 1 :]
        for place, others in enumerate(near)
        for other in others
        # A vowel letter takes no vowel sign, a consonant does.
        if len(text) == 1 or place or is_vowel(other) == is_vowel(text[0])
    )
    return tuple(dict.fromkeys(forms))


def _added(near: list[str], composed: tuple[str, ...]) -> tuple[str, ...]:
    """Letters that a finger may hit along with those of a cluster."""
    letters = (c for others in near for c in others if not is_mark(c))
    return tuple(dict.fromkeys((*letters, *(form[0] for form in composed))))


def _alike(cluster: Cluster, own: list[str]) -> tuple[str, ...]:
    """Letters of the text and of its alphabet, of the same case and the same kind."""
    base = cluster.text[0]
    letters = [*own, *alphabet(cluster.script, base)]
    if len(cluster.text) > 1:
        letters = [c for c in letters if is_vowel(c) == is_vowel(base)]
    if base.isupper():
        letters = [c.upper() for c in letters if len(c.upper()) == 1]
    return tuple(c for c in dict.fromkeys(letters) if c != base)


def _some(choices: tuple[str, ...], numbers: list[int]) -> Iterator[str]:
    """Choose as many as there are numbers, each another one as far as there are others."""
    left = list(choices)
    for number in numbers:
        if left:
            yield left.pop(number % len(left))
