"""A job: files into a collection, by an engine, noted in a ledger, reported row by row."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from app.bulk.columns import Columns
from app.bulk.ledger import Changed
from app.bulk.parts import Kind, Layout
from app.bulk.target import CONNECTIONS, Target, default_ledger
from app.bulk.work import Outcome, Task

MAX_ERRORS = 100


class Engine(Protocol):
    """Does parts; see ``LocalEngine``."""

    @property
    def count(self) -> int:
        """Documents in the collection before the job."""
        ...

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Do tasks, yielding each when its documents are durable, in any order."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done.

    Attributes:
        files: Files, folders and patterns.
        target: Where documents go.
        columns: Which columns are what.
        layout: How files are to be read.
        kind: What all files are; None: what their endings say.
        whole_files: Text files are one document each.
        ledger: Its file; None: one beside the state.
        report: Where refused and replaced rows are listed; None: beside the ledger.
        max_errors: Stop when more rows are refused; below 0: never.
        changed: What to do about files that changed since parts of them were done.
        retry: Do the parts again that had rows refused.
        writers: Parts written at a time, by the engine of one machine.
    """

    files: Sequence[str]
    target: Target
    columns: Columns = field(default_factory=Columns)
    layout: Layout = field(default_factory=Layout)
    kind: Kind | None = None
    whole_files: bool = False
    ledger: Path | None = None
    report: Path | None = None
    max_errors: int = MAX_ERRORS
    changed: Changed = "refuse"
    retry: bool = False
    writers: int = CONNECTIONS

    @property
    def ledger_path(self) -> Path:
        """Where the ledger is."""
        return self.ledger or default_ledger(self.target)

    @property
    def report_path(self) -> Path:
        """Where the report is."""
        path = self.ledger_path
        return self.report or path.with_name(path.name + ".report.jsonl")

    def options(self) -> dict[str, object]:
        """What must stay the same for a ledger to go on."""
        layout = asdict(self.layout)
        del layout["only"]
        return {
            "target": self.target.named(),
            "collection": self.target.collection,
            "columns": asdict(self.columns),
            "layout": layout,
            "kind": [self.kind, self.whole_files],
        }


MakeEngine = Callable[[Job, threading.Event], Engine]
"""Makes the engine of a job, which ends early when the event is set."""
