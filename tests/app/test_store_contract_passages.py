"""What every engine must do: documents of several passages, found by the best of them, once."""

import numpy as np
import pytest

from app.errors import InvalidInputError
from app.retrieval.documents import Document
from app.retrieval.filters import In, languages
from app.retrieval.store import MAX_SPANS

from .contract_data import DIM, LANGS, agree_on_search, unit, vectors_of
from .reference_store import ReferenceStore

BASIS = unit(np.eye(DIM))


def passages_of(n, seed=0):
    """Documents of 1 to 6 passages."""
    rng = np.random.default_rng(seed)
    documents, spans = [], []
    for i in range(n):
        count = int(rng.integers(1, 7))
        words = [f"w{i}p{p}" for p in range(count)]
        starts = np.cumsum([0] + [len(word) + 1 for word in words])
        documents.append(Document(f"p{i:02}", " ".join(words), LANGS[i % 3], {"n": i}))
        spans.append([(int(s), int(s) + len(w)) for s, w in zip(starts, words, strict=False)])
    return documents, vectors_of(sum(map(len, spans)), seed), spans


@pytest.fixture(scope="module")
def judged(open_store, tmp_path_factory):
    store, judge = open_store(tmp_path_factory.mktemp("passages")), ReferenceStore()
    for one in (store, judge):
        one.create("demo", DIM, "m")
        assert one.upsert("demo", *passages_of(25)) == 25
    yield store, judge
    store.close()


@pytest.mark.parametrize("top_k", [1, 3, 25, 100])
@pytest.mark.parametrize("where", [None, languages("eng_Latn"), In("metadata.n", (1, 2, 3, 4))])
def test_search_groups_passages_to_documents_with_the_best_one(judged, top_k, where):
    store, judge = judged
    agree_on_search(store, judge, vectors_of(5, seed=3), top_k, where)
    agree_on_search(store, judge, vectors_of(5, seed=3), top_k, where, exact=True)
    agree_on_search(store, judge, vectors_of(5, seed=3), top_k, where, offset=2)


def test_count_and_get_speak_of_documents(judged):
    store, _ = judged
    documents, *_ = passages_of(25)
    assert store.count("demo") == store.describe("demo").count == 25
    assert store.count("demo", languages("eng_Latn")) == 9
    assert sum(store.languages("demo").values()) == 25
    assert store.get("demo", [d.doc_id for d in documents]) == documents


def test_document_that_has_one_passage_shows_none(store):
    store.create("demo", DIM, "m")
    store.upsert(
        "demo", [Document("a", "abc"), Document("b", "abc")], BASIS[:2], [[(0, 3)], [(1, 2)]]
    )
    hits = store.search("demo", BASIS[:1], 5)[0]
    assert [(hit.document.doc_id, hit.span) for hit in hits] == [("a", None), ("b", None)]


def test_best_passage_is_the_first_of_those_that_score_alike(store):
    store.create("demo", DIM, "m")
    rows = np.concatenate([BASIS[1:2], BASIS[:1], BASIS[:1]])
    spans = [[(0, 4), (2, 6), (4, 8)]]
    store.upsert("demo", [Document("a", "überüber")], rows, spans)
    (hit,) = store.search("demo", BASIS[:1], 5)[0]
    assert (hit.span, hit.rank) == ((2, 6), 1)
    assert hit.score == pytest.approx(1.0, abs=1e-6)


def test_documents_of_many_near_passages_leave_no_other_out(store):
    """A hundred passages of one document are nearer than any of the others."""
    store.create("demo", DIM, "m")
    near = unit(BASIS[:1] + 0.001 * np.random.default_rng(0).normal(size=(100, DIM)))
    text = "x" * 100
    store.upsert("demo", [Document("long", text)], near, [[(i, i + 1) for i in range(100)]])
    others = [Document(f"o{i}", "other") for i in range(12)]
    rows = unit(BASIS[1:2] + 0.3 * np.random.default_rng(1).normal(size=(12, DIM)))
    store.upsert("demo", others, rows)
    for top_k in (1, 2, 5, 13, 50):
        hits = store.search("demo", BASIS[:1], top_k)[0]
        assert len(hits) == min(top_k, 13)
        assert hits[0].document.doc_id == "long"
        assert len({hit.document.doc_id for hit in hits}) == len(hits)


