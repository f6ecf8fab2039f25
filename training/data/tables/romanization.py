"""anyascii's table -> Latin spellings of letters, by script, as people type them.

anyascii keeps apostrophes for letters that Latin lacks; people leave them out, or write a vowel.
"""

import sys
import unicodedata
from collections import defaultdict

from anyascii import anyascii

from app.text.perturbations.scripts import NATIVE
from app.text.script import script_of_character

# Hangul is spelled by its jamo, without a table.
_SCRIPTS = frozenset(NATIVE) - {"Hang"}
_HAN = range(0x4E00, 0xA000)
# Where the Latin spelling of anyascii is not what people type.
_TYPED = {
    **dict.fromkeys("اأآٱعىة", "a"),
    **dict.fromkeys("إئ", "i"),
    **{"ؤ": "o", "ء": "", "و": "w", "ي": "y", "ی": "i", "ه": "h", "ہ": "h", "ھ": "h", "ے": "e"},
    **{
        "א": "a",
        "ע": "a",
        "ח": "ch",
        "כ": "k",
        "ך": "k",
        "צ": "ts",
        "ץ": "ts",
        "ק": "k",
        "ו": "o",
        "ש": "sh",
    },
    **{"እ": "i", "ዕ": "i", "ь": "", "ъ": "", "щ": "shch", "ё": "yo", "э": "e", "ы": "y"},
    **{"ं": "n", "ँ": "n", "ং": "ng", "ঁ": "n", "ਂ": "n", "ੰ": "n", "ં": "n", "ଂ": "n"},
    **{"च": "ch", "ച": "ch", "చ": "ch", "ಚ": "ch", "চ": "ch", "ਚ": "ch", "ચ": "ch", "ଚ": "ch"},
    **{"छ": "chh", "ছ": "chh", "ਛ": "chh", "છ": "chh", "ଛ": "chh", "ష": "sh", "ಷ": "sh", "ഷ": "sh"},
    **{"श": "sh", "ष": "sh", "শ": "sh", "ষ": "sh", "શ": "sh", "ષ": "sh", "శ": "sh", "ಶ": "sh"},
    **{"ழ": "zh", "ഴ": "zh", "ച": "ch", "ശ": "sh", "ଶ": "sh", "ଷ": "sh", "ශ": "sh", "ෂ": "sh"},
    **{"ද": "d", "ච": "ch", "ං": "n", "ം": "m", "ం": "m", "ಂ": "m"},
}


def build_romanization() -> dict[str, dict[str, str]]:
    """Build the table: script -> Latin spelling -> the characters that have it."""
    table: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for code in range(0xA0, min(sys.maxunicode, 0x1F000)):
        character = chr(code)
        if unicodedata.category(character)[0] not in "LM":
            continue
        script = script_of_character(character)
        if script not in _SCRIPTS or (script == "Hani" and code not in _HAN):
            continue
        if character != character.lower() or not unicodedata.is_normalized("NFC", character):
            continue
        if unicodedata.normalize("NFKC", character) != character and script not in ("Thai", "Laoo"):
            continue
        spelled = _TYPED.get(character, anyascii(character))
        typed = "".join(filter(str.isalpha, spelled.lower()))
        table[script][typed].append(character)
    return {
        script: {typed: "".join(found) for typed, found in sorted(spellings.items())}
        for script, spellings in sorted(table.items())
    }
