"""Other scripts in Latin letters and back, as people type them: by sound, without any marks.

Letters come from a table built from anyascii (``app/text/tables``); what a letter alone cannot tell
is added here: the inherent vowel of Indic consonants, Thai and Lao vowels that stand before their
consonant, small kana, Hangul's jamo. Arabic and Hebrew stay without the vowels that they do not
write. The way back picks for each sound the plainest letter that has it. Both are rough on purpose
and for queries alone: this is no transliteration standard.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache

from app.text.perturbations.alphabets import core_of, is_vowel
from app.text.script import script_of_character
from app.text.tables import read_table

# The vowel of a consonant without a vowel sign; whether a word's last consonant has it too.
_INHERENT = {
    "Deva": ("a", False),
    "Beng": ("o", False),
    "Guru": ("a", False),
    "Gujr": ("a", False),
    "Mtei": ("a", False),
    "Orya": ("a", True),
    "Taml": ("a", True),
    "Telu": ("a", True),
    "Knda": ("a", True),
    "Mlym": ("a", True),
    "Sinh": ("a", True),
    "Khmr": ("o", True),
    "Mymr": ("a", True),
    "Java": ("a", True),
    "Bali": ("a", True),
}
_VIRAMA, _NUKTA = 9, 7
_BEFORE = frozenset("เแโใไເແໂໃໄ")
_PALATAL = ("sh", "ch", "j")
_SMALL_Y = {"ゃ": "ya", "ゅ": "yu", "ょ": "yo", "ャ": "ya", "ュ": "yu", "ョ": "yo"}
_DOUBLING, _LONG = "っッ", "ー"
# Hangul's jamo in the order of the syllable formula, in the Revised Romanization; none for ieung.
_INITIAL = "g kk n d tt r m b pp s ss  j jj ch k t p h"
_VOWEL = "a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i"
_FINAL = " k k ks n nj n t l lk lm lp ls lt lp l m p ps t t ng t t k t p t"
_INITIALS = tuple(_INITIAL.split(" "))
_VOWELS = tuple(_VOWEL.split(" "))
_FINALS = tuple(_FINAL.split(" "))
# What a script without that sound spells it with, the nearest first; nothing if it has none.
_INSTEAD = {
    **{
        "a": "",
        "b": "pv",
        "c": "ks",
        "d": "t",
        "e": "ia",
        "f": "pv",
        "g": "kj",
        "h": "x",
        "i": "ye",
    },
    **{"j": "yzg", "k": "qc", "l": "r", "m": "n", "n": "m", "o": "uwa", "p": "bf", "q": "k"},
    **{
        "r": "l",
        "s": "z",
        "t": "d",
        "u": "wo",
        "v": "wfb",
        "w": "vu",
        "x": "s",
        "y": "ij",
        "z": "sj",
    },
}


@lru_cache(maxsize=4096)
def romanize(word: str, *, brief: bool = False) -> str:
    """Spell a word in Latin letters; what is Latin already, or unknown, stays.

    Args:
        word: Letters with their marks.
        brief: Leave out inherent vowels between two open syllables too (karna for karana).
    """
    parts = list(_sounds(unicodedata.normalize("NFC", word)))
    if brief:
        parts = _without_weak(parts)
    spelled = "".join(part for part, _ in parts)
    return spelled.title() if word[:1].isupper() and word[1:2].islower() else spelled


@lru_cache(maxsize=4096)
def spell(word: str, script: str) -> str:
    """Spell a word of Latin letters in a script; empty if the script lacks some of its sounds."""
    letters = _letters_of(script)
    plain = unicodedata.normalize("NFD", word.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    if not letters or not (plain.isascii() and plain.isalpha()):
        return ""
    return unicodedata.normalize("NFC", _spelled(plain, letters, script))


def knows(script: str) -> bool:
    """Tell whether there are Latin spellings of a script."""
    return script == "Hang" or script in read_table("romanization")


def _sounds(word: str) -> Iterator[tuple[str, bool]]:
    """Spell code points; each with whether it is an inherent vowel."""
    pending, at_end = "", False
    for character, value in _kana(_reordered(word)):
        script = script_of_character(character)
        mark = unicodedata.category(character).startswith("M")
        combining = unicodedata.combining(character)
        name = unicodedata.name(character, "")
        inherent, kept = _INHERENT.get(script, ("", False))
        if mark and (combining == _VIRAMA or "VOWEL SIGN" in name):
            pending = ""
        elif mark and (combining == _NUKTA or "MEDIAL" in name):
            pass
        elif pending:
            yield pending, True
            pending = ""
        yield value, False
        if inherent and not mark and value and not is_vowel(character):
            pending, at_end = inherent, kept
    if pending and at_end:
        yield pending, False


def _reordered(word: str) -> Iterator[str]:
    """Put vowels that are written before their consonant behind it."""
    waiting = ""
    for character in word:
        if character in _BEFORE:
            waiting += character
            continue
        yield character
        if waiting and not unicodedata.category(character).startswith("M"):
            yield from waiting
            waiting = ""
    yield from waiting


def _kana(word: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Spell code points, joined as kana are: a small ya makes kya of ki, a small tsu doubles."""
    held: tuple[str, str] | None = None
    doubled = False
    for character in word:
        value = _value(character, script_of_character(character))
        if character in _SMALL_Y and held and held[1].endswith("i"):
            stem = held[1][:-1]
            glide = _SMALL_Y[character]
            held = (held[0], stem + (glide[1:] if stem in _PALATAL else glide))
            continue
        if held:
            yield held
        held = None
        if character in _DOUBLING:
            doubled = True
            continue
        held = (character, value[:1] + value if doubled else value)
        doubled = False
    if held:
        yield held


