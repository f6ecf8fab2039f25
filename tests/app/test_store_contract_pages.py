"""What every engine must do: offsets, exact searches, scans, counts, deletion by filter, sizes."""

import numpy as np
import pytest

from app.errors import InvalidInputError, ServiceError
from app.retrieval.documents import Document
from app.retrieval.filters import Any, In, Not, Range, languages
from app.retrieval.store import MAX_OFFSET, MAX_TOP_K

from .contract_data import DIM, LANGS, corpus, expected_ids, vectors_of


def pages(store, limit, **options):
    after, count = None, 0
    while True:
        page = store.scan("demo", after, limit, **options)
        assert len(page.documents) == len(page.spans) <= limit
        yield page
        count += 1
        if page.next is None:
            return
        assert isinstance(page.next, str)
        assert count < 1000
        after = page.next


@pytest.mark.parametrize("offset", [0, 1, 7, 59, 60, 61, MAX_OFFSET])
@pytest.mark.parametrize("exact", [False, True])
def test_search_offset_leaves_out_the_top(steady, offset, exact):
    documents, vectors = corpus(60)
    query = vectors_of(2, seed=8)
    for row, hits in zip(
        query, steady.search("demo", query, 9, offset=offset, exact=exact), strict=True
    ):
        ids = expected_ids(documents, vectors, row, 60)[offset : offset + 9]
        assert [hit.document.doc_id for hit in hits] == ids
        assert [hit.rank for hit in hits] == list(range(offset + 1, offset + 1 + len(ids)))


def test_search_page_by_page_gives_the_whole_ranking_once(store):
    store.create("demo", DIM, "m")
    same = np.repeat(vectors_of(3), 20, axis=0)  # Three groups of equal scores
    names = [f"t{i:02}" for i in np.random.default_rng(3).permutation(60)]
    store.upsert("demo", [Document(name, "x") for name in names], same)
    query = vectors_of(1, seed=2)
    whole = store.search("demo", query, 60)[0]
    paged = [
        hit
        for offset in range(0, 60, 7)
        for hit in store.search("demo", query, 7, offset=offset)[0]
    ]
    assert paged == whole
    assert len({hit.document.doc_id for hit in whole}) == 60


@pytest.mark.parametrize("where", [languages("eng_Latn"), Range("metadata.n", gte=10, lt=50)])
def test_search_exact_is_brute_force_with_a_filter(steady, where):
    query = vectors_of(3, seed=6)
    assert steady.search("demo", query, MAX_TOP_K, where, exact=True) == steady.search(
        "demo", query, MAX_TOP_K, where
    )


@pytest.mark.parametrize("offset", [-1, MAX_OFFSET + 1, True, 1.0, None])
def test_impossible_offset_is_refused(steady, offset):
    for call in (
        lambda: steady.search("demo", vectors_of(1), 1, offset=offset),
        lambda: steady.match("demo", ["text"], 1, offset=offset),
    ):
        with pytest.raises(InvalidInputError, match="offset"):
            call()


@pytest.mark.parametrize("limit", [1, 7, 60, 1000])
def test_scan_gives_each_document_once_with_its_vectors(steady, limit):
    documents, vectors = corpus(60)
    found = {}
    for page in pages(steady, limit, vectors=True):
        assert page.vectors is not None
        assert page.vectors.shape == (len(page.documents), DIM)
        assert page.vectors.dtype == np.float32
        for document, spans, row in zip(page.documents, page.spans, page.vectors, strict=True):
            assert document.doc_id not in found
            assert spans == [(0, len(document.text))]
            found[document.doc_id] = (document, row)
    assert len(found) == 60
    for document, vector in zip(documents, vectors, strict=True):
        assert found[document.doc_id][0] == document
        np.testing.assert_allclose(found[document.doc_id][1], vector, atol=1e-6)


def test_scan_without_vectors_gives_none(steady):
    page = steady.scan("demo")
    assert page.vectors is None
    assert (len(page.documents), page.next) == (60, None)


def test_scan_keeps_a_documents_passages_together_and_in_order(store):
    store.create("demo", DIM, "m")
    text = "".join(chr(97 + i) for i in range(20))
    documents = [Document(f"d{i}", text) for i in range(9)]
    spans = [[(p, p + 1 + i) for p in range(i + 1)] for i in range(9)]
    rows = vectors_of(sum(map(len, spans)), seed=3)
    store.upsert("demo", documents, rows, spans)
    firsts = np.cumsum([0, *map(len, spans)])
    for limit in (1, 2, 4, 9, 50):
        seen = {}
        for page in pages(store, limit, vectors=True):
            first = 0
            for document, some in zip(page.documents, page.spans, strict=True):
                assert document.doc_id not in seen
                seen[document.doc_id] = (some, page.vectors[first : first + len(some)])
                first += len(some)
            assert first == len(page.vectors)
        assert len(seen) == 9
        for i in range(9):
            some, vectors = seen[f"d{i}"]
            assert some == spans[i]
            np.testing.assert_allclose(vectors, rows[firsts[i] : firsts[i + 1]], atol=1e-6)


