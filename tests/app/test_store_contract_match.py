"""What every engine must do: finding words by BM25, with the formula's own scores."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import InvalidInputError
from app.retrieval.documents import Document
from app.retrieval.filters import In, Not, languages
from app.retrieval.lexical import K1, MEAN_LENGTH, B
from app.retrieval.store import MAX_TOP_K

from .contract_data import DIM, LANGS, agree_on_match, vectors_of
from .reference_store import ReferenceStore

WORDS = ["maji", "maji", "safi", "kata", "AB-12.7", "Ωmega", "नमस्ते", "漢字", "ปลา", "rare", "x1"]


def texts_of(n):
    return [" ".join(WORDS[(i * step) % len(WORDS)] for step in range(i % 9)) for i in range(n)]


@pytest.fixture(scope="module")
def judged(open_store, tmp_path_factory):
    store, judge = open_store(tmp_path_factory.mktemp("match")), ReferenceStore()
    documents = [
        Document(f"m{i:02}", text, LANGS[i % 3], {"n": i}) for i, text in enumerate(texts_of(36))
    ]
    spans = [
        [(0, len(d.text) // 2), (len(d.text) // 2, len(d.text))]
        if i % 4 == 0
        else [(0, len(d.text))]
        for i, d in enumerate(documents)
    ]
    for one in (store, judge):
        one.create("demo", DIM, "m")
        one.upsert("demo", documents, vectors_of(sum(map(len, spans))), spans)
    yield store, judge
    store.close()


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    queries=st.lists(
        st.lists(st.sampled_from([*WORDS, "none", "12", "ab", "!"]), max_size=5).map(" ".join),
        min_size=1,
        max_size=3,
    ),
    top_k=st.sampled_from([1, 3, 50]),
    langs=st.sampled_from([(), ("eng_Latn",), ("xxx_Latn",)]),
    offset=st.sampled_from([0, 2]),
)
def test_match_any_query_agrees_with_the_judge(judged, queries, top_k, langs, offset):
    where = languages(*langs) if langs else None
    store, judge = judged
    agree_on_match(store, judge, queries, top_k, where, offset=offset)


def test_match_filters_do_not_change_scores(judged):
    store, _ = judged
    everything = {h.document.doc_id: h.score for h in store.match("demo", ["maji rare"], 100)[0]}
    where = Not(In("metadata.n", tuple(range(0, 30, 2))))
    some = store.match("demo", ["maji rare"], 100, where)[0]
    assert 0 < len(some) < len(everything)
    for hit in some:
        assert hit.score == pytest.approx(everything[hit.document.doc_id], abs=1e-6)


def test_match_scores_are_those_of_the_formula(store):
    store.create("demo", DIM, "m")
    texts = {"a": "maji safi", "b": "maji maji", "c": "kata"}
    store.upsert("demo", [Document(i, text) for i, text in texts.items()], vectors_of(3))
    found = store.match("demo", ["maji maji", "kata", "safi kata"], 5)

    def weight(tf, length):
        return tf * (K1 + 1) / (tf + K1 * (1 - B + B * length / MEAN_LENGTH))

    idf_two, idf_one = math.log(1 + 1.5 / 2.5), math.log(1 + 2.5 / 1.5)
    assert [hit.document.doc_id for hit in found[0]] == ["b", "a"]
    assert found[0][0].score == pytest.approx(2 * idf_two * weight(2, 2), abs=1e-5)
    assert found[0][1].score == pytest.approx(2 * idf_two * weight(1, 2), abs=1e-5)
    assert [(hit.rank, hit.document.doc_id) for hit in found[1]] == [(1, "c")]
    assert found[1][0].score == pytest.approx(idf_one * weight(1, 1), abs=1e-5)
    assert [hit.document.doc_id for hit in found[2]] == ["c", "a"]


def test_match_shows_the_best_passage_of_a_document(store):
    store.create("demo", DIM, "m")
    text = "habari yako maji safi maji safi"
    spans = [(0, 11), (12, 21), (22, 31)]
    store.upsert(
        "demo", [Document("a", text), Document("b", "maji")], vectors_of(4), [spans, [(0, 4)]]
    )
    (hits, others, none) = store.match("demo", ["safi maji", "habari", "none"], 5)
    assert [(hit.document.doc_id, hit.span) for hit in hits] == [("a", (12, 21)), ("b", None)]
    assert [(hit.document.doc_id, hit.span) for hit in others] == [("a", (0, 11))]
    assert none == []


def test_match_equal_texts_are_ordered_by_doc_id_at_every_cut(store):
    store.create("demo", DIM, "m")
    names = [f"t{(i * 7) % 40:02}" for i in range(40)]
    documents = [Document(name, "maji safi") for name in names] + [Document("z", "kata")]
    store.upsert("demo", documents, vectors_of(41))
    for top_k in (1, 2, 20, 39, 40, 50):
        hits = store.match("demo", ["safi"], top_k)[0]
        assert [hit.document.doc_id for hit in hits] == sorted(names)[:top_k]
    paged = [
        hit
        for first in range(0, 40, 7)
        for hit in store.match("demo", ["safi"], 7, offset=first)[0]
    ]
    assert [hit.document.doc_id for hit in paged] == sorted(names)
    assert [hit.rank for hit in paged] == list(range(1, 41))


def test_match_follows_each_write(store):
    store.create("demo", DIM, "m")
    judge = ReferenceStore()
    judge.create("demo", DIM, "m")
    for step, text in enumerate(["maji", "maji safi", "safi safi", "kata", "maji"]):
        for one in (store, judge):
            one.upsert("demo", [Document(f"d{step % 3}", text)], vectors_of(1, seed=step))
        agree_on_match(store, judge, ["maji safi kata"], 5)
    for one in (store, judge):
        assert one.delete("demo", ["d1"]) == 1
    agree_on_match(store, judge, ["maji safi kata"], 5)


def test_match_nothing_finds_nothing(steady, store):
    assert steady.match("demo", ["", "!?", "absent"], 5) == [[], [], []]
    assert steady.match("demo", [], 5) == []
    store.create("empty", DIM, "m")
    assert store.match("empty", ["text"], 5) == [[]]


@pytest.mark.parametrize("top_k", [0, -1, MAX_TOP_K + 1, True])
def test_match_impossible_top_k_is_refused(steady, top_k):
    with pytest.raises(InvalidInputError, match="top_k"):
        steady.match("demo", ["text"], top_k)


def test_match_query_with_a_lone_surrogate_is_refused(steady):
    with pytest.raises(InvalidInputError, match="surrogate"):
        steady.match("demo", ["\ud800"], 1)
