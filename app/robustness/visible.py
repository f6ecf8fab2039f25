r"""Texts made readable that were made to deceive: invisible characters shown, edits undone.

Two forms. For programs, ``\u{200B}`` with doubled backslashes, which can be turned back. For
readers, code points by name.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

import regex

from app.robustness.reading import Record, number, parts, word
from app.text.perturbations.edits import Edit

# What a font shows nothing of, or what moves other letters: everything that is default ignorable,
# controls, separators but the plain space, lone surrogates, unassigned and private code points,
# and the blank of Braille. Signs such as the Arabic number sign are Cf, but seen.
_UNSEEN = regex.compile(
    r"(?!\p{Prepended_Concatenation_Mark})"
    r"[\p{Default_Ignorable_Code_Point}\p{Cf}\p{Cc}\p{Zl}\p{Zp}\p{Cs}\p{Cn}\p{Co}\u2800"
    r"[\p{Zs}--\x20]]",
    regex.V1,
)
# Within words these shape letters; where no attack put them, they stay as they are.
_SHAPING = regex.compile(r"[\p{Join_Control}\p{Variation_Selector}]")
_SHORT = {
    0x00: "NUL",
    0x09: "TAB",
    0x0A: "LF",
    0x0D: "CR",
    0x7F: "DEL",
    0xA0: "NBSP",
    0xAD: "SHY",
    0x034F: "CGJ",
    0x061C: "ALM",
    0x200B: "ZWSP",
    0x200C: "ZWNJ",
    0x200D: "ZWJ",
    0x200E: "LRM",
    0x200F: "RLM",
    0x202A: "LRE",
    0x202B: "RLE",
    0x202C: "PDF",
    0x202D: "LRO",
    0x202E: "RLO",
    0x2060: "WJ",
    0x2066: "LRI",
    0x2067: "RLI",
    0x2068: "FSI",
    0x2069: "PDI",
    0xFEFF: "BOM",
}
_CONTROLS = {0: "NULL", 9: "TAB", 10: "LINE FEED", 13: "CARRIAGE RETURN", 27: "ESCAPE"}


@lru_cache(maxsize=1 << 14)
def is_unseen(character: str) -> bool:
    """Tell whether a reader sees nothing of a character, or only what it does to others."""
    return _UNSEEN.match(character) is not None


def is_shaping(character: str) -> bool:
    """Tell whether an unseen character belongs in ordinary words: joiners, variation selectors."""
    return _SHAPING.match(character) is not None


def escape_unseen(text: str) -> str:
    r"""Write unseen characters as ``\u{HEX}`` and a backslash twice, so that it can be undone."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(
        "\\\\" if one == "\\" else f"\\u{{{ord(one):04X}}}" if is_unseen(one) else one
        for one in text
    )


def code_point(character: str) -> str:
    """Write a code point, such as ``U+200B``."""
    return f"U+{ord(character):04X}"


def abbreviate(character: str) -> str:
    """Write an unseen character in few letters: its usual abbreviation, else its code point."""
    return _SHORT.get(ord(character)) or code_point(character)


def name_of(character: str) -> str:
    """Name a code point in words, such as ``ZERO WIDTH SPACE``."""
    known = unicodedata.name(character, "")
    if known:
        return known
    category = unicodedata.category(character)
    if category == "Cc":
        return _CONTROLS.get(ord(character), "CONTROL CHARACTER")
    return {"Cs": "LONE SURROGATE", "Co": "PRIVATE USE"}.get(category, "UNASSIGNED")


def edits_of(result: Record) -> list[Edit]:
    """Read the edits of a result, in the order in which they stand in the text.

    Raises:
        InvalidInputError: If one is not written as an edit.
    """
    return sorted(
        Edit(
            int(number(one, "start") or 0),
            int(number(one, "end") or 0),
            word(one, "before") or "",
            word(one, "after") or "",
        )
        for one in parts(result, "edits")
    )


def undo_edits(text: str, edits: Sequence[Edit]) -> str | None:
    """Find the text that edits were made in, from what they made of it.

    Args:
        text: The edited text.
        edits: The edits, by offsets in the text before; sorted, not overlapping.

    Returns:
        The text before; None if these edits cannot have made this text.
    """
    before: list[str] = []
    done = 0
    for edit, (start, end) in zip(edits, places(edits), strict=True):
        if start < done or text[start:end] != edit.after:
            return None
        before += (text[done:start], edit.before)
        done = end
    before.append(text[done:])
    return "".join(before)


def places(edits: Iterable[Edit]) -> list[tuple[int, int]]:
    """Find where what sorted edits put in stands in the edited text: offsets of start and end."""
    found: list[tuple[int, int]] = []
    grown = 0
    for edit in edits:
        start = edit.start + grown
        found.append((start, start + len(edit.after)))
        grown += len(edit.after) - len(edit.before)
    return found
