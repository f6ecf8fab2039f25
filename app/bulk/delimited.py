"""CSV and TSV: a header, then records, which may span lines.

Quotes are taken strictly, because a quote that is never closed would otherwise swallow the rows
behind it. A record that cannot be read is refused, and reading goes on behind its first line.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.bulk.lines import Lines, changed, require_encoding, skip_mark, too_long
from app.bulk.parts import PART_BYTES, Done, Layout, Part, Row, Source
from app.errors import InvalidInputError

_UNDECODED = re.compile("[\udc80-\udcff]")


class _TooLongError(Exception):
    """A record is over the limit."""


@dataclass(slots=True)
class _Record:
    number: int
    fields: list[str]
    error: str = ""


class _Feed:
    """Gives lines to ``csv.reader``; survives an exception, which a generator does not."""

    def __init__(self, lines: Lines, encoding: str, most: int) -> None:
        self._lines = lines
        self._encoding = encoding
        self._most = most
        self.begin()

    def begin(self) -> None:
        """A record begins here."""
        self.start = self._lines.offset
        self.first_end: tuple[int, int] | None = None

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        line = self._lines.next()
        if line == b"":
            raise StopIteration
        if self.first_end is None:
            self.first_end = (self._lines.offset, self._lines.row)
        if line is None or self._lines.offset - self.start > self._most:
            raise _TooLongError
        # What cannot be decoded becomes lone surrogates, which are looked for afterwards.
        return line.decode(self._encoding, "surrogateescape")


class DelimitedReader:
    """Reads CSV or TSV with a header.

    Raises:
        InvalidInputError: If there is no header, or it names a column twice.
    """

    typed = False

    def __init__(self, source: Source, layout: Layout) -> None:
        self._path = Path(source.path)
        self._layout = layout
        self._bytes = source.bytes
        is_csv = source.kind == "csv"
        quoted = is_csv if layout.quoted is None else layout.quoted
        self._dialect: dict[str, Any] = {
            "delimiter": layout.delimiter or ("," if is_csv else "\t"),
            "quoting": csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            "strict": True,
        }
        self._encoding = require_encoding(layout.encoding)
        self._begin = skip_mark(self._path, layout.encoding)
        self._first_row = 1
        # The bound on a record is ours; the library's would refuse fields of 128 KiB.
        csv.field_size_limit(max(csv.field_size_limit(), layout.max_row_bytes + 1))
        self._header = self._read_header() if self._bytes else []

    def names(self) -> list[str] | None:
        """The header."""
        return self._header if self._bytes else None

    def plan(self, done: Done) -> Iterator[Part]:
        """Cut the file at ends of records."""
        with self._path.open("rb") as file:
            lines = self._lines(file, self._begin, self._first_row)
            records = self._records(lines)
            while lines.offset < self._bytes:
                if part := done.get(lines.offset):
                    lines.seek(part.end, part.first_row + part.rows)
                    records = self._records(lines)
                    continue
                start, first = lines.offset, lines.row
                for taken, _ in enumerate(records, 1):
                    if taken >= self._layout.part_rows or lines.offset - start >= PART_BYTES:
                        break
                size = lines.offset - start
                yield Part(start, lines.offset, first, lines.row - first, size)

    def rows(self, part: Part) -> Iterator[Row]:
        """Read the rows of a part; a row's number is the line that it begins in."""
        with self._path.open("rb") as file:
            lines = self._lines(file, part.start, part.first_row)
            for record in self._records(lines):
                if lines.offset > part.end:
                    raise changed(self._path)
                if record.fields or record.error:
                    yield self._row(record)
                if lines.offset == part.end:
                    return
            if lines.offset < part.end:
                raise changed(self._path)

    def _lines(self, file: Any, start: int, row: int) -> Lines:
        return Lines(file, start, row, self._layout.max_row_bytes)

    def _records(self, lines: Lines) -> Iterator[_Record]:
        """Read records from where ``lines`` stands; after each it stands behind it."""
        feed = _Feed(lines, self._encoding, self._layout.max_row_bytes)
        reader = csv.reader(feed, **self._dialect)
        while True:
            number = lines.row
            feed.begin()
            try:
                yield _Record(number, next(reader))
                continue
            except StopIteration:
                return
            except _TooLongError:
                error = too_long(self._layout.max_row_bytes)
            except csv.Error as problem:
                error = f"is no record ({problem}); mend its quotes, or give --quotes no"
            if feed.first_end is not None:
                lines.seek(*feed.first_end)
            yield _Record(number, [], error)
            reader = csv.reader(feed, **self._dialect)

    def _row(self, record: _Record) -> Row:
        if record.error:
            return Row(record.number, error=record.error)
        if len(record.fields) != len(self._header):
            got, expected = len(record.fields), len(self._header)
            return Row(record.number, error=f"has {got} fields; expected {expected}, as the header")
        if any(not field.isascii() and _UNDECODED.search(field) for field in record.fields):
            name = self._encoding.upper()
            error = f"is not {name} everywhere; convert it, or name its --encoding"
            return Row(record.number, error=error)
        return Row(record.number, dict(zip(self._header, record.fields, strict=True)))

    def _read_header(self) -> list[str]:
        with self._path.open("rb") as file:
            lines = self._lines(file, self._begin, 1)
            record = next(self._records(lines), None)
            self._begin, self._first_row = lines.offset, lines.row
        if record is None or record.error or not record.fields:
            reason = record.error if record and record.error else "is empty"
            raise InvalidInputError(
                f"The first line of {self._path} {reason}; expected the names of the columns."
            )
        names = [name.strip() for name in record.fields]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InvalidInputError(
                f"{self._path} names the column {twice!r:.80} twice; rename one of them."
            )
        return names
