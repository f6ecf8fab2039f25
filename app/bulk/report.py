"""What is said about a job when it ends: its summary, and the list of rows that went wrong."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from app.bulk.ledger import Ledger
from app.errors import InvalidInputError, ServiceError


@dataclass(slots=True)
class Summary:
    """What became of a job, all its runs together.

    Attributes:
        collection: The collection.
        files: Files of this run.
        documents: Documents that are in the collection by this ledger.
        refused: Rows that are not, each with its reason in the report.
        replaced: Rows whose document a later row with the same id replaced; in the report too.
        truncated: Documents of which the model saw only the beginning.
        left_out: Columns whose values no metadata can hold, with how often.
        ignored: Files of folders whose endings are not known.
        report: Where refused and replaced rows are listed; None: there are none.
        ledger: The ledger.
        complete: Whether all files are done.
        seconds: What this run took.
        rate: Documents a second of this run.
    """

    collection: str
    files: int
    documents: int = 0
    refused: int = 0
    replaced: int = 0
    truncated: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    report: str | None = None
    ledger: str = ""
    complete: bool = False
    seconds: float = 0.0
    rate: float = 0.0


class JobFailedError(ServiceError):
    """A job that ended before its files did.

    Attributes:
        summary: What it did.
    """

    code = "job-failed"

    def __init__(self, message: str, summary: Summary) -> None:
        super().__init__(message)
        self.summary = summary


def write_report(ledger: Ledger, path: Path) -> None:
    """List the rows that were refused or replaced, one JSON object a line."""

    def lines() -> Iterator[dict[str, Any]]:
        for file, row, doc_id, reason in ledger.refused():
            named = {"doc_id": doc_id} if doc_id is not None else {}
            yield {"file": file, "row": row, **named, "refused": reason}
        for file, row, doc_id, by_file, by_row in ledger.replaced():
            by = {"file": by_file, "row": by_row}
            yield {"file": file, "row": row, "doc_id": doc_id, "replaced_by": by}

    fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            for line in lines():
                file.write(orjson.dumps(line) + b"\n")
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise InvalidInputError(
            f"Cannot write the report {path}: {error.strerror}; name another with --report."
        ) from error
