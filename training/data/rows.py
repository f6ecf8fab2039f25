"""Rows of JSONL, TSV, CSV, Parquet and pairs of plain text files, one at a time with their places.

What a format cannot read in a line becomes a row with a problem, and the lines after it are read
on; only what spoils the whole file is an error. A byte that is not UTF-8 comes through as a lone
surrogate, so that whoever checks the text refuses that row and no other.
"""

import csv
import gzip
import json
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

FORMATS = ("jsonl", "tsv", "csv", "parquet")
_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".tsv": "tsv", ".csv": "csv"}
_SUFFIXES |= {".txt": "tsv", ".parquet": "parquet"}
_LONGEST_FIELD = 1 << 24
_MISSING = object()


class ConversionError(ValueError):
    """A file cannot be converted; the message says which, why, and what to do, in one line."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file.

    Attributes:
        line: Its line, or its number in Parquet, from 1.
        values: Its values by column; empty if it has a problem.
        problem: Why it cannot be read; empty if it can.
    """

    line: int
    values: Mapping[str, Any]
    problem: str = ""


def format_of(path: Path) -> str:
    """Tell a file's format by its name; ``.gz`` at its end does not count.

    Raises:
        ConversionError: If the name tells nothing.
    """
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if suffix.lower() not in _SUFFIXES:
        raise ConversionError(
            f"cannot tell the format of {path.name}: give it with --format {'|'.join(FORMATS)}"
        )
    return _SUFFIXES[suffix.lower()]


def read_rows(
    path: Path, form: str, needed: Collection[str], header: Sequence[str] = ()
) -> Iterator[Row]:
    """Yield the rows of a file.

    Args:
        path: The file; packed if its name ends in ``.gz``.
        form: One of ``FORMATS``.
        needed: Columns that it must have; of Parquet only these are read, of JSONL each row is on
            its own.
        header: Names of the columns of a TSV or CSV file whose first line is none.

    Raises:
        ConversionError: If the file cannot be read, or lacks a column.
    """
    try:
        if form == "parquet":
            yield from _parquet(path, needed)
            return
        with _open(path) as file:
            if form == "jsonl":
                yield from _jsonl(file)
            else:
                yield from _table(file, path, needed, header, form)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise ConversionError(f"cannot read {path}: {error}") from error


def read_aligned(queries: Path, documents: Path) -> Iterator[Row]:
    """Yield the lines of two files side by side, as columns ``query`` and ``document``.

    Raises:
        ConversionError: If one cannot be read, or they have not the same number of lines.
    """
    try:
        with _open(queries) as left, _open(documents) as right:
            pairs = zip_longest(left, right, fillvalue=_MISSING)
            for number, (query, document) in enumerate(pairs, 1):
                if query is _MISSING or document is _MISSING:
                    shorter = queries if query is _MISSING else documents
                    raise ConversionError(
                        f"{shorter} ends after line {number - 1}, the other file does not: line by "
                        "line they do not belong together"
                    )
                yield Row(number, {"query": query, "document": document})
    except (OSError, EOFError, zlib.error) as error:
        raise ConversionError(f"cannot read {queries} and {documents}: {error}") from error


def _open(path: Path) -> IO[str]:
    opened = gzip.open if path.suffix == ".gz" else open
    return opened(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="\n")


def _jsonl(file: IO[str]) -> Iterator[Row]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            yield Row(number, {}, "not JSON")
            continue
        yield Row(number, values) if isinstance(values, dict) else Row(number, {}, "no JSON object")


def _table(
    file: IO[str], path: Path, needed: Collection[str], header: Sequence[str], form: str
) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_FIELD)
    if form == "csv":
        reader = csv.reader(file, strict=True)
    else:
        reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    columns = list(header) or next(reader, [])
    _require_columns(path, columns, needed)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Row(reader.line_num, {}, f"not {form.upper()}: {error}")
            continue
        if cells is None:
            return
        if len(cells) == len(columns):
            yield Row(reader.line_num, dict(zip(columns, cells, strict=True)))
        elif cells:
            problem = f"wrong number of columns: {len(cells)}, expected {len(columns)}"
            yield Row(reader.line_num, {}, problem)


def _parquet(path: Path, needed: Collection[str]) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        _require_columns(path, file.schema_arrow.names, needed)
        batches = file.iter_batches(batch_size=1024, columns=list(needed))
        rows = (values for batch in batches for values in batch.to_pylist())
        for number, values in enumerate(rows, 1):
            yield Row(number, values)


def _require_columns(path: Path, columns: Sequence[str], needed: Collection[str]) -> None:
    if missing := [column for column in needed if column not in columns]:
        raise ConversionError(
            f"{path} lacks the columns {', '.join(missing)}; it has "
            f"{', '.join(map(ascii, columns)) or 'none'}: name them, as in --query-column question"
        )