def test_upsert_fewer_passages_leaves_none_behind(store):
    store.create("demo", DIM, "m")
    before = Document("a", "one two three")
    store.upsert("demo", [before], BASIS[:3], [[(0, 3), (4, 7), (8, 13)]])
    after = Document("a", "new")
    assert store.upsert("demo", [after], BASIS[3:4]) == 1
    for row in range(4):
        (hit,) = store.search("demo", BASIS[row : row + 1], 10)[0]
        assert (hit.document, hit.span) == (after, None)
        assert hit.score == pytest.approx(float(row == 3), abs=1e-6)
    assert store.match("demo", ["one", "two", "three"], 5) == [[], [], []]
    assert [hit.document for hit in store.match("demo", ["new"], 5)[0]] == [after]
    assert store.count("demo") == 1
    page = store.scan("demo", vectors=True)
    assert (page.spans, len(page.vectors)) == ([[(0, 3)]], 1)


def test_upsert_more_passages_adds_them(store):
    store.create("demo", DIM, "m")
    store.upsert("demo", [Document("a", "one")], BASIS[:1])
    store.upsert("demo", [Document("a", "one two")], BASIS[1:3], [[(0, 3), (4, 7)]])
    assert store.search("demo", BASIS[:1], 5)[0][0].score == pytest.approx(0.0, abs=1e-6)
    assert store.search("demo", BASIS[2:3], 5)[0][0].span == (4, 7)
    assert store.count("demo") == 1


def test_delete_takes_all_passages(store):
    documents, vectors, spans = passages_of(6)
    store.create("demo", DIM, "m")
    store.upsert("demo", documents, vectors, spans)
    assert store.delete("demo", ["p01", "p02"]) == 2
    assert store.delete_where("demo", In("doc_id", ("p03",))) == 1
    found = {hit.document.doc_id for hit in store.search("demo", vectors[:1], 100)[0]}
    assert found == {"p00", "p04", "p05"}
    assert sum(map(len, store.scan("demo").spans)) == sum(len(spans[i]) for i in (0, 4, 5))


def test_duplicates_of_several_passages_in_one_call_the_last_wins(store):
    store.create("demo", DIM, "m")
    documents = [Document("a", "one two"), Document("b", "b"), Document("a", "last")]
    assert store.upsert("demo", documents, BASIS[:4], [[(0, 3), (4, 7)], [(0, 1)], [(0, 4)]]) == 2
    assert [d.text for d in store.get("demo", ["a", "b"])] == ["last", "b"]
    assert store.search("demo", BASIS[3:4], 1)[0][0].score == pytest.approx(1.0, abs=1e-6)
    assert sum(map(len, store.scan("demo").spans)) == 2


@pytest.mark.parametrize(
    "spans",
    [
        [],
        [[]],
        [[(0, 1)], [(0, 1)]],
        [[(0, 1), (1, 2)]],
        [[(0, 5)]],
        [[(-1, 2)]],
        [[(2, 1)]],
        [[(0, 1)] * (MAX_SPANS + 1)],
    ],
)
def test_passages_that_do_not_fit_are_refused(steady, spans):
    with pytest.raises(InvalidInputError):
        steady.upsert("demo", [Document("new", "text")], vectors_of(1), spans)
    assert steady.get("demo", ["new"]) == []


def test_most_passages_that_can_be_are_stored_and_searched(store):
    store.create("demo", DIM, "m")
    text = "y" * MAX_SPANS
    rows = vectors_of(MAX_SPANS, seed=4)
    store.upsert("demo", [Document("a", text)], rows, [[(i, i + 1) for i in range(MAX_SPANS)]])
    store.upsert("demo", [Document("b", "b")], BASIS[:1])
    found = store.search("demo", rows[[5, 1000]], 2)
    assert [hits[0].span for hits in found] == [(5, 6), (1000, 1001)]
    assert [len(hits) for hits in found] == [2, 2]
    assert store.delete("demo", ["a"]) == 1
    assert [hit.document.doc_id for hit in store.search("demo", rows[:1], 5)[0]] == ["b"]
