"""Debian's keyboard layouts -> one table of ours: which key lies where, for each layout.

Reads the symbol files of xkeyboard-config (package xkb-data), the list of layouts with their
languages (evdev.xml), and the names of keysyms (keysymdef.h of x11proto-dev). Only what produces
letters and marks is kept, with and without Shift and AltGr. Layouts of input methods (Chinese,
Korean, Ethiopic) are not among them.
"""

import re
import sys
import unicodedata
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from app.text.perturbations.keyboards import KEYS
from app.text.script import COMMON, INHERITED, script_of_character

LEVELS = ("plain", "shift", "third", "fourth")
"""What a key types: alone, with Shift, with AltGr, and with both."""
FEWEST_LETTERS = 18
"""A layout with fewer letters of its script is one of symbols or of additions."""

# Layouts whose list of languages begins with others, or that are first in the list by chance.
_PREFERRED = {
    "Latn": "us",
    "eng_Latn": "us",
    "deu_Latn": "de",
    "fra_Latn": "fr",
    "spa_Latn": "es",
    "por_Latn": "pt",
    "nld_Latn": "nl",
    "swe_Latn": "se",
    "ron_Latn": "ro",
    "cat_Latn": "es(cat)",
    "fas_Arab": "ir",
    "ara_Arab": "ara",
    "kur_Arab": "ir(ku_ara)",
    "urd_Arab": "pk",
    "tam_Taml": "in(tam)",
    "hau_Latn": "ng(hausa)",
    "ibo_Latn": "ng(igbo)",
    "Arab": "ara",
    "Cyrl": "ru",
    "Taml": "in(tam)",
}
_UNICODE = 0x1000000
"""What is added to a code point where a keysym is written as a number."""
_PRESENTATION = re.compile("[\ufb50-\ufdff\ufe70-\ufeff]")

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_SECTION = re.compile(r'(?P<flags>(?:\w+\s+)*)xkb_symbols\s+"(?P<name>[^"]+)"\s*\{')
_STATEMENT = re.compile(
    r'(?:(?:include|replace|augment|override)\s+)+"(?P<include>[^"]+)"'
    r"|key\s*<(?P<key>\w+)>\s*\{(?P<body>[^}]*)\}"
)
_GROUP = re.compile(r"symbols\s*\[\s*[Gg]roup1\s*\]\s*=\s*\[(?P<syms>[^\]]*)\]")
_BRACKETS = re.compile(r"(?<![\w\]])\s*\[(?P<syms>[^\]]*)\]")
_PART = re.compile(r"(?P<file>[^(:]+)(?:\((?P<section>[^)]*)\))?(?::(?P<group>\d+))?")
_KEYSYM = re.compile(r"#define XK_(\w+)\s+0x([0-9a-fA-F]+)(?:\s*/\*[ (]*U\+([0-9A-Fa-f]{4,6}))?")


Typed = Sequence[str | None]
"""What a key types by level: a character, nothing (empty), or what it typed before (None)."""


@dataclass(slots=True)
class Symbols:
    """The symbol files of a folder, each section read once.

    Attributes:
        folder: Where the files are.
        keysyms: Characters by name; see `read_keysyms`.
    """

    folder: Path
    keysyms: Mapping[str, str]
    _files: dict[str, dict[str, str]] = field(default_factory=dict)
    _defaults: dict[str, str] = field(default_factory=dict)

    def layout(self, file: str, section: str = "") -> dict[str, Typed]:
        """Return what each key types, by level; later statements win over earlier ones."""
        keys: dict[str, Typed] = {}
        body = self._section(file, section)
        for match in _STATEMENT.finditer(body):
            if match["include"]:
                for name, typed in self._included(match["include"]):
                    keys[name] = _merged(keys.get(name, ()), typed)
            elif (syms := _symbols_of(match["body"])) is not None:
                typed = [self._character(name) for name in syms[: len(LEVELS)]]
                keys[match["key"]] = _merged(keys.get(match["key"], ()), typed)
        return keys

    def _included(self, text: str) -> Iterator[tuple[str, Typed]]:
        for part in re.split(r"[+|]", text):
            match = _PART.fullmatch(part.strip())
            if match and match["group"] in (None, "1") and (self.folder / match["file"]).is_file():
                yield from self.layout(match["file"], match["section"] or "").items()

    def _section(self, file: str, section: str) -> str:
        if file not in self._files:
            text = _COMMENT.sub("", (self.folder / file).read_text(encoding="utf-8"))
            sections: dict[str, str] = {}
            for match in _SECTION.finditer(text):
                sections[match["name"]] = _block(text, match.end())
                if "default" in match["flags"].split() or file not in self._defaults:
                    self._defaults[file] = match["name"]
            self._files[file] = sections
        return self._files[file].get(section or self._defaults.get(file, ""), "")

    def _character(self, name: str) -> str | None:
        if name in ("NoSymbol", ""):
            return None
        if name in self.keysyms:
            return self.keysyms[name]
        code = 0
        if re.fullmatch(r"U[0-9A-Fa-f]{3,6}", name):
            code = int(name[1:], 16)
        elif re.fullmatch(r"0x[0-9A-Fa-f]{7,8}", name):
            code = int(name, 16) - _UNICODE
        return chr(code) if 0 < code <= sys.maxunicode else ""


