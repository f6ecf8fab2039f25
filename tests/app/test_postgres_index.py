"""HNSW: when it is built, that it survives accidents, and that filters keep their recall."""

import threading
import time

import numpy as np
import psycopg
import pytest

from app.errors import NotFoundError
from app.retrieval.documents import Document
from app.retrieval.filters import In, Not, languages
from app.retrieval.postgres import indexes, nearest, words
from app.retrieval.postgres.store import PostgresStore

from .contract_data import vectors_of
from .reference_store import ReferenceStore

pytestmark = pytest.mark.postgres
DIM = 32
COUNT = 12_000
SHARES = {"one_Latn": 0.01, "five_Latn": 0.05, "twenty_Arab": 0.2, "rest_Latn": 0.74}


def clustered(count, seed):
    """Rows around centers that all seeds share."""
    centers = np.random.default_rng(0).normal(size=(200, DIM))
    rng = np.random.default_rng(seed)
    rows = centers[rng.integers(0, len(centers), count)] + 0.7 * rng.normal(size=(count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def large(postgres):
    """A collection with its index, and what it is made of."""
    rng = np.random.default_rng(1)
    langs = rng.choice(list(SHARES), p=list(SHARES.values()), size=COUNT)
    documents = [Document(f"d{i}", f"word{i % 97}", str(langs[i])) for i in range(COUNT)]
    vectors = clustered(COUNT, 1)
    with postgres.database() as url, pytest.MonkeyPatch.context() as patched:
        patched.setattr(nearest, "EXACT_PASSAGES", 2_000)
        patched.setattr(indexes, "EXACT_PASSAGES", 2_000)
        store = PostgresStore.open(url)
        store.create("demo", DIM, "m")
        for start in range(0, COUNT, 2000):
            store.upsert("demo", documents[start : start + 2000], vectors[start : start + 2000])
        assert not is_indexed(url)
        store.flush("demo")
        assert is_indexed(url)
        yield store, url, vectors, langs
        store.close()


def is_indexed(url):
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT indisvalid FROM pg_index WHERE indexrelid ="
            " to_regclass('tyntegra.passages_1_hnsw')"
        ).fetchone()
    return found == (True,)


def recall(found, vectors, queries, allowed, top_k):
    scores = np.where(allowed, queries @ vectors.T, -2)
    ideal = np.argsort(-scores, axis=1)[:, : min(top_k, int(allowed.sum()))]
    kept = [
        len({int(hit.document.doc_id[1:]) for hit in hits} & set(map(int, best)))
        for hits, best in zip(found, ideal, strict=True)
    ]
    return sum(kept) / ideal.size


@pytest.mark.parametrize(
    ("top_k", "exact_filtered"), [(10, nearest.EXACT_FILTERED), (10, 50), (100, 1000)]
)
@pytest.mark.parametrize("lang", [None, *SHARES])
def test_search_by_hnsw_finds_nearly_all_with_and_without_filters(
    large, monkeypatch, lang, top_k, exact_filtered
):
    store, _, vectors, langs = large
    monkeypatch.setattr(nearest, "EXACT_FILTERED", exact_filtered)
    queries = clustered(30, 2)
    allowed = np.full(COUNT, True) if lang is None else langs == lang
    found = store.search("demo", queries, top_k, languages(lang) if lang else None)
    assert all(len(hits) == min(top_k, allowed.sum()) for hits in found)
    assert recall(found, vectors, queries, allowed, top_k) >= 0.98
    for hits in found:
        assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
        assert sorted((-hit.score, hit.document.doc_id) for hit in hits) == [
            (-hit.score, hit.document.doc_id) for hit in hits
        ]


def test_search_exact_compares_all(large):
    store, _, vectors, langs = large
    queries = clustered(20, 3)
    every = np.full(COUNT, True)
    assert recall(store.search("demo", queries, 50, exact=True), vectors, queries, every, 50) == 1
    where = Not(In("lang", ("rest_Latn",)))
    found = store.search("demo", queries, 50, where, exact=True)
    assert recall(found, vectors, queries, langs != "rest_Latn", 50) == 1


@pytest.mark.parametrize("offset", [10, 500, 10_000])
def test_search_pages_by_offset_follow_each_other(large, offset):
    store, *_ = large
    query = clustered(1, 4)
    page = store.search("demo", query, 100, offset=offset)[0]
    assert [hit.rank for hit in page] == list(range(offset + 1, offset + 101))
    every = store.search("demo", query, 1000, offset=offset)[0]
    same = {hit.document.doc_id for hit in page} & {hit.document.doc_id for hit in every[:100]}
    assert len(same) >= 98


def test_written_after_the_index_is_found_at_once_and_deleted_is_not(large):
    store, *_ = large
    fresh = vectors_of(1, 5).repeat(DIM // 8, axis=1) / np.sqrt(DIM // 8)
    store.upsert("demo", [Document("new", "text")], fresh)
    assert store.search("demo", fresh, 1)[0][0].document.doc_id == "new"
    store.delete("demo", ["new"])
    assert store.search("demo", fresh, 1)[0][0].document.doc_id != "new"


def test_index_is_built_once_in_the_background_by_one_of_several_stores(postgres, monkeypatch):
    monkeypatch.setattr(nearest, "EXACT_PASSAGES", 500)
    monkeypatch.setattr(indexes, "EXACT_PASSAGES", 500)
    monkeypatch.setattr(indexes, "LOOK_S", 0.1)
    built = []
    real = indexes.Upkeep._create
    monkeypatch.setattr(
        indexes.Upkeep,
        "_create",
        lambda self, *args: built.append(threading.get_ident()) or real(self, *args),
    )
    with postgres.database() as url:
        stores = [PostgresStore.open(url) for _ in range(3)]
        stores[0].create("demo", DIM, "m")
        documents = [Document(f"d{i}", "text") for i in range(1000)]
        stores[0].upsert("demo", documents, clustered(1000, 1))
        deadline = time.monotonic() + 30
        while not is_indexed(url):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.3)
        for store in stores:
            store.close()
        assert built


def test_index_whose_build_fails_is_tried_again_later_and_searches_go_on(postgres, monkeypatch):
    monkeypatch.setattr(nearest, "EXACT_PASSAGES", 500)
    monkeypatch.setattr(indexes, "EXACT_PASSAGES", 500)
    monkeypatch.setattr(indexes, "LOOK_S", 0.05)
    monkeypatch.setattr(indexes, "_FIRST_PAUSE_S", 0.3)
    with postgres.database() as url:
        # The name is taken by something that is no index.
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE SCHEMA tyntegra")
            connection.execute("CREATE TABLE tyntegra.passages_1_hnsw ()")
        store = PostgresStore.open(url)
        store.create("demo", DIM, "m")
        rows = clustered(1000, 1)
        store.upsert("demo", [Document(f"d{i}", "text") for i in range(1000)], rows)
        deadline = time.monotonic() + 20
        while sum(store._upkeep._failures.values()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert store.search("demo", rows[:1], 1)[0][0].document.doc_id == "d0"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP TABLE tyntegra.passages_1_hnsw")
        while not is_indexed(url):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        store.close()


def test_index_left_half_built_is_built_again(postgres, monkeypatch):
    monkeypatch.setattr(nearest, "EXACT_PASSAGES", 500)
    monkeypatch.setattr(indexes, "EXACT_PASSAGES", 500)
    with postgres.database() as url:
        store = PostgresStore.open(url)
        store.create("demo", DIM, "m")
        rows = clustered(1000, 1)
        store.upsert("demo", [Document(f"d{i}", "text") for i in range(1000)], rows)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "CREATE INDEX passages_1_hnsw ON tyntegra.passages_1 "
                "USING hnsw ((vector::halfvec(32)) halfvec_ip_ops)"
            )
            connection.execute(
                "UPDATE pg_index SET indisvalid = false "
                "WHERE indexrelid = 'tyntegra.passages_1_hnsw'::regclass"
            )
        assert not is_indexed(url)
        assert store.search("demo", rows[:1], 1)[0][0].document.doc_id == "d0"
        store.flush("demo")
        assert is_indexed(url)
        store.close()


def test_drop_during_a_build_does_not_wait_for_it(postgres, monkeypatch):
    monkeypatch.setattr(nearest, "EXACT_PASSAGES", 500)
    monkeypatch.setattr(indexes, "EXACT_PASSAGES", 500)
    with postgres.database() as url:
        store, other = PostgresStore.open(url), PostgresStore.open(url)
        store.create("demo", DIM, "m")
        rows = clustered(8000, 1)
        store.upsert("demo", [Document(f"d{i}", "text") for i in range(8000)], rows)
        ended = []

        def build():
            try:
                store.flush("demo")
            except Exception as error:
                ended.append(error)

        builder = threading.Thread(target=build)
        builder.start()
        with psycopg.connect(url, autocommit=True) as connection:
            while not connection.execute(
                "SELECT FROM pg_stat_progress_create_index WHERE relid > 0"
            ).fetchall():
                assert builder.is_alive()
        began = time.monotonic()
        other.drop("demo")
        assert time.monotonic() - began < 3
        builder.join(20)
        with pytest.raises(NotFoundError):
            store.describe("demo")
        store.close()
        other.close()


def test_close_during_a_build_cancels_it(postgres, monkeypatch):
    monkeypatch.setattr(nearest, "EXACT_PASSAGES", 500)
    monkeypatch.setattr(indexes, "EXACT_PASSAGES", 500)
    monkeypatch.setattr(indexes, "LOOK_S", 0.1)
    with postgres.database() as url:
        store = PostgresStore.open(url)
        store.create("demo", DIM, "m")
        rows = clustered(8000, 1)
        store.upsert("demo", [Document(f"d{i}", "text") for i in range(8000)], rows)
        deadline = time.monotonic() + 20
        while store._upkeep._building is None:
            assert time.monotonic() < deadline
        began = time.monotonic()
        store.close()
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("where", [None, languages("a_Latn"), languages("b_Latn")])
@pytest.mark.parametrize("grouped", [False, True])
def test_match_that_begins_with_rare_words_agrees_with_the_judge(
    postgres, monkeypatch, where, grouped
):
    monkeypatch.setattr(words, "_RARE_POSTINGS", 60)
    monkeypatch.setattr(words, "_MIN_CANDIDATES", 20)
    monkeypatch.setattr(words, "_SLACK", 2)
    rng = np.random.default_rng(4)
    share = 1 / np.arange(1, 301)
    texts = [
        " ".join(f"w{word}" for word in rng.choice(300, p=share / share.sum(), size=12))
        for _ in range(400)
    ]
    langs = rng.choice(["a_Latn", "b_Latn"], p=[0.9, 0.1], size=400)
    documents = [Document(f"d{i}", text, str(langs[i])) for i, text in enumerate(texts)]
    spans = [
        [(0, text.index(" w", 12)), (text.index(" w", 12), len(text))][: 1 + grouped * (i % 2)]
        for i, text in enumerate(texts)
    ]
    vectors = clustered(sum(map(len, spans)), 0)
    judge = ReferenceStore()
    queries = [" ".join(f"w{w}" for w in rng.choice(300, size=4)) for _ in range(30)]
    queries += ["w0", "w0 w1 w2", "w0 w299", "w250 w299"]
    with postgres.database() as url:
        store = PostgresStore.open(url)
        for each in (judge, store):
            each.create("demo", DIM, "m")
            each.upsert("demo", documents, vectors, spans)
        for top_k, offset in ((1, 0), (10, 0), (10, 15), (400, 0)):
            expected = judge.match("demo", queries, top_k, where, offset=offset)
            found = store.match("demo", queries, top_k, where, offset=offset)
            for ours, theirs in zip(found, expected, strict=True):
                assert [h.score for h in ours] == pytest.approx([h.score for h in theirs], rel=1e-6)
                assert [(h.rank, h.document.doc_id, h.span) for h in ours] == [
                    (h.rank, h.document.doc_id, h.span) for h in theirs
                ]
        store.close()
