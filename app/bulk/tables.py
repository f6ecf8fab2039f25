"""Parquet files, read row group by row group, only the columns that are asked for."""

import datetime
import decimal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.bulk.extras import need
from app.bulk.lines import changed
from app.bulk.parts import Done, Layout, Part, Row, Source
from app.errors import InvalidInputError


class TableReader:
    """Reads a Parquet file.

    Parts of a row group that are read in order are decoded once; a step back decodes it anew.

    Raises:
        InvalidInputError: If the file is no sound Parquet, or pyarrow is missing.
    """

    typed = True

    def __init__(self, source: Source, layout: Layout) -> None:
        self._parquet = need("pyarrow.parquet", "Parquet files")
        self._broken = (need("pyarrow", "Parquet files").ArrowException, OSError, ValueError)
        self._source = source
        self._layout = layout
        try:
            metadata = self._parquet.read_metadata(source.path)
            self._names: list[str] = list(metadata.schema.to_arrow_schema().names)
        except self._broken as error:
            raise InvalidInputError(
                f"{source.path} is no sound Parquet file ({_short(error)}); write it again, or "
                "leave it out."
            ) from None
        if len(set(self._names)) != len(self._names):
            raise InvalidInputError(f"{source.path} has two columns of one name; rename one.")
        self._groups = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
        self._total = sum(self._groups)
        self._lock = threading.Lock()
        self._batches: Iterator[Any] = iter(())
        self._group, self._position = -1, 0
        self._left: list[Row] = []

    def names(self) -> list[str] | None:
        """The columns of its schema."""
        return self._names

    def plan(self, done: Done) -> Iterator[Part]:
        """Cut each row group in parts."""
        start = 0
        for size in self._groups:
            stop = start + size
            while start < stop:
                end = min(start + self._layout.part_rows, stop)
                if start not in done:
                    share = self._source.bytes * (end - start) // max(1, self._total)
                    yield Part(start, end, start + 1, end - start, share)
                start = end

    def rows(self, part: Part) -> Iterator[Row]:
        """Read the rows of a part; if it cannot be decoded, each row says so."""
        with self._lock:
            try:
                found = self._read(part)
            except self._broken as error:
                self._group = -1
                reason = f"cannot be decoded ({_short(error)}); write the file again"
                found = [Row(part.first_row + n, error=reason) for n in range(part.rows)]
        if len(found) != part.rows:
            raise changed(Path(self._source.path))
        yield from found

    def _read(self, part: Part) -> list[Row]:
        group, first = self._locate(part.start)
        if group != self._group or part.start < self._position:
            self._batches = self._open(group)
            self._group, self._position, self._left = group, first, []
        behind = min(part.start - self._position, len(self._left))
        self._left = self._left[behind:]
        self._position += behind
        while self._position + len(self._left) < part.end:
            batch = next(self._batches, None)
            if batch is None:
                break
            begin = self._position + len(self._left)
            if begin + batch.num_rows <= part.start:
                self._position = begin + batch.num_rows  # not ours: decoded, but not converted
                continue
            ahead = max(0, part.start - begin)
            self._left += _rows(batch, begin + 1)[ahead:]
            self._position += ahead
        found = self._left[: part.rows]
        self._left = self._left[part.rows :]
        self._position = part.start + len(found)
        return found

    def _locate(self, start: int) -> tuple[int, int]:
        first = 0
        for group, size in enumerate(self._groups):
            if start < first + size:
                return group, first
            first += size
        raise changed(Path(self._source.path))

    def _open(self, group: int) -> Iterator[Any]:
        only = self._layout.only
        columns = None if only is None else [name for name in self._names if name in only]
        with self._parquet.ParquetFile(
            self._source.path, memory_map=True, page_checksum_verification=True
        ) as file:
            size = max(self._layout.part_rows, 1024)
            yield from file.iter_batches(
                batch_size=size, row_groups=[group], columns=columns, use_threads=False
            )


def _rows(batch: Any, first: int) -> list[Row]:
    names: list[str] = batch.schema.names
    columns = [[_plain(value) for value in column.to_pylist()] for column in batch.columns]
    every = zip(*columns, strict=True)
    return [Row(first + n, dict(zip(names, values, strict=True))) for n, values in enumerate(every)]


def _plain(value: Any) -> Any:
    """Bring a value to what JSON knows, without loss; what has no such form stays as it is."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return None if value != value else value  # NaN is how many writers say null
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    return value


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
