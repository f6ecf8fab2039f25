"""What can be asked together, and that pages make up the whole ranking."""

import re

import numpy as np
import pytest

from app.errors import InvalidInputError
from app.retrieval.documents import Document
from app.retrieval.ranking import (
    MAX_SKIPPED,
    MAX_TOKENS,
    Ask,
    Mode,
    Ranker,
    prepare,
    require_sense,
    require_words,
)
from app.retrieval.store import MAX_OFFSET, MAX_TOP_K

from .reference_store import ReferenceStore

LANGS = ("eng_Latn", "swh_Latn", None)


@pytest.fixture(scope="module")
def store() -> ReferenceStore:
    made = ReferenceStore()
    made.create("a", 4, "m")
    rows = np.random.default_rng(0).normal(size=(300, 4))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    documents = [
        Document(f"d{n:03}", f"bus {n % 7} rain {n % 11}", LANGS[n % 3]) for n in range(300)
    ]
    made.upsert("a", documents, rows)
    return made


def ids(ranker: Ranker, query: str = "rain 3 bus") -> list[str]:
    vectors = np.array([[1, 0, 0, 0]], np.float32)
    (found,) = ranker.rank([query], vectors)
    return [one.hit.document.doc_id for one in found]


def ranks(ranker: Ranker) -> list[int]:
    (found,) = ranker.rank(["rain 3 bus"], np.array([[1, 0, 0, 0]], np.float32))
    return [one.hit.rank for one in found]


ASKS = [
    Ask("a", top_k=25),
    Ask("a", top_k=25, exact=True),
    Ask("a", "lexical", top_k=25),
    Ask("a", "hybrid", top_k=25),
    Ask("a", top_k=25, balance="calibrated"),
    Ask("a", top_k=25, balance="interleaved"),
]


@pytest.mark.parametrize("ask", ASKS, ids=str)
def test_pages_follow_one_another_without_gap_or_repeat(store: ReferenceStore, ask: Ask) -> None:
    pages = [
        prepare(store, Ask(ask.name, ask.mode, 25, start, balance=ask.balance))
        for start in range(0, 100, 25)
    ]
    together = [doc_id for page in pages for doc_id in ids(page)]
    assert len(set(together)) == 100
    assert [rank for page in pages for rank in ranks(page)] == list(range(1, 101))
    # The fused ranking is of the first 100 of each whether it is read in four parts or one.
    whole = ids(prepare(store, Ask(ask.name, ask.mode, 100, balance=ask.balance)))
    assert ask.mode == "hybrid" or together == whole


@pytest.mark.parametrize("mode", ["dense", "lexical"])
def test_min_score_ends_a_ranking(store: ReferenceStore, mode: Mode) -> None:
    ranker = prepare(store, Ask("a", mode, 300))
    (found,) = ranker.rank(["rain 3"], np.array([[1, 0, 0, 0]], np.float32))
    scores = [one.hit.score for one in found]
    least = scores[20]
    (kept,) = prepare(store, Ask("a", mode, 300, min_score=least)).rank(
        ["rain 3"], np.array([[1, 0, 0, 0]], np.float32)
    )
    assert len(kept) == sum(score >= least for score in scores)
    assert len(found) > len(kept) >= 21


def test_hybrid_has_what_either_ranking_has(store: ReferenceStore) -> None:
    vectors = np.array([[1, 0, 0, 0]], np.float32)
    (found,) = prepare(store, Ask("a", "hybrid", 200)).rank(["rain 3"], vectors)
    dense = store.search("a", vectors, 300)[0]
    lexical = store.match("a", ["rain 3"], 300)[0]
    near = {hit.document.doc_id: hit for hit in dense}
    alike = {hit.document.doc_id: hit for hit in lexical}
    for one in found:
        doc_id = one.hit.document.doc_id
        expected = 1 / (60 + near[doc_id].rank)
        if doc_id in alike:
            expected += 1 / (60 + alike[doc_id].rank)
        assert one.hit.score == pytest.approx(expected)
        assert ("lexical" in one.scores) == (doc_id in alike)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (Ask("a", "lexical", exact=True), "exact with mode lexical"),
        (Ask("a", "lexical", balance="calibrated"), "balance with mode lexical"),
        (Ask("a", "hybrid", balance="interleaved"), "balance with mode hybrid"),
        (Ask("a", "hybrid", min_score=0.0), "min_score with mode hybrid"),
        (Ask("a", min_score=1.5), "a cosine is from -1 to 1"),
        (Ask("a", offset=MAX_OFFSET + 1), "ends at 10000"),
        (Ask("a", "lexical", offset=MAX_OFFSET + 1), "ends at 10000"),
        (Ask("a", balance="calibrated", offset=MAX_TOP_K), "ends at 1000"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(ask: Ask, message: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        require_sense(ask, 1)


@pytest.mark.parametrize(
    "ask",
    [
        *ASKS,
        Ask("a", min_score=-1.0),
        Ask("a", "lexical", min_score=12.5),
        Ask("a", "hybrid", exact=True),
        Ask("a", exact=True, balance="calibrated", min_score=0.2),
        Ask("a", offset=MAX_OFFSET, top_k=1000),
        Ask("a", balance="calibrated", offset=MAX_TOP_K - 1, top_k=1000),
    ],
    ids=str,
)
def test_what_makes_sense_is_accepted(ask: Ask) -> None:
    require_sense(ask, 1)
    assert ask.end <= ask.last


def test_skipping_is_bounded_for_all_queries_together() -> None:
    require_sense(Ask("a", offset=1024), MAX_SKIPPED // 1024)
    with pytest.raises(InvalidInputError, match="65 queries"):
        require_sense(Ask("a", offset=1024), MAX_SKIPPED // 1024 + 1)


def test_words_of_a_query_are_bounded() -> None:
    most = " ".join(f"w{number}" for number in range(MAX_TOKENS))
    require_words(["short", most, f"{most} w1 w2", "same " * 9000])
    with pytest.raises(InvalidInputError, match=r"queries\[1\] has over 1024"):
        require_words(["short", f"{most} more"])
    with pytest.raises(InvalidInputError, match=r"queries\[0\]"):
        require_words(["".join(map(chr, range(0x4E00, 0x4E00 + MAX_TOKENS + 2)))])


def test_lexical_ranking_needs_no_vectors_and_others_do(store: ReferenceStore) -> None:
    assert prepare(store, Ask("a", "lexical")).rank(["rain 3"], None)[0]
    for ask in (Ask("a"), Ask("a", "hybrid"), Ask("a", balance="calibrated")):
        with pytest.raises(InvalidInputError, match="vectors"):
            prepare(store, ask).rank(["rain 3"], None)


def test_at_once_falls_with_the_languages_that_each_query_costs(store: ReferenceStore) -> None:
    assert prepare(store, Ask("a")).at_once == 8
    languages = prepare(store, Ask("a", balance="calibrated")).languages
    assert len(languages) == 3
    assert Ranker(store, Ask("a"), list(languages) * 20).at_once == 2
    assert Ranker(store, Ask("a"), list(languages) * 80).at_once == 1


@pytest.mark.parametrize(("top_k", "at_once"), [(1, 8), (125, 8), (126, 7), (1000, 1)])
def test_ranker_asks_for_a_thousand_hits_at_once(store, top_k, at_once):
    assert prepare(store, Ask("a", top_k=top_k)).at_once == at_once
