"""Jobs for the tests of bulk work, and a sink in memory, with what can go wrong."""

import json
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.bulk.job import Job
from app.bulk.local import LocalEngine
from app.bulk.parts import Layout
from app.bulk.report import Summary
from app.bulk.running import run_job
from app.bulk.target import Target
from app.bulk.work import Written
from app.errors import StoreError
from app.retrieval.documents import Document
from app.retrieval.store import FieldType


class MemorySink:
    """Keeps documents as a store does: by id, the last one wins.

    Args:
        kept: Where they are kept; outlives the sink.
        fields: Declared fields.
        refuse: Says why a document is refused; empty: it is not.
        fail_after: Fails for good at the call after so many.
        slow_s: Sleeps up to so long in each call, so that calls end in another order.
    """

    def __init__(
        self,
        kept: dict[str, Document] | None = None,
        *,
        fields: Mapping[str, FieldType] | None = None,
        refuse: Callable[[Document], str] = lambda _: "",
        fail_after: int | None = None,
        slow_s: float = 0.0,
    ) -> None:
        self.kept = {} if kept is None else kept
        self.fields = fields or {}
        self.count = len(self.kept)
        self.calls = 0
        self.written: list[str] = []
        self.closed = False
        self._refuse = refuse
        self._fail_after = fail_after
        self._slow_s = slow_s
        self._lock = threading.Lock()
        self._random = random.Random(0)

    def write(self, documents: Sequence[Document]) -> Written:
        with self._lock:
            self.calls += 1
            if self._fail_after is not None and self.calls > self._fail_after:
                raise StoreError("The disk is full; make room.")
            wait = self._random.uniform(0, self._slow_s)
        time.sleep(wait)
        refused = {n: reason for n, d in enumerate(documents) if (reason := self._refuse(d))}
        with self._lock:
            for place, document in enumerate(documents):
                if place not in refused:
                    self.kept[document.doc_id] = document
                    self.written.append(document.doc_id)
        return Written(refused, sum(len(d.text) > 100 for d in documents))

    def close(self) -> None:
        self.closed = True


def go(job: Job, sink: MemorySink, *, restart: bool = False) -> Summary:
    def make(job: Job, stop: threading.Event) -> LocalEngine:
        return LocalEngine(job.target, job.columns, job.layout, job.writers, stop, sink)

    return run_job(job, make, threading.Event(), restart=restart, show=False)


def jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def reported(summary: Summary) -> list[dict[str, Any]]:
    if summary.report is None:
        return []
    return [json.loads(line) for line in Path(summary.report).read_text().splitlines()]


def job_of(folder: Path, **chosen: Any) -> Job:
    rows = chosen.pop("rows", 4)
    return Job(
        files=chosen.pop("files", [str(folder)]),
        target=Target("notes", url="http://nowhere"),
        layout=Layout(part_rows=rows),
        ledger=folder.parent / "ledger",
        **chosen,
    )