def _value(character: str, script: str) -> str:
    if script == "Hang":
        return _syllable(character)
    if character == _LONG:
        return ""
    if script not in read_table("romanization"):
        return character
    return _table(script).get(character.lower(), "")


def _syllable(character: str) -> str:
    code = ord(character) - 0xAC00
    if not 0 <= code < 11172:
        return character
    return _INITIALS[code // 588] + _VOWELS[code % 588 // 28] + _FINALS[code % 28]


def _without_weak(parts: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Drop inherent vowels between vowel and consonant and before consonant and vowel."""
    kept: list[tuple[str, bool]] = []
    for index, (part, inherent) in enumerate(parts):
        if inherent and len(kept) > 1 and index + 2 < len(parts):
            open_before = kept[-2][0][-1:] in tuple("aeiou")
            open_after = parts[index + 1][0][:1].isalpha() and parts[index + 2][0][:1] in "aeiou"
            if open_before and open_after and parts[index + 2][0]:
                continue
        kept.append((part, inherent))
    return kept


@cache
def _table(script: str) -> Mapping[str, str]:
    return {
        character: value
        for value, characters in read_table("romanization")[script].items()
        for character in characters
    }


@cache
def _letters_of(script: str) -> Mapping[str, tuple[str, ...]]:
    """For each sound of a script its letter, and the sign that it is written with after another."""
    if script in ("Hani", "Hang", "Latn") or not knows(script):
        return {}
    core = core_of(script)
    letters: dict[str, str] = {}
    signs: dict[str, str] = {}
    for character, value in sorted(_table(script).items(), key=_plainness):
        if unicodedata.category(character).startswith("M"):
            if "VOWEL SIGN" in unicodedata.name(character, ""):
                signs.setdefault(value, character)
            continue
        name = unicodedata.name(character, "")
        # A vocalic r would take the place of an r with an i; letters WITH something are rare.
        if not {"VOCALIC", "WITH"} & set(name.split()) and (not core or ord(character) in core):
            letters.setdefault(value, character)
    if script == "Hira":
        letters |= _with_small_y(letters)
    return {value: (letter, signs.get(value, "")) for value, letter in letters.items() if value}


def _with_small_y(letters: Mapping[str, str]) -> dict[str, str]:
    """Spell kya, sha, cho and their like."""
    found: dict[str, str] = {}
    for value, letter in letters.items():
        for small, glide in _SMALL_Y.items():
            if len(value) > 1 and value.endswith("i") and small in "ゃゅょ":
                stem = value[:-1]
                found[stem + (glide[1:] if stem in _PALATAL else glide)] = letter + small
    return found


def _plainness(item: tuple[str, str]) -> tuple[int, int, str]:
    """Order letters by their names: rarer ones have longer names."""
    character, _ = item
    name = unicodedata.name(character, "")
    # In Indic scripts the dental letter is called TA, the retroflex one TTA.
    indic = script_of_character(character) in _INHERENT
    return len(name.split()), len(name) if indic else 0, character


def _spelled(plain: str, letters: Mapping[str, tuple[str, ...]], script: str) -> str:
    longest = max(map(len, letters))
    inherent = _INHERENT.get(script, ("", True))[0]
    virama = _virama(script) if inherent else ""
    parts: list[str] = []
    after_consonant = False
    place = 0
    while place < len(plain):
        for length in range(min(longest, len(plain) - place), 0, -1):
            sound = plain[place : place + length]
            if found := _known(sound, letters):
                break
        else:
            return ""
        letter, sign = letters[found] if found != " " else ("", "")
        vowel = found != " " and found[0] in "aeiou"
        if after_consonant and vowel and inherent:
            parts.append("" if found == inherent else sign or letter)
        else:
            parts.append(virama * (after_consonant and bool(letter)) + letter)
        after_consonant = not vowel if letter else after_consonant
        place += length
    return "".join(parts)


def _known(sound: str, letters: Mapping[str, tuple[str, ...]]) -> str:
    """Name a sound that the script has, the one asked for or its nearest; " " for none."""
    if sound in letters:
        return sound
    if len(sound) > 1:
        return ""
    # A syllabary has no consonant alone.
    others = (*_INSTEAD[sound], *(sound + vowel for vowel in "uoai"))
    return next((other for other in others if other in letters), " ")


@cache
def _virama(script: str) -> str:
    marks = (c for c in _table(script) if unicodedata.combining(c) == _VIRAMA)
    return min(marks, default="")