def test_scan_while_others_write_gives_all_that_stay(store):
    store.create("demo", DIM, "m")
    documents, vectors = corpus(40)
    store.upsert("demo", documents, vectors)
    seen = []
    for step, page in enumerate(pages(store, 6)):
        seen += [document.doc_id for document in page.documents]
        store.upsert("demo", [Document(f"new{step}", "x"), documents[0]], vectors_of(2))
        store.delete("demo", [f"d{30 + step}"])
    assert len(seen) == len(set(seen))
    assert {f"d{i}" for i in range(30)} <= set(seen)


def test_scan_nothing_gives_one_empty_page(store):
    store.create("demo", DIM, "m")
    page = store.scan("demo", vectors=True)
    assert (page.documents, page.spans, page.next) == ([], [], None)
    assert page.vectors is not None
    assert page.vectors.shape == (0, DIM)


@pytest.mark.parametrize("limit", [0, -1, True, 2.0, 10**9])
def test_scan_impossible_limit_is_refused(steady, limit):
    with pytest.raises(InvalidInputError, match="limit"):
        steady.scan("demo", None, limit)


@pytest.mark.parametrize("after", ["", "\0", "d5", "x" * 5000, "{}", "é", "-1"])
def test_scan_after_what_no_page_gave_is_refused_or_answered(steady, after):
    try:
        page = steady.scan("demo", after, 5)
    except ServiceError as error:
        assert isinstance(error, InvalidInputError)  # noqa: PT017  # one of two right outcomes
    else:
        assert len(page.documents) <= 5


def test_count_agrees_with_the_documents(steady):
    documents, _ = corpus(60)
    assert steady.count("demo") == 60
    assert steady.count("demo", languages("eng_Latn")) == 20
    assert steady.count("demo", In("metadata.even", (True,))) == 30
    assert steady.count("demo", Range("metadata.n", gt=10, lte=20)) == 10
    assert steady.count("demo", Not(In("doc_id", ("d1", "d2", "none")))) == 58
    assert len(documents) == 60


def test_delete_where_deletes_what_the_filter_means_and_no_more(filled):
    where = Any((languages("swh_Latn"), Range("metadata.n", lt=10)))
    gone = {d.doc_id for d in corpus(60)[0] if d.lang == "swh_Latn" or int(d.metadata["n"]) < 10}
    assert filled.delete_where("demo", where) == len(gone)
    assert filled.delete_where("demo", where) == 0
    left = {hit.document.doc_id for hit in filled.search("demo", vectors_of(1), 100)[0]}
    assert left == {f"d{i}" for i in range(60)} - gone
    assert filled.count("demo") == len(left) == filled.describe("demo").count
    assert filled.delete_where("demo", Range("metadata.n", gte=0)) == len(left)
    assert filled.count("demo") == 0


def test_languages_are_counted_the_most_frequent_first(store):
    store.create("demo", DIM, "m")
    assert store.languages("demo") == {}
    langs = ["swh_Latn"] * 5 + [None] * 3 + ["eng_Latn"] + ["Ωdd"]
    documents = [Document(f"d{i}", "x", lang) for i, lang in enumerate(langs)]
    store.upsert("demo", documents, vectors_of(10))
    counted = store.languages("demo")
    assert counted == {"swh_Latn": 5, "": 3, "eng_Latn": 1, "Ωdd": 1}
    assert list(counted)[:2] == ["swh_Latn", ""]
    store.delete("demo", ["d0", "d1", "d2", "d9"])
    assert store.languages("demo") == {"": 3, "swh_Latn": 2, "eng_Latn": 1}


def test_languages_count_a_document_of_several_passages_once(store):
    store.create("demo", DIM, "m")
    documents = [Document(f"d{i}", "ab", LANGS[i]) for i in range(3)]
    store.upsert("demo", documents, vectors_of(6), [[(0, 1), (1, 2)]] * 3)
    assert store.languages("demo") == {"eng_Latn": 1, "swh_Latn": 1, "": 1}


def test_size_is_told_in_bytes(steady):
    assert isinstance(steady.size_bytes("demo"), int)
    assert steady.size_bytes("demo") >= 60 * DIM * 4


def test_nothing_is_unavailable(steady):
    assert steady.unavailable() == {}