def _merged(old: Typed, new: Typed) -> Typed:
    """Lay what a statement says over what there is; NoSymbol leaves that as it is."""
    both = zip_longest(old, new)
    return tuple(before if after is None else after for before, after in both)


def read_keysyms(path: Path) -> dict[str, str]:
    """Read the characters of keysyms by name; those that type none are left out."""
    listed = _KEYSYM.findall(path.read_text(encoding="utf-8"))
    # Older names of a keysym have its number alone.
    by_number = {int(value, 16): chr(int(code, 16)) for _, value, code in listed if code}
    found: dict[str, str] = {}
    for name, value, _ in listed:
        number = int(value, 16)
        if number in by_number:
            found[name] = by_number[number]
        elif 0x20 <= number <= 0xFF:
            found[name] = chr(number)
    return found


def build_keyboards(symbols: Path, rules: Iterable[Path], keysyms: Path) -> dict[str, Any]:
    """Build the table.

    Args:
        symbols: Folder of the symbol files.
        rules: The lists of layouts; those that come first are preferred.
        keysyms: The header with the names of keysyms.

    Returns:
        ``layouts``: name -> script and what each place types, by level, a space for nothing, levels
        without letters left out; ``languages``: language code -> name; ``scripts``: script -> name.
    """
    source = Symbols(symbols, read_keysyms(keysyms))
    layouts: dict[str, dict[str, str]] = {}
    languages: dict[str, str] = {}
    scripts: dict[str, str] = {}
    names: dict[tuple[str, ...], str] = {}
    listed = [entry for path in rules for entry in _listed(path)]
    # A layout's own list of languages counts before those of its variants; layouts that type the
    # same are called by the name preferred.
    for file, section, codes in sorted(listed, key=_rank):
        if not (symbols / file).is_file():
            continue
        own = _name(file, section)
        typed = source.layout(file, section)
        levels = tuple(
            "".join(_kept(typed.get(key, ()), level) for key in KEYS)
            for level in range(len(LEVELS))
        )
        script = _script(levels[:2])
        if not script:
            continue
        name = names.setdefault((script, *levels), own)
        kept = {level: typed for level, typed in zip(LEVELS, levels, strict=True) if typed.strip()}
        layouts.setdefault(name, {"script": script, **kept})
        for target, key in (
            (scripts, script),
            *((languages, f"{code}_{script}") for code in codes),
        ):
            if _PREFERRED.get(key) == own:
                target[key] = name
            target.setdefault(key, name)
    return {"layouts": layouts, "languages": languages, "scripts": scripts}


def _name(file: str, section: str) -> str:
    return f"{file}({section})" if section else file


def _rank(entry: tuple[str, str, list[str]]) -> tuple[int, bool]:
    file, section, _ = entry
    preferred = list(_PREFERRED.values())
    name = _name(file, section)
    return preferred.index(name) if name in preferred else len(preferred), bool(section)


def _listed(path: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the layouts of a list: file, section (empty: the default one), languages."""
    for layout in ET.parse(path).getroot().iter("layout"):  # a file of the system, not of a user
        file = layout.findtext("configItem/name", "")
        codes = [node.text or "" for node in layout.findall("configItem/languageList/iso639Id")]
        yield file, "", codes
        for variant in layout.findall("variantList/variant"):
            own = [node.text or "" for node in variant.findall("configItem/languageList/iso639Id")]
            yield file, variant.findtext("configItem/name", ""), own or codes


def _kept(typed: Typed, level: int) -> str:
    character = (typed[level] if level < len(typed) else None) or ""
    kept = len(character) == 1 and unicodedata.category(character)[0] in "LM"
    # A ligature for a key that types two letters is no letter.
    return character if kept and not _PRESENTATION.match(character) else " "


def _script(levels: tuple[str, ...]) -> str:
    letters = Counter(script_of_character(c) for level in levels for c in level if c != " ")
    for shared in (COMMON, INHERITED, "Zzzz"):
        del letters[shared]
    script, count = max(letters.items(), key=lambda item: item[1], default=("", 0))
    return script if count >= FEWEST_LETTERS else ""


def _symbols_of(body: str) -> list[str] | None:
    match = _GROUP.search(body) or _BRACKETS.search(body)
    return None if match is None else [name.strip() for name in match["syms"].split(",")]


def _block(text: str, start: int) -> str:
    depth, place = 1, start
    while depth and place < len(text):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        place += 1
    return text[start : place - 1]
