"""What every engine must do: the same suite for all of them, with a plain dict as the judge."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from app.errors import ConflictError, InvalidInputError, NotFoundError, NotReadyError
from app.retrieval.documents import Document
from app.retrieval.edge import EdgeStore
from app.retrieval.filters import languages
from app.retrieval.store import MAX_TOP_K, VectorStore

DIM = 8
ENGINES = {"edge": lambda root: EdgeStore.open(root, reserve_bytes=0)}
BAD_NAMES = [
    "", ".", "..", "../x", "a/b", "/etc", "a\\b", "A", "ä", "a b", "-a", "_a", "a\n", "a\0",
    "x" * 65, "%2e%2e", "a.b", "․․", "ａ", "store.lock",
]  # fmt: skip


@pytest.fixture(params=sorted(ENGINES))
def open_store(request):
    return ENGINES[request.param]


@pytest.fixture
def store(open_store, tmp_path):
    opened: VectorStore = open_store(tmp_path / "root")
    yield opened
    opened.close()


@pytest.fixture
def filled(store):
    return fill(store)


@pytest.fixture(scope="module", params=sorted(ENGINES))
def steady(request, tmp_path_factory):
    """A filled store that many tests share and none changes."""
    opened: VectorStore = ENGINES[request.param](tmp_path_factory.mktemp("steady"))
    yield fill(opened)
    opened.close()


def fill(store):
    store.create("demo", DIM, "model@1")
    store.upsert("demo", *corpus(60))
    return store


def unit(rows):
    array = np.asarray(rows, dtype=np.float64)
    return (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)


def vectors_of(n, seed=0):
    return unit(np.random.default_rng(seed).normal(size=(n, DIM)))


def corpus(n, seed=0):
    langs = ["eng_Latn", "swh_Latn", None]
    documents = [
        Document(f"d{i}", f"text {i}", langs[i % 3], {"n": i, "even": i % 2 == 0}) for i in range(n)
    ]
    return documents, vectors_of(n, seed)


def expected_ids(documents, vectors, query, top_k, langs=()):
    """Brute force: falling score, then rising doc_id."""
    scored = [
        (-float(vector @ query), document.doc_id)
        for document, vector in zip(documents, vectors, strict=True)
        if not langs or document.lang in langs
    ]
    return [doc_id for _, doc_id in sorted(scored)[:top_k]]


def test_create_twice_with_the_same_model_returns_what_is_there(steady):
    assert steady.create("demo", DIM, "model@1").count == 60
    assert [c.name for c in steady.collections()] == ["demo"]


@pytest.mark.parametrize(("dim", "model"), [(DIM + 1, "model@1"), (DIM, "model@2")])
def test_create_with_another_dim_or_model_conflicts(steady, dim, model):
    with pytest.raises(ConflictError, match="model@1"):
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


@pytest.mark.parametrize("top_k", [1, 7, 60, MAX_TOP_K])
@pytest.mark.parametrize("langs", [(), ("eng_Latn",), ("eng_Latn", "swh_Latn"), ("xxx_Latn",)])
def test_search_any_top_k_and_filter_equals_brute_force(steady, top_k, langs):
    documents, vectors = corpus(60)
    queries = vectors_of(4, seed=5)
    found = steady.search("demo", queries, top_k, languages(*langs) if langs else None)
    for query, hits in zip(queries, found, strict=True):
        ids = [hit.document.doc_id for hit in hits]
        assert ids == expected_ids(documents, vectors, query, top_k, langs)
        assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
        for hit in hits:
            assert hit.document == documents[int(hit.document.doc_id[1:])]
            assert hit.score == pytest.approx(
                float(query @ vectors[int(hit.document.doc_id[1:])]), abs=1e-6
            )


def test_search_equal_scores_are_ordered_by_doc_id_at_every_cut(store):
    store.create("demo", DIM, "m")
    names = [f"t{i:03d}" for i in np.random.default_rng(0).permutation(200)]
    same = np.repeat(vectors_of(1), 200, axis=0)
    store.upsert("demo", [Document(name, "same") for name in names], same)
    for top_k in (1, 2, 50, 199, 200, 300):
        hits = store.search("demo", same[:1], top_k)[0]
        assert [hit.document.doc_id for hit in hits] == sorted(names)[:top_k]
        assert all(-1.0 <= hit.score <= 1.0 for hit in hits)


def test_search_empty_collection_and_no_queries_give_no_hits(store):
    store.create("demo", DIM, "m")
    assert store.search("demo", vectors_of(2), 5) == [[], []]
    assert store.search("demo", np.empty((0, DIM), np.float32), 5) == []


def test_search_alone_and_in_a_batch_give_the_same_hits(steady):
    queries = vectors_of(8, seed=3)
    alone = [steady.search("demo", query[None], 10)[0] for query in queries]
    assert steady.search("demo", queries, 10) == alone


@pytest.mark.parametrize("top_k", [0, -1, MAX_TOP_K + 1, True, 1.0])
def test_search_impossible_top_k_is_refused(steady, top_k):
    with pytest.raises(InvalidInputError, match="top_k"):
        steady.search("demo", vectors_of(1), top_k)


@pytest.mark.parametrize("queries", [np.ones((1, DIM - 1)), np.zeros((1, DIM)), np.ones(DIM)])
def test_search_vectors_that_do_not_fit_are_refused(steady, queries):
    with pytest.raises(InvalidInputError):
        steady.search("demo", queries.astype(np.float32), 1)


def test_search_filter_with_a_lone_surrogate_is_refused(steady):
    with pytest.raises(InvalidInputError, match="surrogate"):
        steady.search("demo", vectors_of(1), 1, languages("\ud800"))


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


IDS = st.sampled_from([f"id{i}" for i in range(12)])
LANGS = st.sampled_from([None, "eng_Latn", "swh_Latn"])
ENTRY = st.tuples(IDS, st.text(max_size=5), LANGS, st.integers(0, 39))
POOL = np.concatenate([vectors_of(30, seed=42), vectors_of(10, seed=42)])  # Ten exact duplicates


class Program(RuleBasedStateMachine):
    """Random programs against an engine and a dict; they must agree after every step."""

    engine = "edge"
    numbers = itertools.count()

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = ENGINES[self.engine](Path(self.folder.name))
        self.model: dict[str, tuple[Document, int]] = {}

    @initialize()
    def create(self):
        self.store.create("demo", DIM, "m")

    @rule(entries=st.lists(ENTRY, max_size=8))
    def upsert(self, entries):
        documents = [Document(i, text, lang, {"v": v}) for i, text, lang, v in entries]
        wrote = self.store.upsert(
            "demo", documents, POOL[[v for *_, v in entries]].reshape(-1, DIM)
        )
        assert wrote == len({d.doc_id for d in documents})
        self.model |= {d.doc_id: (d, v) for d, (*_, v) in zip(documents, entries, strict=True)}

    @rule(ids=st.lists(IDS, max_size=5))
    def delete(self, ids):
        assert self.store.delete("demo", ids) == len(set(ids) & self.model.keys())
        for doc_id in ids:
            self.model.pop(doc_id, None)

    @rule(number=st.integers(0, 39), top_k=st.integers(1, 15), langs=st.sets(LANGS, max_size=2))
    def search(self, number, top_k, langs):
        wanted = tuple(lang for lang in langs if lang)
        hits = self.store.search(
            "demo", POOL[number][None], top_k, languages(*wanted) if wanted else None
        )[0]
        documents = [document for document, _ in self.model.values()]
        vectors = [POOL[v] for _, v in self.model.values()]
        ids = expected_ids(documents, vectors, POOL[number], top_k, wanted)
        assert [hit.document.doc_id for hit in hits] == ids

    @rule(ids=st.lists(IDS, max_size=5))
    def get(self, ids):
        expected = [self.model[i][0] for i in ids if i in self.model]
        assert self.store.get("demo", ids) == expected

    @rule()
    def recreate(self):
        self.store.drop("demo")
        self.store.create("demo", DIM, "m")
        self.model.clear()

    @rule()
    def flush(self):
        self.store.flush("demo")

    @rule()
    def reopen(self):
        self.store.close()
        self.store = ENGINES[self.engine](Path(self.folder.name))

    @invariant()
    def counts_agree(self):
        if self.store.collections():
            assert self.store.count("demo") == len(self.model)

    def teardown(self):
        self.store.close()
        self.folder.cleanup()


Program.TestCase.settings = settings(
    max_examples=6,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestEdgePrograms = Program.TestCase


SCALAR = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
)


@pytest.fixture(scope="module")
def module_store(tmp_path_factory):
    store = EdgeStore.open(tmp_path_factory.mktemp("module"), reserve_bytes=0)
    store.create("demo", DIM, "m")
    yield store
    store.close()


@settings(max_examples=150, deadline=None)
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
