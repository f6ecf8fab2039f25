"""What every engine must do, with a plain store in memory as the judge: collections, documents.

The suite is all of ``test_store_contract*.py``; engines are registered in ``engines.py``.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import ConflictError, InvalidInputError, NotFoundError, NotReadyError
from app.retrieval.documents import Document
from app.retrieval.filters import languages
from app.retrieval.store import MAX_TOP_K

from .contract_data import BAD_NAMES, DIM, corpus, vectors_of


def test_create_twice_with_the_same_model_returns_what_is_there(steady):
    assert steady.create("demo", DIM, "model@1").count == 60
    assert [c.name for c in steady.collections()] == ["demo"]


@pytest.mark.parametrize(("dim", "model"), [(DIM + 1, "model@1"), (DIM, "model@2")])
def test_create_with_another_dim_or_model_conflicts(steady, dim, model):
    with pytest.raises(ConflictError, match=r"dim 8|model@1"):
        steady.create("demo", dim, model)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_any_call_with_a_bad_name_is_refused_and_writes_nothing(steady, tmp_path, name):
    store = steady
    documents, vectors = corpus(1)
    for call in (
        lambda: store.create(name, DIM, "m"),
        lambda: store.describe(name),
        lambda: store.drop(name),
        lambda: store.upsert(name, documents, vectors),
        lambda: store.delete(name, ["a"]),
        lambda: store.get(name, ["a"]),
        lambda: store.count(name),
        lambda: store.search(name, vectors, 1),
        lambda: store.flush(name),
        lambda: store.snapshot(name, tmp_path / "copies"),
    ):
        with pytest.raises(InvalidInputError, match="collection name"):
            call()
    assert [c.name for c in store.collections()] == ["demo"]
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("dim", [0, -1, 10**6, True, 1.5])
def test_create_with_an_impossible_dim_is_refused(steady, dim):
    with pytest.raises(InvalidInputError, match="dim"):
        steady.create("demo", dim, "m")


def test_any_call_on_a_missing_collection_says_so(steady, tmp_path):
    store = steady
    documents, vectors = corpus(1)
    for call in (
        lambda: store.describe("none"),
        lambda: store.drop("none"),
        lambda: store.upsert("none", documents, vectors),
        lambda: store.delete("none", ["a"]),
        lambda: store.get("none", ["a"]),
        lambda: store.count("none"),
        lambda: store.search("none", vectors, 1),
        lambda: store.flush("none"),
        lambda: store.snapshot("none", tmp_path),
    ):
        with pytest.raises(NotFoundError, match="none"):
            call()


def test_collections_several_are_listed_by_name_and_dropped_alone(store):
    for name in ("b", "a", "c"):
        store.create(name, DIM, f"model@{name}")
    store.drop("b")
    assert [(c.name, c.model, c.dim, c.count) for c in store.collections()] == [
        ("a", "model@a", DIM, 0),
        ("c", "model@c", DIM, 0),
    ]
    assert store.create("b", DIM + 1, "other").count == 0


def test_upsert_document_comes_back_as_it_went_in(store):
    store.create("demo", DIM, "m")
    documents = [
        Document(
            "ümläut/..%00\n", "नमस्ते \U0001f30d\0", "hin_Deva", {"big": 2**70, "f": 0.1, "": ""}
        ),
        Document("x" * 512, "", None, {"yes": True, "one": 1, "float": 1.0, "small": 5e-324}),
        Document("плохо", "e\u0301 é", "rus_Cyrl", {"min": -(2**63), "text": "\u202e\ufeff"}),
    ]
    assert store.upsert("demo", documents, vectors_of(3)) == 3
    found = store.get("demo", [d.doc_id for d in reversed(documents)])
    assert found == documents[::-1]
    types = [[type(value) for value in d.metadata.values()] for d in found]
    assert types == [[type(value) for value in d.metadata.values()] for d in documents[::-1]]


def test_upsert_again_replaces_the_whole_document(filled):
    old, new = vectors_of(60)[3], vectors_of(1, seed=9)
    assert filled.upsert("demo", [Document("d3", "new", None, {"other": 1})], new) == 1
    assert filled.count("demo") == 60
    assert filled.get("demo", ["d3"]) == [Document("d3", "new", None, {"other": 1})]
    assert filled.search("demo", new, 1)[0][0].document.doc_id == "d3"
    scores = {h.document.doc_id: h.score for h in filled.search("demo", old[None], 60)[0]}
    assert scores["d3"] == pytest.approx(float(old @ new[0]), abs=1e-6)


def test_upsert_duplicates_in_one_call_the_last_wins(store):
    store.create("demo", DIM, "m")
    documents = [Document("a", "first"), Document("b", "b"), Document("a", "last")]
    vectors = vectors_of(3)
    assert store.upsert("demo", documents, vectors) == 2
    assert store.count("demo") == 2
    assert store.get("demo", ["a"])[0].text == "last"
    assert store.search("demo", vectors[2:], 1)[0][0].score == pytest.approx(1.0, abs=1e-6)


def test_upsert_nothing_writes_nothing(steady):
    assert steady.upsert("demo", [], np.empty((0, DIM), dtype=np.float32)) == 0
    assert steady.count("demo") == 60


@pytest.mark.parametrize(
    "vectors",
    [
        np.ones((1, DIM + 1), np.float32),
        np.ones((2, DIM), np.float32),
        np.ones(DIM, np.float32),
        np.zeros((1, DIM), np.float32),
        np.full((1, DIM), np.nan, np.float32),
        np.full((1, DIM), np.inf, np.float32),
    ],
)
def test_upsert_vectors_that_do_not_fit_are_refused(steady, vectors):
    with pytest.raises(InvalidInputError):
        steady.upsert("demo", [Document("new", "text")], vectors)
    assert steady.count("demo") == 60


@pytest.mark.parametrize(
    "document",
    [
        Document("", "text"),
        Document("x" * 513, "text"),
        Document("é" * 257, "text"),
        Document("\ud800", "text"),
        Document("a", "\udfff"),
        Document("a", "text", ""),
        Document("a", "text", "\ud800"),
        Document("a", "text", None, {"x": float("nan")}),
        Document("a", "text", None, {"x": float("inf")}),
        Document("a", "text", None, {"x": "\ud800"}),
        Document("a", "text", None, {"\ud800": 1}),
        Document("a", "text", None, {"x": None}),  # pyright: ignore[reportArgumentType]
        Document("a", "text", None, {"x": [1]}),  # pyright: ignore[reportArgumentType]
    ],
)
def test_upsert_document_that_cannot_be_stored_refuses_the_whole_call(steady, document):
    with pytest.raises(InvalidInputError):
        steady.upsert("demo", [Document("good", "text"), document], vectors_of(2))
    assert steady.count("demo") == 60
    assert steady.get("demo", ["good"]) == []


def test_delete_counts_what_was_there_and_hides_it(filled):
    assert filled.delete("demo", ["d1", "d2", "none", "d1"]) == 2
    assert filled.delete("demo", ["d1"]) == 0
    assert filled.delete("demo", []) == 0
    assert filled.count("demo") == 58
    assert filled.get("demo", ["d1", "d3"]) == [corpus(4)[0][3]]
    hits = filled.search("demo", vectors_of(60)[1:2], 60)[0]
    assert len(hits) == 58
    assert not {"d1", "d2"} & {hit.document.doc_id for hit in hits}


def test_reopen_after_close_finds_everything(open_store, tmp_path):
    documents, vectors = corpus(60)
    store = open_store(tmp_path)
    store.create("demo", DIM, "model@1")
    store.create("empty", 3, "model@2")
    store.upsert("demo", documents, vectors)
    store.delete("demo", ["d5"])
    before = store.search("demo", vectors[:5], 10)
    store.close()
    again = open_store(tmp_path)
    try:
        assert [(c.name, c.dim, c.model, c.count) for c in again.collections()] == [
            ("demo", DIM, "model@1", 59),
            ("empty", 3, "model@2", 0),
        ]
        assert again.search("demo", vectors[:5], 10) == before
        assert again.get("demo", ["d5", "d6"]) == [documents[6]]
    finally:
        again.close()


def test_flush_changes_no_result(steady):
    before = steady.search("demo", vectors_of(3), 10)
    steady.flush("demo")
    assert steady.search("demo", vectors_of(3), 10) == before


def test_close_twice_is_harmless_and_later_calls_say_so(open_store, tmp_path):
    store = open_store(tmp_path)
    store.create("demo", DIM, "m")
    store.close()
    store.close()
    for call in (lambda: store.count("demo"), store.collections, lambda: store.create("x", 2, "m")):
        with pytest.raises(NotReadyError, match="closed"):
            call()


SCALAR = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
)


@pytest.fixture(scope="module")
def module_store(open_store, tmp_path_factory):
    store = open_store(tmp_path_factory.mktemp("module"))
    store.create("demo", DIM, "m")
    yield store
    store.close()


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    doc_id=st.text(min_size=1, max_size=100),
    text=st.text(max_size=200),
    lang=st.one_of(st.none(), st.text(min_size=1, max_size=10)),
    metadata=st.dictionaries(st.text(max_size=10), SCALAR, max_size=5),
)
def test_upsert_any_document_comes_back_equal(module_store, doc_id, text, lang, metadata):
    document = Document(doc_id, text, lang, metadata)
    module_store.upsert("demo", [document], vectors_of(1))
    assert module_store.get("demo", [doc_id]) == [document]
    if lang:
        hits = module_store.search("demo", vectors_of(1), MAX_TOP_K, languages(lang))[0]
        assert doc_id in [hit.document.doc_id for hit in hits]
