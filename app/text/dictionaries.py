"""The files of words: translations and synonyms, one pair a line.

A dictionary is UTF-8 text, gzip if its name ends in ``.gz``. Each line has four columns between
tabs, language and word twice, and holds in both directions; empty lines and lines that begin with
``#`` say nothing. Two words of one language are synonyms. A word may have spaces and any case::

    # My own words, public domain
    eng_Latn	hospital	swh_Latn	hospitali
    eng_Latn	railway station	deu_Latn	Bahnhof
    eng_Latn	large	eng_Latn	big
"""

import gzip
import unicodedata
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from app.errors import InvalidInputError
from app.text.normalize import normalize, require_text
from app.text.script import SCRIPTS, parse_lang

COLUMNS = 4


class Entry(NamedTuple):
    """One line: two words that can stand for one another."""

    lang_a: str
    word_a: str
    lang_b: str
    word_b: str


def fold(word: str) -> str:
    """Bring a word into the form by which it is found: normalized, without case, one apostrophe."""
    folded = normalize(word).casefold().replace("\u2019", "'")
    # Folding case can take a letter apart.
    return folded if folded.isascii() else unicodedata.normalize("NFC", folded)


def read_entries(path: Path) -> Iterator[Entry]:
    """Yield the lines of a dictionary, their words normalized.

    Raises:
        InvalidInputError: If the file cannot be read, or at the first line that is none; names the
            file and the line.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if entry := _parse(line, f"{path}, line {number}"):
                    yield entry
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInputError(f"cannot read the dictionary {path}: {error}") from error


def require_lang(code: str, place: str) -> str:
    """Check the language code that stands at a place.

    Raises:
        InvalidInputError: If it is malformed, or its script has no letters.
    """
    try:
        lang = parse_lang(code)
    except InvalidInputError as error:
        raise InvalidInputError(f"{place}: {error.message}") from None
    if lang.scripts.isdisjoint(SCRIPTS):
        raise InvalidInputError(
            f"{place}: the script of {code!r} is unknown; expected an ISO 15924 code of one with "
            "letters, as in 'yor_Latn': correct it."
        )
    return code


def _parse(line: bytes, place: str) -> Entry | None:
    try:
        text = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{place}: not UTF-8 ({error}): convert the file.") from None
    if not text.strip() or text.startswith("#"):
        return None
    columns = text.split("\t")
    if len(columns) != COLUMNS:
        raise InvalidInputError(
            f"{place}: {len(columns)} columns; expected {COLUMNS} between tabs: language, word, "
            "language, word."
        )
    entry = Entry(
        require_lang(columns[0].strip(), place),
        require_text(columns[1], f"{place}: column 2"),
        require_lang(columns[2].strip(), place),
        require_text(columns[3], f"{place}: column 4"),
    )
    if entry.lang_a == entry.lang_b and fold(entry.word_a) == fold(entry.word_b):
        raise InvalidInputError(
            f"{place}: {entry.word_a!r} stands for itself; expected two words: drop the line."
        )
    return entry
