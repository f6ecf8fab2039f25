"""Scripts (ISO 15924) of characters and texts, and language codes such as ``yor_Latn``.

The script property comes from the ``regex`` package, one character at a time and remembered: a
text uses few distinct characters, so no table has to be built at import.
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache

import regex

from app.errors import InvalidInputError

COMMON = "Zyyy"
"""The script of what all scripts share: digits, punctuation, spaces."""
INHERITED = "Zinh"
"""The script of marks that take on the script of the letter before them."""

_CODES = (
    "Latn Hani Cyrl Arab Deva Hang Beng Telu Taml Thai Grek Hebr Ethi Gujr Kana Hira Mlym Knda "
    "Guru Orya Mymr Khmr Laoo Sinh Geor Armn Tibt Tfng Olck Nkoo Mtei Cher Cans Thaa Syrc Mong "
    "Adlm Aghb Ahom Armi Avst Bali Bamu Bass Batk Berf Bhks Bopo Brah Brai Bugi Buhd Cakm Cari "
    "Cham Chrs Copt Cpmn Cprt Diak Dogr Dsrt Dupl Egyp Elba Elym Gara Glag Gong Gonm Goth Gran "
    "Gukh Hano Hatr Hluw Hmng Hmnp Hung Ital Java Kali Kawi Khar Khoj Kits Krai Kthi Lana Lepc "
    "Limb Lina Linb Lisu Lyci Lydi Mahj Maka Mand Mani Marc Medf Mend Merc Mero Modi Mroo Mult "
    "Nagm Nand Narb Nbat Newa Nshu Ogam Onao Orkh Osge Osma Ougr Palm Pauc Perm Phag Phli Phlp "
    "Phnx Plrd Prti Rjng Rohg Runr Samr Sarb Saur Sgnw Shaw Shrd Sidd Sidt Sind Sogd Sogo Sora "
    "Soyo Sund Sunu Sylo Tagb Takr Tale Talu Tang Tavt Tayo Tglg Tirh Tnsa Todr Tols Toto Tutg "
    "Ugar Vaii Vith Wara Wcho Xpeo Xsux Yezi Yiii Zanb"
)
SCRIPTS = tuple(_CODES.split())
"""Every script with a Unicode property value, those with most readers first."""

_MEMBERS = {
    "Hans": frozenset({"Hani"}),
    "Hant": frozenset({"Hani"}),
    "Jpan": frozenset({"Hani", "Hira", "Kana"}),
    "Kore": frozenset({"Hang", "Hani"}),
    "Hrkt": frozenset({"Hira", "Kana"}),
    "Aran": frozenset({"Arab"}),
}
LANG_PATTERN = r"[a-z]{3}_[A-Z][a-z]{3}"
"""What a language code looks like as a whole."""
_LANG = re.compile(LANG_PATTERN)


@dataclass(frozen=True, slots=True)
class Language:
    """A language in a script, in the manner of FLORES.

    Attributes:
        language: ISO 639-3 code, such as ``yor``.
        script: ISO 15924 code, such as ``Latn``; may name a set of scripts, such as ``Jpan``.
    """

    language: str
    script: str

    @property
    def scripts(self) -> frozenset[str]:
        """The Unicode scripts this language's letters may have; ``Jpan`` has three."""
        return _MEMBERS.get(self.script, frozenset({self.script}))

    def __str__(self) -> str:
        return f"{self.language}_{self.script}"


def parse_lang(code: str) -> Language:
    """Read a language code such as ``yor_Latn``.

    Raises:
        InvalidInputError: If it is not three small letters, ``_``, and a script in title case.
    """
    if not _LANG.fullmatch(code):
        raise InvalidInputError(
            f"lang {code!r} is malformed; expected an ISO 639-3 language, an underscore and an ISO "
            "15924 script, such as 'yor_Latn': correct it or leave it out."
        )
    language, script = code.split("_")
    return Language(language, script)


@lru_cache(maxsize=1 << 16)
def script_of_character(character: str) -> str:
    """ISO 15924 code of one character; ``Zyyy`` common, ``Zinh`` inherited, ``Zzzz`` unassigned."""
    for script in (COMMON, *SCRIPTS, INHERITED):
        if _pattern(script).match(character):
            return script
    return "Zzzz"


def script_of(text: str) -> str:
    """ISO 15924 code of most of a text's letters; the earlier one of a tie, ``Zyyy`` without any.

    Marks do not count, nor do letters that scripts share. Unicode scripts only: Japanese text is
    ``Hani``, ``Hira`` or ``Kana``, never ``Jpan`` (see ``Language.scripts``).
    """
    counts = Counter(script_of_character(c) for c in text if c.isalpha())
    for shared in (COMMON, INHERITED, "Zzzz"):
        del counts[shared]
    return max(counts, key=lambda script: counts[script]) if counts else COMMON


@cache
def _pattern(script: str) -> "regex.Pattern[str]":
    return regex.compile(rf"\p{{Script={script}}}")
