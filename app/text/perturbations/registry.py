"""The families by name.

A new family is a module with a function that proposes, and one entry in ``_FAMILIES``. A family
that has nothing to propose for a text is not applicable to it, which its caller reports; it never
returns the text unchanged and calls that an attack.
"""

from app.errors import InvalidInputError
from app.text.perturbations import (
    bidi,
    case,
    confusable,
    diacritics,
    digits,
    forms,
    invisible,
    ocr,
    punctuation,
    scripts,
    spacing,
    switched,
    typo,
    words,
)
from app.text.perturbations.family import ANY_SCRIPT, Family, perturb, proposals

__all__ = ["ANY_SCRIPT", "FAMILIES", "Family", "family_of", "perturb", "proposals"]

_FAMILIES = (
    Family(
        "typo",
        "Letters swapped, lost, doubled, or hit beside the right key of the language's keyboard.",
        ANY_SCRIPT,
        typo.propose,
    ),
    Family(
        "diacritics",
        "An accent, tone mark, nukta, voicing mark or vowel point lost or added.",
        diacritics.SCRIPTS,
        diacritics.propose,
    ),
    Family(
        "confusable",
        "A letter replaced by one of another alphabet or code point that looks the same.",
        confusable.SCRIPTS,
        confusable.propose,
    ),
    Family(
        "invisible",
        "A character without width inside a word.",
        ANY_SCRIPT,
        invisible.propose,
    ),
    Family(
        "case",
        "A letter or a word in the other case.",
        case.SCRIPTS,
        case.propose,
    ),
    Family(
        "spacing",
        "A word split by a space, or two words run together.",
        ANY_SCRIPT,
        spacing.propose,
    ),
    Family(
        "bidi",
        "Controls of writing direction in or around a word, which shows as before.",
        ANY_SCRIPT,
        bidi.propose,
    ),
    Family(
        "form",
        "A letter or word in compatibility characters, such as full-width or mathematical letters.",
        forms.SCRIPTS,
        forms.propose,
        reports_undone=True,
    ),
    Family(
        "digits",
        "A number in the digits of another script.",
        ANY_SCRIPT,
        digits.propose,
        hint="It has no number.",
    ),
    Family(
        "punctuation",
        "Punctuation lost, added, or of another script.",
        ANY_SCRIPT,
        punctuation.propose,
    ),
    Family(
        "ocr",
        "A letter mistaken for one of like shape, as when a print is read by machine.",
        ocr.SCRIPTS,
        ocr.propose,
    ),
    Family(
        "romanization",
        "The whole text typed in Latin letters.",
        scripts.NATIVE,
        scripts.to_latin,
    ),
    Family(
        "native_script",
        "A text in Latin letters brought to the other script of its language.",
        (scripts.LATIN,),
        scripts.to_native,
        needs=("lang",),
        hint="The language, or its code, must have another script.",
    ),
    Family(
        "mixed_script",
        "A word, half of it, or a letter in Latin letters, or in the other script of the language.",
        (scripts.LATIN, *scripts.NATIVE),
        scripts.mixed,
        hint="A text in Latin letters needs a lang that has another script.",
    ),
    Family(
        "word_order",
        "Two words that change places.",
        ANY_SCRIPT,
        words.reorder,
    ),
    Family(
        "word_deletion",
        "A word left out.",
        ANY_SCRIPT,
        words.delete,
    ),
    Family(
        "word_repetition",
        "A word said twice.",
        ANY_SCRIPT,
        words.repeat,
    ),
    Family(
        "synonym",
        "A word replaced by a synonym from the dictionaries at hand.",
        ANY_SCRIPT,
        switched.synonyms,
        needs=("lang", "dictionary"),
        hint="The dictionaries have no synonym of its words in this language.",
    ),
    Family(
        "code_switch",
        "A word replaced by its translation from the dictionaries at hand.",
        ANY_SCRIPT,
        switched.switch,
        needs=("lang", "dictionary"),
        hint="The dictionaries have none of its words in this language.",
    ),
    Family(
        "token_neighbor",
        "A word replaced by one that the encoder places nearby.",
        ANY_SCRIPT,
        switched.neighbors,
        needs=("token_neighbors",),
    ),
)
FAMILIES = {family.name: family for family in _FAMILIES}
"""The families by name, in the order in which they are listed."""


def family_of(name: str) -> Family:
    """Find a family by name.

    Raises:
        InvalidInputError: If there is none.
    """
    if name not in FAMILIES:
        raise InvalidInputError(
            f"attack {name!r} is unknown; expected one of {', '.join(FAMILIES)}: correct it or "
            "leave attacks out to try them all."
        )
    return FAMILIES[name]
