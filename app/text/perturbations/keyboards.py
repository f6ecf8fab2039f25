"""Keyboards: which characters lie around one, on the layout that a language is typed with.

The layouts come from a table built from xkeyboard-config (``app/text/tables``). A key's neighbors
are those beside it and the two above and below that it touches; on the same level, with or without
Shift. The other level of the same key is a neighbor too in scripts without case, where it is
another letter; so is the plain letter for one behind AltGr, as when that key is missed.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from app.text.tables import read_table

KEYS = (
    "TLDE",
    *(f"AE{n:02}" for n in range(1, 13)),
    *(f"AD{n:02}" for n in range(1, 13)),
    "BKSL",
    *(f"AC{n:02}" for n in range(1, 12)),
    "LSGT",
    *(f"AB{n:02}" for n in range(1, 11)),
)
"""Names of the keys in the order of the table's places, row by row."""
_SHIFTS = {"AE": (0, 0.0), "AD": (1, 0.5), "AC": (2, 0.75), "AB": (3, 1.25)}
_ALONE = {"TLDE": (0, 0.0), "BKSL": (1, 13.5), "LSGT": (3, 1.25)}
_TOUCHING = 0.8
# Both kana lie on the same keys.
_TYPED_AS = {"Hira": "Kana"}

# What the table has for languages of ours: their groups, older codes, or a language in the same
# script that has letters of theirs.
_GENERAL = {
    "arb": "ara",
    "pes": "fas",
    "prs": "fas",
    "zsm": "msa",
    "npi": "nep",
    "ory": "ori",
    "ekk": "est",
    "lvs": "lav",
    "als": "sqi",
    "azj": "aze",
    "uzn": "uzb",
    "khk": "mon",
    "plt": "mlg",
    "pbt": "pus",
    "ydd": "yid",
    "swh": "swa",
    "nob": "nor",
    "nno": "nor",
    "kmr": "kur",
    "ckb": "kur",
    "gaz": "orm",
    "quy": "que",
    "gug": "grn",
    "dik": "din",
    "knc": "kau",
    "twi": "aka",
    "fuv": "ful",
    "zgh": "ber",
    "tzm": "ber",
    "pnb": "urd",
    "skr": "urd",
    "kas": "urd",
    "azb": "fas",
    "glk": "fas",
    "mzn": "fas",
    "sdh": "kur",
    "taq": "ber",
}


@dataclass(frozen=True, slots=True, eq=False)
class Keyboard:
    """A layout.

    Attributes:
        name: Its name in xkeyboard-config, such as ``ru`` or ``ng(yoruba)``.
        script: ISO 15924 code of most of its letters.
        around: For each character the ones that a finger may hit instead, each once.
    """

    name: str
    script: str
    around: Mapping[str, str]


def keyboard_of(lang: str | None, script: str) -> Keyboard | None:
    """Choose the layout on which a script is typed in a language.

    Args:
        lang: Code of the language such as ``yor_Latn``; None if not known.
        script: ISO 15924 code of what is typed.

    Returns:
        The language's layout for that script if there is one, otherwise the script's most usual
        one, None if there is none.
    """
    return _keyboard(_layout_of(lang, _TYPED_AS.get(script, script)))


@cache
def _layout_of(lang: str | None, script: str) -> str:
    table = read_table("keyboards")
    if lang:
        language = lang.partition("_")[0]
        for code in (language, _GENERAL.get(language, "")):
            if name := table["languages"].get(f"{code}_{script}"):
                return name
    return table["scripts"].get(script, "")


@cache
def _keyboard(name: str) -> Keyboard | None:
    if not name:
        return None
    layout = read_table("keyboards")["layouts"][name]
    plain, shift, third, fourth = (
        layout.get(level, " " * len(KEYS)) for level in ("plain", "shift", "third", "fourth")
    )
    around: dict[str, str] = {}
    for level, other in ((plain, shift), (shift, plain), (third, plain), (fourth, shift)):
        behind = level in (third, fourth)
        for place, character in enumerate(level):
            if character == " " or (behind and character in plain + shift):
                continue
            near = [level[n] for n in _touching()[place]]
            if other[place].casefold() != character.casefold():
                near.append(other[place])
            near = [c for c in near if c not in (" ", character)]
            around[character] = "".join(dict.fromkeys((*around.get(character, ""), *near)))
    return Keyboard(name, layout["script"], around)


@cache
def _touching() -> tuple[tuple[int, ...], ...]:
    """For each place the places that it touches, nearest first."""
    spots = [_spot(key) for key in KEYS]
    found: list[tuple[int, ...]] = []
    for row, x in spots:
        near = [
            (abs(other_x - x), place)
            for place, (other_row, other_x) in enumerate(spots)
            if (other_row == row and 0 < abs(other_x - x) <= 1)
            or (abs(other_row - row) == 1 and abs(other_x - x) < _TOUCHING)
        ]
        found.append(tuple(place for _, place in sorted(near)))
    return tuple(found)


def _spot(key: str) -> tuple[int, float]:
    """Row and horizontal place of a key, in widths of a key."""
    if key in _ALONE:
        return _ALONE[key]
    row, shift = _SHIFTS[key[:2]]
    return row, int(key[2:]) + shift


def is_mark(character: str) -> bool:
    """Tell marks, which need a letter before them, from letters."""
    return unicodedata.category(character).startswith("M")
