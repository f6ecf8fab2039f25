"""The low-resource track: which languages are in it, and how much of them training has seen.

A language is in the track if it is somebody's language and has little data:

1. it is neither constructed nor extinct (Glottolog 4.0);
2. it has at least 10,000 speakers (CLDR), or CLDR counts none;
3. it is not in the classes 3 to 5 of Joshi et al. 2020, the 53 languages with much text or labels;
4. OpenLID (Burchell et al. 2023) gathered fewer than a million lines of it, or none.

Within the track, relative to what a model was trained on:

- ``seen``: it was trained on a pair in this language and script;
- ``related``: not seen, but a seen language in the same Unicode script shares its branch, the first
  four levels of Glottolog's tree, or the language itself was seen in another script;
- ``unseen``: neither.

Any other language is ``other``. ``languages.tsv`` has one line a language with its numbers; the
columns ``pairs``, ``tasks``, ``track`` and ``relative`` are computed from the corpora that may be
shipped. After a change of these:

    python -m training.xtyntegra.tracks --write

References:
    Joshi et al. 2020, https://aclanthology.org/2020.acl-main.560.
    Burchell et al. 2023, https://aclanthology.org/2023.acl-short.75.
    Glottolog 4.0, https://glottolog.org, CC BY 4.0.
    CLDR, https://cldr.unicode.org, by way of the Python package language_data 1.4.0.
"""

import argparse
import csv
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Literal

from app.text.script import parse_lang
from training.registry import CorpusError, data_folder

Track = Literal["seen", "related", "unseen", "other"]
FILE = Path(__file__).with_name("languages.tsv")
MIN_SPEAKERS = 10_000
MAX_LINES = 1_000_000
BRANCH_LEVELS = 4

ALIASES = {
    "ab": "abk",
    "ce": "che",
    "ht": "hat",
    "io": "ido",
    "ks": "kas",
    "kw": "cor",
    "sa": "san",
    "se": "sme",
    "sh": "hbs",
}
"""Two-letter codes that some corpora have -> ISO 639-3."""


@dataclass(frozen=True)
class Row:
    """A line of ``languages.tsv``; an empty field: the source has no figure.

    Attributes:
        lang: FLORES code.
        name: In English.
        branch: First four levels of Glottolog's tree, the language itself included.
        status: ``constructed``, ``extinct`` or empty.
        speakers: By CLDR, second language included.
        lines: Of OpenLID's data, before sampling.
        joshi: Class 3, 4 or 5; empty: 0 to 2, or not listed.
        pairs: With this language on one side, in the corpora that may be shipped.
        tasks: That have the language, by commas.
        track: Relative to these corpora; see the module.
        relative: The seen language with most pairs that makes it ``related``.
    """

    lang: str
    name: str
    branch: str
    status: str
    speakers: str
    lines: str
    joshi: str
    pairs: str = ""
    tasks: str = ""
    track: str = ""
    relative: str = ""

    @property
    def low_resource(self) -> bool:
        """Whether points 1 to 4 of the rule hold."""
        return not (
            self.status
            or self.joshi
            or (self.speakers and int(self.speakers) < MIN_SPEAKERS)
            or (self.lines and int(self.lines) >= MAX_LINES)
        )


COLUMNS = tuple(field.name for field in fields(Row))


@cache
def languages() -> Mapping[str, Row]:
    """Read ``languages.tsv``, by FLORES code."""
    with FILE.open(encoding="utf-8", newline="") as stream:
        lines = csv.reader(stream, delimiter="\t")
        if tuple(next(lines)) != COLUMNS:
            raise CorpusError(f"{FILE}: expected the columns {', '.join(COLUMNS)}")
        rows = [Row(*line) for line in lines]
    return {row.lang: row for row in rows}


def track_of(lang: str, trained_on: Collection[str] | None = None) -> Track:
    """Say in which part of the low-resource track a language is.

    Args:
        lang: FLORES code.
        trained_on: Languages that the model was trained on, as a manifest lists them; None: those
            of the corpora that may be shipped.
    """
    row = languages().get(lang)
    if row is None or not row.low_resource:
        return "other"
    if trained_on is None:
        seen = {code for code, each in languages().items() if each.pairs not in ("", "0")}
    else:
        seen = {plain(code) for code in trained_on}
    if lang in seen:
        return "seen"
    return "related" if relatives_of(lang, seen) else "unseen"


def relatives_of(lang: str, seen: Iterable[str]) -> list[str]:
    """List the seen languages that make a language ``related``."""
    rows, own = languages(), parse_lang(lang)
    return [
        code
        for code in seen
        if code in rows
        and code != lang
        and (
            parse_lang(code).language == own.language
            or (rows[code].branch == rows[lang].branch and _same_script(code, lang))
        )
    ]


def plain(code: str) -> str:
    """Bring a corpus's language code to ISO 639-3: ``ht_Latn`` is ``hat_Latn``."""
    language, _, script = code.partition("_")
    return f"{ALIASES.get(language, language)}_{script}"


def _same_script(one: str, other: str) -> bool:
    return bool(parse_lang(one).scripts & parse_lang(other).scripts)


def computed(data: Path) -> list[Row]:
    """Compute the file anew: its sourced columns as they are, the others from the corpora.

    Raises:
        CorpusError: If a corpus cannot be read, or a language has no line.
    """
    from training.xtyntegra.census import pairs_by_language, tasks_by_language

    pairs: dict[str, int] = {}
    for code, count in pairs_by_language(data).items():
        pairs[plain(code)] = pairs.get(plain(code), 0) + count
    tasks = tasks_by_language(data)
    known = languages()
    if missing := sorted((pairs.keys() | tasks.keys()) - known.keys()):
        raise CorpusError(
            f"{FILE} has no line for {', '.join(missing)}: add one with name, branch, status, "
            "speakers, lines and joshi from their sources"
        )
    found: list[Row] = []
    for lang, row in sorted(known.items()):
        relatives = sorted(relatives_of(lang, pairs), key=lambda code: (-pairs[code], code))
        track = track_of(lang, pairs)
        found.append(
            replace(
                row,
                pairs=str(pairs.get(lang, 0)),
                tasks=",".join(tasks.get(lang, [])),
                track=track,
                relative=relatives[0] if track == "related" else "",
            )
        )
    return found


def as_text(rows: Iterable[Row]) -> str:
    """Write rows as the file has them."""
    lines = [COLUMNS, *(tuple(getattr(row, name) for name in COLUMNS) for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)


def main(arguments: list[str] | None = None) -> int:
    """Compare the file with the corpora, or write it anew; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.xtyntegra.tracks")
    parser.add_argument("--write", action="store_true", help=f"write {FILE.name} anew")
    options = parser.parse_args(arguments)
    try:
        text = as_text(computed(data_folder()))
    except CorpusError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if text == FILE.read_text(encoding="utf-8"):
        return 0
    if not options.write:
        sys.stderr.write(f"{FILE} differs from what the corpora give: run with --write\n")
        return 1
    FILE.write_text(text, encoding="utf-8")
    return 0


LOW_RESOURCE_TRACK = tuple(
    row.lang for row in languages().values() if row.low_resource and row.tasks
)
"""Languages of the track that some task of the data folder has."""


if __name__ == "__main__":
    sys.exit(main())
