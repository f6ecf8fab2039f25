"""FreeDict dictionaries, read where their owner has put them: ``.index`` beside ``.dict.dz``.

The files are those of the dictd server: an index of headwords with places in base 64, and the
definitions, packed with dictzip, which gzip reads. FreeDict's dictionaries are under the GPL for
the most part, so none comes along with this project; Debian has them as ``dict-freedict-*``.

A definition is prose in a loose form: pronunciation between slashes, grammar between angle
brackets, numbered senses, examples indented. What is kept are translations of at most
``MOST_WORDS`` words; all else is left out.
"""

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from app.errors import InvalidInputError
from app.text.dictionaries import Entry, fold
from app.text.normalize import normalize
from app.text.script import script_of

MOST_WORDS, MOST_POINTS = 4, 48
"""Translations longer than so many words or code points are explanations."""

_NAME = re.compile(r"(?:freedict-)?([a-z]{3})-([a-z]{3})")
_DIGITS = {
    digit: value
    for value, digit in enumerate(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    )
}
_ABOUT = "00database"
_INDENTED = re.compile(r"\s{3,}")
_ASIDES = re.compile(r"<[^>]*>|\([^)]*\)|\[[^\]]*\]|\{[^}]*\}|/[^/\n]*/")
_NUMBER = re.compile(r"^\s*(?:\d+\.|;)\s*")
# Languages that the project knows by a narrower code, and scripts by another name.
_NARROWER = {
    **{"ara": "arb", "aze": "azj", "fas": "pes", "lav": "lvs", "msa": "zsm", "mon": "khk"},
    **{"nep": "npi", "nor": "nob", "ori": "ory", "orm": "gaz", "pus": "pbt", "que": "quy"},
    **{"sqi": "als", "swa": "swh", "uzb": "uzn", "yid": "ydd", "kur": "kmr"},
}
_SCRIPTS = {("jpn", "Hani"): "Jpan", ("jpn", "Hira"): "Jpan", ("jpn", "Kana"): "Jpan"}
_SCRIPTS |= {("zho", "Hani"): "Hans"}


def read_freedict(index: Path) -> Iterator[Entry]:
    """Yield the pairs of words of a FreeDict dictionary.

    Args:
        index: Its ``.index`` file, named after its languages as in ``freedict-eng-swh.index``;
            the ``.dict.dz`` or ``.dict`` file is beside it.

    Raises:
        InvalidInputError: If the name has no languages, or a file cannot be read.
    """
    match = _NAME.fullmatch(index.stem)
    if not match:
        raise InvalidInputError(
            f"the dictionary {index} does not name its languages; expected a name such as "
            "freedict-eng-swh.index: rename its files."
        )
    try:
        lines = index.read_text(encoding="utf-8").splitlines()
        text = _read_definitions(index)
        pairs = list(_pairs(lines, text))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, KeyError, ValueError) as error:
        raise InvalidInputError(
            f"cannot read the dictionary {index}: {error!r}; expected the index of a dictd "
            "dictionary and its .dict.dz beside it."
        ) from error
    left, right = (
        _lang(match[side], Counter(script_of(pair[side - 1]) for pair in pairs)) for side in (1, 2)
    )
    for word, translation in pairs:
        if left != right or fold(word) != fold(translation):
            yield Entry(left, word, right, translation)


def _read_definitions(index: Path) -> bytes:
    packed = index.with_suffix(".dict.dz")
    if packed.exists():
        return gzip.decompress(packed.read_bytes())
    return index.with_suffix(".dict").read_bytes()


def _pairs(lines: list[str], text: bytes) -> Iterator[tuple[str, str]]:
    for line in dict.fromkeys(lines):
        if not line or line.startswith(_ABOUT):
            continue
        headword, offset, length = line.split("\t")[:3]
        start = _number(offset)
        definition = text[start : start + _number(length)].decode("utf-8")
        word = _headword(definition, headword)
        if word:
            yield from ((word, translation) for translation in _translations(definition))


def _number(digits: str) -> int:
    number = 0
    for digit in digits:
        number = 64 * number + _DIGITS[digit]
    return number


def _headword(definition: str, listed: str) -> str:
    """The headword as its definition writes it; the index has it without capitals."""
    written = _word(definition.partition("\n")[0])
    return written if written and fold(written) == fold(listed) else _word(listed)


def _translations(definition: str) -> Iterator[str]:
    _, _, body = definition.partition("\n")
    for line in body.split("\n"):
        if not line.strip() or _INDENTED.match(line):
            continue
        plain = _NUMBER.sub("", _ASIDES.sub(" ", line)).replace("~", " ")
        words = (_word(part) for part in re.split("[,;،、]", plain))
        yield from (word for word in words if word)


def _word(text: str) -> str:
    """Clean a word or short phrase; empty if it is none."""
    word = normalize(_ASIDES.sub(" ", text)).strip(" .:!?\"'")
    if not any(map(str.isalpha, word)) or len(word) > MOST_POINTS:
        return ""
    return word if len(word.split()) <= MOST_WORDS else ""


def _lang(code: str, scripts: Counter[str]) -> str:
    script = max(scripts, key=lambda found: scripts[found]) if scripts else "Latn"
    return f"{_NARROWER.get(code, code)}_{_SCRIPTS.get((code, script), script)}"
