"""BM25 by hand, and which of two documents it puts first."""

import math

import numpy as np
import pytest

from app.retrieval.documents import Document
from app.retrieval.lexical import MEAN_LENGTH, document_weights, idf, query_weights, token_id

from .reference_store import ReferenceStore


def weights(text: str) -> dict[int, float]:
    sparse = document_weights(text)
    return dict(zip(sparse.indices, sparse.values, strict=True))


def asked(text: str) -> dict[int, float]:
    sparse = query_weights(text)
    return dict(zip(sparse.indices, sparse.values, strict=True))


def ranking(texts: dict[str, str], query: str) -> list[str]:
    """Names of the documents that match, the best first."""
    store = ReferenceStore()
    store.create("a", 2, "m")
    documents = [Document(name, text) for name, text in texts.items()]
    store.upsert("a", documents, np.tile(np.array([1, 0], np.float32), (len(texts), 1)))
    (hits,) = store.match("a", [query], 10)
    return [hit.document.doc_id for hit in hits]


def test_document_weights_are_the_formula_by_hand() -> None:
    # Two words of three "rain": tf 2, length 3: 2 * 1.9 / (2 + 0.9 * (0.6 + 0.4 * 3 / 64))
    found = weights("Rain, rain bus")
    assert MEAN_LENGTH == 64
    assert found == {
        token_id("rain"): pytest.approx(3.8 / (2 + 0.556875)),
        token_id("bus"): pytest.approx(1.9 / (1 + 0.556875)),
    }


def test_document_length_counts_words_but_no_further_tokens() -> None:
    # Words: ab, 12, ọ̀nà. Besides: ab-12 and ona.
    found = weights("AB-12 ọ̀nà")
    assert len(found) == 5
    assert list(found.values()) == pytest.approx([1.9 / (1 + 0.9 * (0.6 + 0.4 * 3 / 64))] * 5)


def test_document_of_mean_length_weighs_a_single_word_1() -> None:
    text = " ".join(f"word{number}" for number in range(MEAN_LENGTH))
    assert list(weights(text).values()) == pytest.approx([1.0] * MEAN_LENGTH)


def test_query_weights_count_words_and_forms_share_one() -> None:
    assert asked("rain rain bus") == {token_id("rain"): 2.0, token_id("bus"): 1.0}
    ona = "ọ̀nà"
    assert asked(f"{ona} ona") == {token_id("ọ̀nà"): 0.5, token_id("ona"): 1.5}


def test_query_weights_of_what_is_joined_are_twice_those_of_a_word() -> None:
    assert asked("AB-12") == {token_id("ab"): 1.0, token_id("12"): 1.0, token_id("ab-12"): 2.0}
    joined = asked("l'homme")
    assert joined[token_id("l'homme")] == joined[token_id("lhomme")] == 1.0


def test_sparse_indices_ascend_and_values_are_above_0() -> None:
    for sparse in (document_weights("the quick brown fox"), query_weights("the quick brown fox")):
        assert sparse.indices == sorted(set(sparse.indices))
        assert all(0 <= index < 2**32 for index in sparse.indices)
        assert min(sparse.values) > 0
    assert document_weights("... 🙂").indices == query_weights("").indices == []


def test_idf_by_hand() -> None:
    assert idf(4, 1) == pytest.approx(math.log(1 + 3.5 / 1.5))
    assert idf(4, 4) == pytest.approx(math.log(1 + 0.5 / 4.5))
    assert idf(0, 0) == pytest.approx(math.log(2))


def test_token_id_is_the_first_four_bytes_of_blake2b() -> None:
    # `printf rain | b2sum -l 32`, and never to change: it is on disk.
    assert token_id("rain") == RAIN
    assert token_id("x" * 1000) != token_id("x" * 1001)


RAIN = 0x5D442127


def test_match_scores_are_the_formula_by_hand() -> None:
    store = ReferenceStore()
    store.create("a", 2, "m")
    texts = {"both": "rain bus", "one": "rain", "none": "sun"}
    documents = [Document(name, text) for name, text in texts.items()]
    store.upsert("a", documents, np.tile(np.array([1, 0], np.float32), (3, 1)))
    (hits,) = store.match("a", ["bus rain rain"], 10)
    two = 1.9 / (1 + 0.9 * (0.6 + 0.4 * 2 / 64))
    single = 1.9 / (1 + 0.9 * (0.6 + 0.4 * 1 / 64))
    rain, bus = math.log(1 + 1.5 / 2.5), math.log(1 + 2.5 / 1.5)
    assert [(hit.document.doc_id, hit.score) for hit in hits] == [
        ("both", pytest.approx((bus + 2 * rain) * two)),
        ("one", pytest.approx(2 * rain * single)),
    ]


@pytest.mark.parametrize(
    ("query", "texts"),
    [
        ("AB-12.7", {"itself": "Part AB-12.7 is new", "apart": "7 of AB have 12 parts"}),
        ("AB-12.7", {"long": "AB-12.7" + " and so on" * 40, "near": "AB-12.8"}),
        ("C++", {"itself": "written in C++", "apart": "vitamin C"}),
        ("ọ̀nà", {"marked": "ọ̀nà náà", "plain": "ona naa"}),
        ("ƙasa", {"hook": "ƙasa mai", "plain": "kasa mai"}),
        ("l'homme", {"itself": "l'homme ici", "part": "un homme ici"}),
        ("东京都", {"all": "在东京都的人", "some": "京都在西边"}),
        ("كِتَاب", {"vowels": "كِتَاب", "none": "كتاب"}),
    ],
)
def test_match_puts_what_is_spelled_alike_first_and_finds_the_other(
    query: str, texts: dict[str, str]
) -> None:
    assert ranking(texts, query) == list(texts)
