"""Other code points for the same letters: Unicode's normal forms and compatibility characters.

Compatibility forms (NFKC and NFKD bring them back) are full-width, mathematical, circled and
presentation letters, half-width kana, ligatures and compatibility jamo. The decomposed form (NFD)
of a composed letter is proposed as well, but ``app.text.normalize`` composes it again before any
tokenizer sees it: that is a result worth stating, and no attack.
"""

import unicodedata
from collections.abc import Iterator
from functools import cache

from app.text.perturbations.context import Context
from app.text.perturbations.edits import Draw, Edit
from app.text.perturbations.passage import Cluster, Passage, keeps_clusters

_SCRIPTS = (
    "Latn Cyrl Arab Deva Hang Beng Telu Taml Grek Hebr Kana Hira Mlym Knda Orya Mymr Laoo Sinh "
    "Geor Armn Tfng Bali Cakm Diak Gran Kthi Sidd Tirh"
)
SCRIPTS = tuple(_SCRIPTS.split())
_KINDS = ("<wide>", "<narrow>", "<font>", "<circle>", "<isolated>", "<super>", "<compat>")
_WHOLE_WORDS = ("<wide>", "<font>")
_LETTERS = 2
_PLACES = (
    range(0xA0, 0x3400),
    range(0xFB00, 0x10000),
    range(0x1D400, 0x1D800),
    range(0x1E030, 0x1EF00),
    range(0x1F130, 0x1F16A),
)


def propose(passage: Passage, draw: Draw, context: Context) -> Iterator[Edit]:
    """Propose two compatibility forms of each letter, a ligature, words in one form, and NFD."""
    del context
    letters = passage.letters
    numbers = draw.numbers("forms", len(letters)).tolist()
    for cluster, number in zip(letters, numbers, strict=True):
        forms = [form for kind in _KINDS for form in _variants(kind).get(cluster.text[0], ())]
        for turn in range(min(_LETTERS, len(forms))):
            after = forms[(number + turn) % len(forms)] + cluster.text[1:]
            edit = Edit(cluster.start, cluster.end, cluster.text, after)
            if keeps_clusters(passage.text, edit):
                yield edit
        decomposed = unicodedata.normalize("NFD", cluster.text)
        if decomposed != cluster.text:
            yield Edit(cluster.start, cluster.end, cluster.text, decomposed)
    for left, right in passage.neighbors():
        for ligature in _variants("<compat>").get(left.text + right.text, ()):
            yield Edit(left.start, right.end, left.text + right.text, ligature)
    for word in passage.words:
        yield from _words(passage, word)


def _words(passage: Passage, word: tuple[Cluster, ...]) -> Iterator[Edit]:
    text = passage.text[word[0].start : word[-1].end]
    if len(word) > 1:
        for kind in _WHOLE_WORDS:
            letters = [_variants(kind).get(character, ()) for character in text]
            if all(letters):
                form = "".join(found[0] for found in letters)
                yield Edit(word[0].start, word[-1].end, text, form)


@cache
def _variants(kind: str) -> dict[str, tuple[str, ...]]:
    """Texts and the single characters that NFKC turns into them, of one kind."""
    found: dict[str, list[str]] = {}
    for code in (code for place in _PLACES for code in place):
        character = chr(code)
        if unicodedata.decomposition(character).startswith(kind + " ") and character.isalpha():
            plain = unicodedata.normalize("NFKC", character)
            if plain != character and plain.isalpha():
                found.setdefault(plain, []).append(character)
    if kind == "<compat>":
        # Jamo that stand alone are what a syllable's jamo are not; they stay apart in NFC.
        return {k: tuple(v) for k, v in found.items() if not "\u1100" <= k <= "\u11ff"} | _jamo()
    return {text: tuple(characters) for text, characters in found.items()}


@cache
def _jamo() -> dict[str, tuple[str, ...]]:
    """Hangul syllables spelled in the jamo that stand alone, which NFKC joins again."""
    found: dict[str, tuple[str, ...]] = {}
    initial = dict(zip(range(19), "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ", strict=True))
    for code in range(0xAC00, 0xD7A4, 28):  # syllables without a final
        number = code - 0xAC00
        pair = initial[number // 588] + chr(0x314F + number % 588 // 28)
        if unicodedata.normalize("NFKC", pair) == chr(code):
            found[chr(code)] = (pair,)
    return found
