"""What a job is made of: files, the parts that they are read in, and the rows of a part.

A part is what the ledger remembers and what one worker does: some hundred rows, at the same place
in every run over the same file. A row has a number in its file, its line in the text formats, from
1; with the file's label it makes the ``doc_id`` of a document that has none.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Kind = Literal["parquet", "jsonl", "csv", "tsv", "text", "document"]
"""``text`` is a document a line, ``document`` one a file."""

PART_ROWS = 256
PART_BYTES = 1 << 20
MAX_ROW_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Layout:
    """How files are to be read.

    Attributes:
        encoding: Of the text formats; anything in which ASCII is ASCII.
        delimiter: Between the fields of CSV and TSV; empty: comma and tab.
        quoted: Whether fields of CSV and TSV may stand in quotes; None: in CSV only.
        part_rows: Most rows of a part.
        max_row_bytes: A longer line or record is refused, unread.
        only: Columns of Parquet files to read; None: all.
    """

    encoding: str = "utf-8"
    delimiter: str = ""
    quoted: bool | None = None
    part_rows: int = PART_ROWS
    max_row_bytes: int = MAX_ROW_BYTES
    only: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A file to be indexed.

    Attributes:
        path: Absolute.
        label: What ids made for its rows begin with; does not depend on where the files lie.
        kind: How to read it.
        bytes: Its size.
        fingerprint: Changes when the file does.
    """

    path: str
    label: str
    kind: Kind
    bytes: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a file.

    Attributes:
        start: Where it begins: a byte, or a row in Parquet, from 0.
        end: Where the next begins.
        first_row: Number of its first row.
        rows: How many rows it has, empty lines included.
        bytes: What it adds to the progress.
    """

    start: int
    end: int
    first_row: int
    rows: int
    bytes: int


@dataclass(slots=True)
class Row:
    """A row as it was read; ``error`` says why it could not be."""

    number: int
    values: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


Done = Mapping[int, Part]
"""Parts that need not be planned again, by where they begin."""


class Reader(Protocol):
    """Reads the files of one kind.

    Attributes:
        typed: Whether values have types; if not they are all strings.
    """

    typed: bool

    def names(self) -> list[str] | None:
        """The columns of the file; None: each row has its own."""
        ...

    def plan(self, done: Done) -> Iterator[Part]:
        """Cut the file in parts, in order, but for those that are done."""
        ...

    def rows(self, part: Part) -> Iterator[Row]:
        """Read a part."""
        ...
