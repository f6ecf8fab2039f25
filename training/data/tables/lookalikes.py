"""Unicode's confusables, out of ICU -> groups of letters that look alike.

Two characters look alike if ICU's spoof checker gives them the same skeleton (UTS 39). PyICU is
needed to build the table and for nothing else: ``pip install PyICU`` beside libicu's headers.
"""

import importlib
import sys
import unicodedata
from collections import defaultdict
from typing import Any

from app.text.script import COMMON, INHERITED, SCRIPTS, script_of_character

_MODERN = frozenset(SCRIPTS[: SCRIPTS.index("Adlm") + 1]) | {"Copt", "Lisu", "Osge", "Vaii", "Java"}
# Jamo join into syllables: none stands for another letter.
_LETTERS = _MODERN - {COMMON, INHERITED, "Hang"}


def build_lookalikes() -> dict[str, Any]:
    """Build the table.

    Letters alone, of scripts in use, each in its composed form; compatibility forms are left to
    the family that has them.

    Raises:
        ImportError: If PyICU is not installed.
    """
    icu = importlib.import_module("icu")
    checker = icu.SpoofChecker()
    classes: dict[str, list[str]] = defaultdict(list)
    for code in range(0x41, min(sys.maxunicode, 0x1F000)):
        character = chr(code)
        if _is_plain(character):
            classes[checker.getSkeleton(0, character)].append(character)
    groups = ["".join(found) for _, found in sorted(classes.items()) if len(found) > 1]
    return {"unicode": icu.UNICODE_VERSION, "groups": groups}


def _is_plain(character: str) -> bool:
    return (
        character.isalpha()
        and script_of_character(character) in _LETTERS
        and unicodedata.is_normalized("NFKC", character)
    )
