"""Own pairs of query and document -> the Parquet that ``corpora.files`` takes, row by row.

A row that cannot be trained on is left out, and its line and the reason are reported; nothing is
mended silently. The file is written a few thousand rows at a time, and is there whole or not at
all.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from app.errors import InvalidInputError
from app.text.dictionaries import require_lang
from app.text.normalize import require_text
from training.data.rows import ConversionError, Row
from training.data.staging import staged

GROUP = 5000
"""Rows that are written at a time."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Where each part of a pair stands.

    Attributes:
        query: Column of the queries.
        document: Column of the documents.
        lang_query: Column of the queries' language codes.
        lang_document: Column of the documents' language codes.
        negatives: Column of lists of documents that do not answer the query; empty for none.
        constants: Language code by column, for columns that the file does not have.
    """

    query: str = "query"
    document: str = "document"
    lang_query: str = "lang_query"
    lang_document: str = "lang_document"
    negatives: str = ""
    constants: Mapping[str, str] = field(default_factory=dict)

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that the file must have."""
        named = (self.query, self.document, self.lang_query, self.lang_document, self.negatives)
        return tuple(dict.fromkeys(c for c in named if c and c not in self.constants))


class Skip(NamedTuple):
    """A row that was left out.

    Attributes:
        line: Where it stood.
        reason: Of a few kinds that are counted.
        detail: What was found there; may be empty.
    """

    line: int
    reason: str
    detail: str = ""


@dataclass(slots=True)
class Outcome:
    """What became of a file.

    Attributes:
        written: Pairs in the new file.
        negatives: Negatives in the new file.
        skipped: Rows left out, by reason.
        dropped_negatives: Negatives that were empty, no text, or the pair's own document.
    """

    written: int = 0
    negatives: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    dropped_negatives: int = 0


class _SkipError(Exception):
    """A row cannot be used: reason and detail."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def convert(
    rows: Iterable[Row],
    out: Path,
    columns: Columns,
    *,
    strict: bool = False,
    report: Callable[[Skip], None] | None = None,
) -> Outcome:
    """Write pairs as Parquet: query, document, lang_query, lang_document and maybe negatives.

    Args:
        rows: As `training.data.rows` reads them.
        out: File to write.
        columns: Where what stands.
        strict: Fail at the first row that cannot be used.
        report: Is told each row that is left out.

    Raises:
        ConversionError: If a constant is no language code, no row is left, or ``strict`` and one
            cannot be used.
    """
    _check_constants(columns)
    outcome = Outcome()
    fields = [(name, pa.string()) for name in ("query", "document", "lang_query", "lang_document")]
    if columns.negatives:
        fields.append(("negatives", pa.list_(pa.string())))
    schema = pa.schema(fields)

    def tell(skip: Skip) -> None:
        if strict:
            raise ConversionError(f"line {skip.line}: {skip.reason} {skip.detail}".rstrip())
        outcome.skipped[skip.reason] += 1
        if report:
            report(skip)

    with staged(out) as draft:
        with pq.ParquetWriter(draft, schema, compression="zstd") as writer:
            for group in _grouped(_pairs(rows, columns, outcome, tell)):
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                outcome.written += len(group)
        if not outcome.written:
            reasons = ", ".join(f"{count} {reason}" for reason, count in outcome.skipped.items())
            raise ConversionError(f"no row is left for {out} ({reasons or 'there are none'})")
    return outcome


def _pairs(
    rows: Iterable[Row], columns: Columns, outcome: Outcome, tell: Callable[[Skip], None]
) -> Iterator[dict[str, Any]]:
    for row in rows:
        if row.problem:
            reason, _, detail = row.problem.partition(":")
            tell(Skip(row.line, reason, detail.strip()))
            continue
        try:
            yield _pair(row, columns, outcome)
        except _SkipError as skip:
            tell(Skip(row.line, skip.reason, skip.detail))


def _pair(row: Row, columns: Columns, outcome: Outcome) -> dict[str, Any]:
    pair: dict[str, Any] = {
        "query": _text(row.values, columns.query),
        "document": _text(row.values, columns.document),
        "lang_query": _lang(row.values, columns.lang_query, columns.constants),
        "lang_document": _lang(row.values, columns.lang_document, columns.constants),
    }
    if pair["query"] == pair["document"]:
        raise _SkipError("same text on both sides")
    if columns.negatives:
        given = _listed(row.values.get(columns.negatives), columns.negatives)
        kept = [text for text in map(_usable, given) if text and text != pair["document"]]
        outcome.dropped_negatives += len(given) - len(kept)
        outcome.negatives += len(kept)
        pair["negatives"] = kept
    return pair


def _text(values: Mapping[str, Any], column: str) -> str:
    value = values.get(column)
    if value is None:
        raise _SkipError("no value", f"in {column}")
    if not isinstance(value, str):
        raise _SkipError("not a text", f"in {column}: {type(value).__name__}")
    try:
        return require_text(value, column)
    except InvalidInputError:
        broken = any("\ud800" <= character <= "\udfff" for character in value)
        raise _SkipError("not UTF-8" if broken else "empty text", f"in {column}") from None


def _lang(values: Mapping[str, Any], column: str, constants: Mapping[str, str]) -> str:
    code = constants.get(column) or _text(values, column)
    if problem := _lang_problem(code):
        raise _SkipError("unknown language code", f"in {column}: {problem}")
    return code


@lru_cache(maxsize=4096)
def _lang_problem(code: str) -> str:
    try:
        require_lang(code, "language")
    except InvalidInputError:
        return f"{code!r}; expected ISO 639-3 and ISO 15924, such as 'yor_Latn'"
    return ""


def _listed(value: Any, column: str) -> list[Any]:
    """Read a list of texts; in TSV and CSV it is written as JSON."""
    if value is None or value == "":
        return []
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, list):
        raise _SkipError("negatives are no list", f"in {column}")
    return value


def _usable(value: Any) -> str:
    try:
        return require_text(value) if isinstance(value, str) else ""
    except InvalidInputError:
        return ""


def _check_constants(columns: Columns) -> None:
    for code in columns.constants.values():
        if problem := _lang_problem(code):
            raise ConversionError(f"language code {problem}: correct it")


def _grouped(pairs: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    for pair in pairs:
        group.append(pair)
        if len(group) == GROUP:
            yield group
            group = []
    if group:
        yield group
