"""Jobs: what is written, refused and replaced, over a store in memory."""

import os
from pathlib import Path

import pytest

from app.bulk.columns import Columns
from app.errors import InvalidInputError
from app.retrieval.documents import Document

from .bulk_sinks import MemorySink, go, job_of, jsonl, reported


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "files"
    made.mkdir()
    return made


def test_job_writes_rows_of_all_kinds_as_documents(folder: Path) -> None:
    (folder / "a.csv").write_text("id,text,year,note\nx,Maji,1990,\n,Moto,,hot\n")
    jsonl(
        folder / "b.jsonl",
        {"doc_id": "b", "text": "Bus", "lang": "eng_Latn", "metadata": {"line": 7}, "n": 1.5},
        {"id": 12, "text": "Twelve", "ok": True, "none": None, "tags": ["a"]},
    )
    (folder / "c.txt").write_text("One line\n\nAnother\n")
    sink = MemorySink(fields={"year": "integer"})
    summary = go(job_of(folder), sink)
    assert sink.kept == {
        one.doc_id: one
        for one in (
            Document("x", "Maji", None, {"year": 1990}),
            Document("a.csv:3", "Moto", None, {"note": "hot"}),
            Document("b", "Bus", "eng_Latn", {"line": 7, "n": 1.5}),
            Document("12", "Twelve", None, {"ok": True}),
            Document("c.txt:1", "One line"),
            Document("c.txt:3", "Another"),
        )
    }
    assert (summary.documents, summary.refused, summary.complete) == (6, 0, True)
    assert summary.left_out == {"tags": 1}
    assert summary.report is None
    assert sink.closed


def test_job_columns_are_those_named(folder: Path) -> None:
    (folder / "a.csv").write_text("key,body,text,tongue,year\nk,the body,no,swh_Latn,1990\n")
    columns = Columns("key", "body", "tongue", metadata=("year",), language="eng_Latn")
    sink = MemorySink()
    go(job_of(folder, columns=columns), sink)
    assert sink.kept == {"k": Document("k", "the body", "swh_Latn", {"year": "1990"})}


def test_job_without_the_column_of_texts_writes_nothing(folder: Path) -> None:
    jsonl(folder / "a.jsonl", {"text": "fine"})
    (folder / "b.csv").write_text("title,words\na,b\n")
    sink = MemorySink()
    with pytest.raises(InvalidInputError, match=r"b\.csv has no column 'text'; it has title, wor"):
        go(job_of(folder), sink)
    assert sink.calls == 0


def test_job_refuses_rows_with_file_row_and_reason(folder: Path) -> None:
    path = jsonl(
        folder / "a.jsonl",
        {"text": "fine"},
        {"text": ""},
        {"text": 7},
        {"words": "no text"},
        {"text": "x", "doc_id": 1.5},
        {"text": "x", "doc_id": "i" * 513},
        {"text": "x", "lang": "swahili"},
        {"text": "x", "metadata": "no json"},
        {"text": "x", "metadata": [1]},
        {"text": "x", "year": "soon"},
        {"text": "refuse me", "doc_id": "r"},
        {"text": "\u200b\u0007"},
        {"text": "last"},
    )
    sink = MemorySink(
        fields={"year": "integer"}, refuse=lambda d: "no" if d.text.startswith("refuse") else ""
    )
    summary = go(job_of(folder), sink)
    assert set(sink.kept) == {"a.jsonl:1", "a.jsonl:13"}
    assert (summary.documents, summary.refused) == (2, 11)
    lines = reported(summary)
    assert [line["row"] for line in lines] == list(range(2, 13))
    assert {line["file"] for line in lines} == {str(path)}
    assert lines[-2] == {"file": str(path), "row": 11, "doc_id": "r", "refused": "no"}
    assert [line["refused"].split(";")[0] for line in lines[1:3]] == [
        "has text of type int",
        "has no text",
    ]


def test_job_ids_of_files_of_one_name_are_refused_unless_rows_have_them(tmp_path: Path) -> None:
    paths = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        paths.append(str(jsonl(tmp_path / name / "a.jsonl", {"text": name, "key": name})))
    job = job_of(tmp_path / "one", files=paths)
    with pytest.raises(InvalidInputError, match="would give their rows the same ids"):
        go(job, MemorySink())
    sink = MemorySink()
    go(job_of(tmp_path / "one", files=paths, columns=Columns(doc_id="key")), sink)
    assert set(sink.kept) == {"one", "two"}


def test_job_named_id_column_refuses_rows_without_id(folder: Path) -> None:
    jsonl(folder / "a.jsonl", {"key": "k", "text": "a"}, {"text": "b"}, {"key": None, "text": "c"})
    summary = go(job_of(folder, columns=Columns(doc_id="key")), MemorySink())
    assert (summary.documents, summary.refused) == (1, 2)


def test_job_does_not_index_its_own_ledger_and_report(folder: Path) -> None:
    jsonl(folder / "a.jsonl", {"text": "one"}, {"text": ""})
    job = job_of(folder, report=folder / "report.jsonl")
    sink = MemorySink()
    for _ in range(2):
        summary = go(job, MemorySink(sink.kept))
        assert (summary.files, summary.refused) == (1, 1)
    assert (folder / "report.jsonl").exists()


def test_job_with_a_file_name_that_is_no_unicode_is_refused(folder: Path) -> None:
    with open(os.fsencode(folder) + b"/\xff.txt", "w") as file:
        file.write("one\n")
    with pytest.raises(InvalidInputError, match="is not UTF-8"):
        go(job_of(folder), MemorySink())
