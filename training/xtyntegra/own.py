"""Your own queries, documents and answers, in a folder as BEIR lays one out.

- ``corpus.jsonl``, a document a line: ``{"_id": "d1", "title": "", "text": "...", "lang":
  "swh_Latn"}``. The title, if there is one, stands before the text.
- ``queries.jsonl``, a query a line: ``{"_id": "q1", "text": "...", "lang": "eng_Latn"}``.
- ``qrels.tsv``, or BEIR's ``qrels/test.tsv``: query's id, document's id and score between tabs,
  after a head or not. A score from 1 makes the document a right one; 0 says nothing.

``lang`` is a FLORES code. A file whose lines have none is of the language ``und`` in the script of
most of its texts, which chooses keyboards and letters of attacks by script alone. Queries of each
language are a cell over all documents: ``mono`` or ``cross`` where these are of one language,
``pooled`` where they are of several. Queries without a right document are left out and counted.

What it trades away: grades count alike, as everywhere in the benchmark, and no document is left
out for having a query's id.

References:
    Thakur et al. 2021, https://arxiv.org/abs/2104.08663.
"""

import json
import logging
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import InvalidInputError
from app.text.script import parse_lang, script_of
from training.registry import CorpusError
from training.xtyntegra.lines import read_fields, read_lines
from training.xtyntegra.task import POOLED, Cell, Pool

log = logging.getLogger(__name__)

NAME = "own"
SETTINGS = ("mono", "cross", "pooled")
UNDETERMINED = "und"
CORPUS, QUERIES = "corpus.jsonl", "queries.jsonl"
QRELS = (Path("qrels.tsv"), Path("qrels") / "test.tsv")
HEAD = ["query-id", "corpus-id", "score"]
_SCRIPT_SAMPLE = 500
"""Texts that the script of a file without languages is told from."""


@dataclass(frozen=True)
class _Texts:
    """The texts of a file, in order; ids are distinct."""

    path: Path
    ids: list[str]
    texts: list[str]
    langs: list[str]


def load(folder: Path, languages: Collection[str] = ()) -> list[Cell]:
    """Make a cell for each language of the queries.

    Args:
        folder: With the three files.
        languages: Of queries; empty: all. The documents stay whole.

    Raises:
        CorpusError: If a file is missing or not as expected, or nothing is left to ask.
    """
    if not folder.is_dir():
        raise CorpusError(f"{folder} is no folder: expected one with {CORPUS}, {QUERIES}, qrels")
    documents = _read(folder / CORPUS, titled=True)
    queries = _read(folder / QUERIES, titled=False)
    answers = _answers(_qrels(folder), queries, documents)
    if not answers:
        raise CorpusError(
            f"{folder}: no query has a right document; expected scores from 1 in qrels"
        )
    if left := len(queries.ids) - len(answers):
        log.warning("%s: %d of %d queries have no right document", folder, left, len(queries.ids))
    found = set(documents.langs)
    document_lang = found.pop() if len(found) == 1 else POOLED
    pool = Pool(f"{NAME}:{document_lang}", documents.texts, documents.langs, documents.ids)
    rows: dict[str, list[int]] = {}
    for row in sorted(answers):
        rows.setdefault(queries.langs[row], []).append(row)
    return [
        _cell(queries, lang, asked, pool, answers)
        for lang, asked in sorted(rows.items())
        if not languages or lang in languages
    ]


def _cell(
    queries: _Texts, lang: str, rows: list[int], pool: Pool, answers: dict[int, set[int]]
) -> Cell:
    document_lang = pool.name.partition(":")[2]
    setting = "mono" if document_lang == lang else "cross"
    return Cell(
        NAME,
        "pooled" if document_lang == POOLED else setting,
        lang,
        document_lang,
        [queries.texts[row] for row in rows],
        [f"{NAME}:{queries.ids[row]}" for row in rows],
        pool,
        [np.array(sorted(answers[row]), dtype=np.intp) for row in rows],
    )


def _answers(path: Path, queries: _Texts, documents: _Texts) -> dict[int, set[int]]:
    """Read which documents are right: row of a query -> rows of documents."""
    sides = [{name: row for row, name in enumerate(side.ids)} for side in (queries, documents)]
    found: dict[int, set[int]] = {}
    for number, (query, document, score) in read_fields(path, HEAD):
        if number == 1 and [query, document, score] == HEAD:
            continue
        for name, known, side in zip((query, document), sides, (queries, documents), strict=True):
            if name not in known:
                raise CorpusError(
                    f"{path}, line {number}: got the id {name!r}; expected one of {side.path.name}"
                )
        if not score.removeprefix("-").isdecimal():
            raise CorpusError(
                f"{path}, line {number}: got the score {score!r}; expected a whole number, from 1 "
                "where the document is right"
            )
        if int(score) > 0:
            found.setdefault(sides[0][query], set()).add(sides[1][document])
    return found


def _qrels(folder: Path) -> Path:
    there = [folder / path for path in QRELS if (folder / path).exists()]
    if len(there) != 1:
        names = " or ".join(map(str, QRELS))
        raise CorpusError(
            f"{folder}: got {'both' if there else 'neither'} of {names}; expected one"
        )
    return there[0]


def _read(path: Path, *, titled: bool) -> _Texts:
    found = _Texts(path, [], [], [])
    for number, line in enumerate(read_lines(path), 1):
        place = f"{path}, line {number}"
        record = _record(line, place)
        name, text = record["_id"], record["text"]
        if titled and record.get("title"):
            text = f"{record['title']} {text}".strip()
        if not text.strip():
            raise CorpusError(f"{place}: got no text of {name!r}; expected some, or no such line")
        found.ids.append(name)
        found.texts.append(text)
        found.langs.append(record.get("lang") or "")
    if not found.ids:
        raise CorpusError(f"{path} is empty: expected a line for each text")
    ((name, times),) = Counter(found.ids).most_common(1)
    if times > 1:
        raise CorpusError(f"{path}: got the id {name!r} {times} times; expected each once")
    return _with_langs(found)


def _record(line: str, place: str) -> dict[str, Any]:
    """Read a line, and check the types of what it has."""
    expected = 'expected {"_id": "...", "text": "...", "lang": "swh_Latn"}, with "lang" or without'
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{place}: no JSON ({error}); {expected}") from error
    fields: list[object] = []
    if isinstance(record, dict):
        fields = [record.get("_id"), record.get("text")]
        fields += [record.get(name) or "" for name in ("title", "lang")]
    if not fields or not fields[0] or not all(isinstance(value, str) for value in fields):
        raise CorpusError(f"{place}: got {line[:60]!r}; {expected}")
    if lang := record.get("lang"):
        try:
            parse_lang(lang)
        except InvalidInputError as error:
            raise CorpusError(f"{place}: {error}") from error
    return record


def _with_langs(read: _Texts) -> _Texts:
    """Name the language of texts without one, where no text of the file has one."""
    without = [name for name, lang in zip(read.ids, read.langs, strict=True) if not lang]
    if not without:
        return read
    if len(without) < len(read.ids):
        raise CorpusError(
            f"{read.path}: {len(without)} of {len(read.ids)} lines, such as {without[0]!r}, have "
            'no "lang"; expected one in every line, or in none'
        )
    script = script_of(" ".join(read.texts[:_SCRIPT_SAMPLE]))
    lang = f"{UNDETERMINED}_{script}"
    return _Texts(read.path, read.ids, read.texts, [lang] * len(read.ids))
