"""Filters on fields that are not declared: how much the embedded engine reads for them."""

import threading

import numpy as np
import pytest

from app.errors import InvalidInputError
from app.retrieval.documents import Document
from app.retrieval.edge import EdgeStore, filtering, writer
from app.retrieval.edge.shard import Shard
from app.retrieval.filters import All, Any, In, Not, Range
from app.retrieval.store import Options

UNDECLARED = In("metadata.n", (7,))
RARE = In("lang", ("lin_Latn",))


@pytest.fixture
def store(tmp_path, monkeypatch):
    """60 documents, every tenth in a rare language; 20 may be read for a filter."""
    monkeypatch.setattr(filtering, "READ_LIMIT", 20)
    made = EdgeStore.open(tmp_path, reserve_bytes=0)
    made.create("demo", 4, "m", Options(fields={"year": "integer"}))
    documents = [
        Document(
            f"d{n}", f"rain {n}", "lin_Latn" if n % 10 == 7 else "swh_Latn", {"n": n, "year": n}
        )
        for n in range(60)
    ]
    vectors = np.random.default_rng(0).standard_normal((60, 4), dtype=np.float32)
    made.upsert("demo", documents, vectors)
    yield made
    made.close()


@pytest.mark.parametrize(
    "where",
    [
        UNDECLARED,
        Not(UNDECLARED),
        All((UNDECLARED, In("lang", ("swh_Latn",)))),
        All((UNDECLARED, Range("metadata.year", lt=30))),
    ],
)
def test_filter_that_reads_too_many_payloads_is_refused_with_the_remedy(store, where):
    query = np.ones((1, 4), np.float32)
    for ask in (
        lambda: store.search("demo", query, 5, where),
        lambda: store.match("demo", ["rain"], 5, where),
        lambda: store.count("demo", where),
    ):
        with pytest.raises(InvalidInputError, match="Declare the field"):
            ask()


def test_filter_that_others_narrow_is_applied(store):
    query = np.ones((1, 4), np.float32)
    for narrow in (RARE, Range("metadata.year", lt=20), In("doc_id", ("d7", "d17"))):
        (hits,) = store.search("demo", query, 5, All((UNDECLARED, narrow)))
        assert [hit.document.doc_id for hit in hits] == ["d7"]
        assert store.count("demo", All((narrow, UNDECLARED))) == 1
    assert store.count("demo", Range("metadata.year", lt=30)) == 30
    assert store.delete_where("demo", UNDECLARED) == 1


@pytest.mark.parametrize(
    ("where", "left"),
    [
        (Not(UNDECLARED), {"d7"}),
        (Range("metadata.n", gte=3), {"d0", "d1", "d2"}),
        (
            All((Range("metadata.n", gte=3), Range("metadata.year", lt=59))),
            {"d0", "d1", "d2", "d59"},
        ),
        (Any((UNDECLARED, Not(In("doc_id", ("d1", "d8"))))), {"d1", "d8"}),
    ],
)
def test_deletion_that_reads_many_payloads_goes_by_steps(store, monkeypatch, where, left):
    monkeypatch.setattr(writer, "BATCH", 7)
    between: list[bool] = []
    step = writer.Writer._delete_step

    def counted(self, *asked):
        between.append(self._held.writing.locked())
        return step(self, *asked)

    monkeypatch.setattr(writer.Writer, "_delete_step", counted)
    assert store.delete_where("demo", where) == 60 - len(left)
    assert {one.doc_id for one in store.scan("demo", None, 100).documents} == left
    assert len(between) >= 8
    assert all(between)
    assert store.count("demo") == len(left)


def test_others_write_between_the_steps_of_a_deletion(store, monkeypatch):
    monkeypatch.setattr(writer, "BATCH", 7)
    page = Shard.page
    written: list[str] = []

    def slowly(self, start, limit, **asked):
        found = page(self, start, limit, **asked)
        if asked.get("fields") == () and not written:
            written.append("x")
            document = Document("x", "late", None, {"n": 7})
            thread.append(
                threading.Thread(
                    target=store.upsert, args=("demo", [document], np.ones((1, 4), np.float32))
                )
            )
            thread[0].start()
        return found

    thread: list[threading.Thread] = []
    monkeypatch.setattr(Shard, "page", slowly)
    assert store.delete_where("demo", Not(In("metadata.n", (5,)))) >= 59
    thread[0].join(10)
    assert [one.doc_id for one in store.get("demo", ["d5"])] == ["d5"]
    assert store.count("demo") == len(store.scan("demo", None, 100).documents)
