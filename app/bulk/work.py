"""What one worker does with a part: read it, make documents of its rows, hand them to a sink."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.bulk.columns import Columns, Converter, RowError
from app.bulk.parts import Layout, Part, Reader, Row, Source
from app.bulk.sources import open_reader, unreadable
from app.retrieval.documents import Document
from app.retrieval.store import FieldType


@dataclass(frozen=True, slots=True)
class Task:
    """A part to be done.

    Attributes:
        file: The file's number in the ledger.
        source: The file.
        part: The part.
        only: Rows to write of it; None: all.
    """

    file: int
    source: Source
    part: Part
    only: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that was not written, and why."""

    row: int
    doc_id: str | None
    reason: str


@dataclass(slots=True)
class Batch:
    """A part that was read: its documents with their rows, and what could not be one."""

    task: Task
    documents: list[Document] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Outcome:
    """A part that was written.

    Attributes:
        task: The part.
        rows: Rows written, relative to the part's first, shape (written,).
        hashes: 64 bits of each one's ``doc_id``, shape (written,).
        doc_ids: The ids themselves, only if the task named its rows.
        refused: Rows that were not.
        truncated: Documents of which the model saw only the beginning.
        left_out: Columns whose values no metadata can hold, with how often.
    """

    task: Task
    rows: NDArray[np.uint32]
    hashes: NDArray[np.uint64]
    doc_ids: list[str]
    refused: list[Refused]
    truncated: int
    left_out: Counter[str]


@dataclass(frozen=True, slots=True)
class Written:
    """What a sink did with some documents.

    Attributes:
        refused: Why a document was not written, by its place; the others were.
        truncated: Documents of which the model saw only the beginning.
    """

    refused: Mapping[int, str] = field(default_factory=dict)
    truncated: int = 0


class Sink(Protocol):
    """Where documents go. Threads may share one."""

    @property
    def fields(self) -> Mapping[str, FieldType]:
        """The collection's declared fields."""
        ...

    @property
    def count(self) -> int:
        """Documents in the collection when the sink was opened."""
        ...

    def write(self, documents: Sequence[Document]) -> Written:
        """Write documents; what is not refused is durable on return.

        Raises:
            ServiceError: If nothing more can be written.
        """
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


class Worker:
    """Does parts. ``read`` is for one thread, ``write`` for any number.

    Args:
        sink: Where documents go.
        columns: Which columns are what.
        layout: How files are to be read.
    """

    def __init__(self, sink: Sink, columns: Columns, layout: Layout) -> None:
        self._sink = sink
        self._columns = columns
        self._layout = layout
        self._reader: tuple[str, Reader] | None = None

    def read(self, task: Task) -> Batch:
        """Read a part and make documents of its rows.

        Raises:
            InvalidInputError: If the file changed or is gone.
        """
        reader = self._open(task.source)
        converter = Converter(
            self._columns, task.source.label, self._sink.fields, typed=reader.typed
        )
        batch = Batch(task, left_out=converter.left_out)
        try:
            for row in reader.rows(task.part):
                if task.only is None or row.number in task.only:
                    _convert(converter, row, batch)
        except OSError as error:
            raise unreadable(task.source.path, error) from None
        return batch

    def write(self, batch: Batch) -> Outcome:
        """Write what was read; durable on return, or refused by row.

        Raises:
            ServiceError: If nothing more can be written.
        """
        written = self._sink.write(batch.documents) if batch.documents else Written()
        refused = [
            Refused(batch.rows[place], batch.documents[place].doc_id, reason)
            for place, reason in written.refused.items()
        ]
        kept = [n for n in range(len(batch.rows)) if n not in written.refused]
        first = batch.task.part.first_row
        ids = [batch.documents[n].doc_id for n in kept]
        return Outcome(
            task=batch.task,
            rows=np.array([batch.rows[n] - first for n in kept], np.uint32),
            hashes=np.array([hash_id(doc_id) for doc_id in ids], np.uint64),
            doc_ids=[] if batch.task.only is None else ids,
            refused=sorted(batch.refused + refused, key=lambda one: one.row),
            truncated=written.truncated,
            left_out=batch.left_out,
        )

    def _open(self, source: Source) -> Reader:
        if self._reader is None or self._reader[0] != source.path:
            self._reader = source.path, open_reader(source, self._layout)
        return self._reader[1]


def hash_id(doc_id: str) -> int:
    """Hash a ``doc_id`` to 64 bits: two of a billion share one with a chance of 3%."""
    return int.from_bytes(blake2b(doc_id.encode(), digest_size=8).digest(), "little")


def _convert(converter: Converter, row: Row, batch: Batch) -> None:
    try:
        document = converter.document(row)
    except RowError as error:
        batch.refused.append(Refused(row.number, None, str(error)))
    else:
        batch.documents.append(document)
        batch.rows.append(row.number)
