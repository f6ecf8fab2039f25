"""Jobs that end early, and go on: nothing lost, nothing twice, nothing stale unseen."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from app.bulk.columns import Columns
from app.bulk.job import Job
from app.bulk.local import LocalEngine
from app.bulk.report import JobFailedError
from app.bulk.running import run_job
from app.errors import ConflictError, InvalidInputError
from app.retrieval.documents import Document

from .bulk_sinks import MemorySink, go, job_of, jsonl, reported


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "files"
    made.mkdir()
    return made


def test_job_stops_after_too_many_refusals_and_goes_on_with_more(folder: Path) -> None:
    jsonl(folder / "a.jsonl", *({"text": "ok" if n % 2 else ""} for n in range(40)))
    sink = MemorySink()
    with pytest.raises(JobFailedError, match="more than --max-errors 3") as failed:
        go(job_of(folder, max_errors=3, writers=1), sink)
    assert not failed.value.summary.complete
    assert 3 < failed.value.summary.refused < 20
    before, sink = sink, MemorySink(sink.kept)
    summary = go(job_of(folder, max_errors=-1), sink)
    assert (summary.documents, summary.refused, summary.complete) == (20, 20, True)
    assert len(reported(summary)) == 20
    assert sorted(before.written + sink.written) == sorted(sink.kept)


@pytest.mark.parametrize("fail_after", [0, 1, 5, 9])
def test_job_that_failed_goes_on_and_writes_nothing_twice(folder: Path, fail_after: int) -> None:
    for name in ("a", "b"):
        jsonl(folder / f"{name}.jsonl", *({"text": f"{name} {n}"} for n in range(21)))
    first = MemorySink(fail_after=fail_after, slow_s=0.002)
    with pytest.raises(JobFailedError, match=r"The disk is full.*same command again") as failed:
        go(job_of(folder), first)
    assert failed.value.summary.documents == len(first.kept)
    second = MemorySink(first.kept)
    summary = go(job_of(folder), second)
    assert summary.documents == len(second.kept) == 42
    assert summary.complete
    assert not set(second.written) & set(first.written)
    third = MemorySink(first.kept)
    assert go(job_of(folder), third).documents == 42
    assert third.calls == 0


@pytest.mark.parametrize("fail_after", [None, 0, 2, 3, 4, 7])
def test_job_keeps_the_last_row_of_an_id_however_it_went(
    folder: Path, fail_after: int | None
) -> None:
    ids = ["x", "y", "x", "z", "y", "x", "q", "w", "x", "v", "u", "y"]
    for file in ("a", "b"):
        rows = ({"id": one, "text": f"{file} {n}"} for n, one in enumerate(ids))
        jsonl(folder / f"{file}.jsonl", *rows)
    expected = {one: f"b {n}" for n, one in enumerate(ids)}
    kept: dict[str, Document] = {}
    if fail_after is not None:
        with pytest.raises(JobFailedError):
            go(job_of(folder, rows=2), MemorySink(kept, fail_after=fail_after, slow_s=0.01))
    summary = go(job_of(folder, rows=2), MemorySink(kept, slow_s=0.01))
    assert {one.doc_id: one.text for one in kept.values()} == expected
    assert (summary.documents, summary.replaced) == (7, 17)
    lines = reported(summary)
    assert [line["row"] for line in lines if line["file"].endswith("b.jsonl")] == [1, 2, 3, 5, 6]
    assert all(line["replaced_by"]["file"].endswith("b.jsonl") for line in lines)
    # Known once and for all: the next run has nothing to write.
    again = MemorySink(kept)
    assert go(job_of(folder, rows=2), again).replaced == 17
    assert again.calls == 0


def test_job_notices_a_changed_file(folder: Path) -> None:
    path = jsonl(folder / "a.jsonl", {"text": "one"}, {"text": "two"})
    other = jsonl(folder / "b.jsonl", {"text": "three"})
    sink = MemorySink()
    go(job_of(folder), sink)
    jsonl(path, {"text": "ONE"}, {"text": ""})
    with pytest.raises(InvalidInputError, match=r"a\.jsonl changed since parts of it were indexed"):
        go(job_of(folder), MemorySink(sink.kept))
    left = go(job_of(folder, changed="skip"), MemorySink(sink.kept))
    assert (left.files, left.documents) == (1, 3)
    summary = go(job_of(folder, changed="again"), MemorySink(sink.kept))
    assert sink.kept["a.jsonl:1"].text == "ONE"
    assert (summary.documents, summary.refused) == (2, 1)
    # A new file is no change, and one that is gone is none of this run's business.
    other.unlink()
    jsonl(folder / "c.jsonl", {"text": "four"})
    assert go(job_of(folder), MemorySink(sink.kept)).documents == 3


def test_job_that_changes_under_its_reader_says_so(folder: Path) -> None:
    path = jsonl(folder / "a.jsonl", *({"text": f"t{n}"} for n in range(4)))

    class Meddler(MemorySink):
        def write(self, documents: Any) -> Any:
            with path.open("a") as file:
                file.write('{"text": "more"}\n')
            return super().write(documents)

    with pytest.raises(JobFailedError, match="changed while it was indexed"):
        go(job_of(folder), Meddler())


def test_job_with_other_options_is_refused_by_its_ledger(folder: Path) -> None:
    jsonl(folder / "a.jsonl", {"text": "one", "body": "two"})
    sink = MemorySink()
    go(job_of(folder), sink)
    other = job_of(folder, columns=Columns(text="body"))
    with pytest.raises(InvalidInputError, match="belongs to another job: its columns"):
        go(other, MemorySink(sink.kept))
    go(other, sink, restart=True)
    assert sink.kept["a.jsonl:1"].text == "two"


def test_job_into_an_emptied_collection_asks_for_a_restart(folder: Path) -> None:
    jsonl(folder / "a.jsonl", {"text": "one"})
    go(job_of(folder), MemorySink())
    with pytest.raises(InvalidInputError, match="give --restart"):
        go(job_of(folder), MemorySink())
    sink = MemorySink()
    go(job_of(folder), sink, restart=True)
    assert len(sink.kept) == 1


def test_job_retry_does_refused_rows_again(folder: Path) -> None:
    jsonl(folder / "a.jsonl", *({"text": f"t{n}"} for n in range(12)))
    kept: dict[str, Document] = {}
    go(job_of(folder), MemorySink(kept, refuse=lambda d: "busy" if d.text == "t5" else ""))
    assert "a.jsonl:6" not in kept
    sink = MemorySink(kept)
    assert go(job_of(folder), sink).refused == 1
    summary = go(job_of(folder, retry=True), sink)
    assert (summary.refused, summary.documents, len(kept)) == (0, 12, 12)
    assert sorted(sink.written) == [f"a.jsonl:{n}" for n in (5, 6, 7, 8)]


def test_ledger_in_use_names_its_holder(folder: Path) -> None:
    from app.bulk.ledger import Ledger

    jsonl(folder / "a.jsonl", {"text": "one"})
    with (
        Ledger(folder.parent / "ledger"),
        pytest.raises(ConflictError, match=f"in use by process {os.getpid()}"),
    ):
        go(job_of(folder), MemorySink())


@pytest.mark.parametrize(
    "content", [b"no database at all" * 100, b"SQLite format 3\x00" + b"x" * 99]
)
def test_ledger_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    jsonl(folder / "a.jsonl", {"text": "one"})
    (folder.parent / "ledger").write_bytes(content)
    with pytest.raises(InvalidInputError, match="is no ledger"):
        go(job_of(folder), MemorySink())


def test_stop_ends_after_what_is_under_way_and_goes_on(folder: Path) -> None:
    jsonl(folder / "a.jsonl", *({"text": f"t{n}"} for n in range(400)))
    stop = threading.Event()

    class Stopping(MemorySink):
        def write(self, documents: Any) -> Any:
            if self.calls == 5:
                stop.set()
            return super().write(documents)

    def make(job: Job, stop: threading.Event) -> LocalEngine:
        return LocalEngine(job.target, job.columns, job.layout, job.writers, stop, sink)

    sink = Stopping()
    with pytest.raises(JobFailedError, match=r"^Stopped\. Run the same command again") as failed:
        run_job(job_of(folder), make, stop, show=False)
    # All that was written is noted, so none of it is written again.
    assert failed.value.summary.documents == len(sink.kept) < 400
    after = MemorySink(sink.kept)
    assert go(job_of(folder), after).documents == 400
    assert not set(after.written) & set(sink.written)


def test_job_whose_file_goes_away_ends_in_one_line(folder: Path) -> None:
    path = jsonl(folder / "a.jsonl", *({"text": f"t{n}"} for n in range(400)))

    class Removing(MemorySink):
        def write(self, documents: Any) -> Any:
            path.unlink(missing_ok=True)
            return super().write(documents)

    with pytest.raises(JobFailedError, match=r"Cannot read .*a\.jsonl: No such file"):
        go(job_of(folder, files=[str(path)]), Removing())


def test_job_whose_ledger_cannot_be_written_ends_in_one_line(folder: Path) -> None:
    import sqlite3

    jsonl(folder / "a.jsonl", *({"text": f"t{n}"} for n in range(40)))

    class Locking(MemorySink):
        def write(self, documents: Any) -> Any:
            other = sqlite3.connect(folder.parent / "ledger", isolation_level=None)
            other.execute(
                "CREATE TRIGGER full BEFORE INSERT ON parts BEGIN "
                "SELECT RAISE(ABORT, 'database or disk is full'); END"
            )
            other.close()
            return super().write(documents)

    with pytest.raises(JobFailedError, match=r"Cannot write the ledger .* disk is full"):
        go(job_of(folder, rows=100), Locking())
