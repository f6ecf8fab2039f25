"""What every engine must do: searching by vectors, against brute force."""

import numpy as np
import pytest

from app.errors import InvalidInputError
from app.retrieval.documents import Document
from app.retrieval.filters import languages
from app.retrieval.store import MAX_TOP_K

from .contract_data import DIM, corpus, expected_ids, vectors_of


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
