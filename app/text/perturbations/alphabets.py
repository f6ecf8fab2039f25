"""Which letters a slip can put into a word where no keyboard is known: those of its script.

Scripts in ``_CORE`` have their everyday letters named there; for all others the letters that share
the 128 code points around the letter concerned are taken, which is one alphabet's worth. Letters
that are compatibility forms, capitals or composed of others are left out by rule.
"""

import unicodedata
from functools import cache

from app.text.script import script_of_character

# First and last code point of the everyday letters, for scripts whose blocks also hold rare ones.
_CORE: dict[str, tuple[int, int]] = {
    "Latn": (0x61, 0x7A),
    "Grek": (0x3B1, 0x3C9),
    "Cyrl": (0x430, 0x44F),
    "Armn": (0x561, 0x586),
    "Hebr": (0x5D0, 0x5EA),
    "Arab": (0x627, 0x64A),
    "Syrc": (0x712, 0x72C),
    "Thaa": (0x780, 0x797),
    "Nkoo": (0x7CA, 0x7EA),
    "Deva": (0x905, 0x939),
    "Beng": (0x985, 0x9B9),
    "Guru": (0xA05, 0xA39),
    "Gujr": (0xA85, 0xAB9),
    "Orya": (0xB05, 0xB39),
    "Taml": (0xB85, 0xBB9),
    "Telu": (0xC05, 0xC39),
    "Knda": (0xC85, 0xCB9),
    "Mlym": (0xD05, 0xD39),
    "Sinh": (0xD85, 0xDC6),
    "Thai": (0xE01, 0xE2E),
    "Laoo": (0xE81, 0xEAE),
    "Tibt": (0xF40, 0xF68),
    "Mymr": (0x1000, 0x1021),
    "Geor": (0x10D0, 0x10F0),
    "Ethi": (0x1200, 0x1357),
    "Khmr": (0x1780, 0x17A2),
    "Olck": (0x1C5A, 0x1C77),
    "Tfng": (0x2D30, 0x2D65),
    "Hira": (0x3042, 0x3093),
    "Kana": (0x30A2, 0x30F3),
    "Mtei": (0xABC0, 0xABDA),
    "Adlm": (0x1E922, 0x1E943),
}


def core_of(script: str) -> range | None:
    """The everyday letters of a script, None where no list has them."""
    if script not in _CORE:
        return None
    first, last = _CORE[script]
    return range(first, last + 1)


@cache
def alphabet(script: str, near: str) -> str:
    """Name the letters that could stand in for, or next to, a letter of a script.

    Args:
        script: ISO 15924 code of the letter.
        near: The letter; tells which block to look at where the script has no list here.

    Returns:
        Lower case letters of that script, ``near`` among them or not; may be empty.
    """
    block = ord(near) & ~0x7F
    first, last = _CORE.get(script, (block, block + 0x7F))
    return "".join(filter(lambda c: _is_plain(c, script), map(chr, range(first, last + 1))))


@cache
def is_vowel(letter: str) -> bool:
    """Tell vowel letters from the rest by the last word of the Unicode name (KA, SARA A, ...)."""
    name = unicodedata.name(letter, "X")
    return "VOWEL" in name or " SARA " in name or name.rsplit(" ", 1)[-1][0] in "AEIOU"


def _is_plain(character: str, script: str) -> bool:
    return (
        character.isalpha()
        and character == character.lower()
        and script_of_character(character) == script
        and unicodedata.is_normalized("NFKD", character)
    )
