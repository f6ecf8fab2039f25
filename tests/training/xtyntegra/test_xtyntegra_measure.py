"""Ranks, metrics, language bias and vectors, by hand-computed values."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.retrieval.metrics import ranks_of
from training.xtyntegra import ranks as ranks_module
from training.xtyntegra.measure import Vectors, rank_cell
from training.xtyntegra.ranks import Rows, metrics_of, ranks_in
from training.xtyntegra.task import Cell, Pool, one_to_one


def cell_of(
    relevant: Sequence[Sequence[int]],
    langs: Sequence[str],
    excluded: Sequence[Sequence[int]] | None = None,
    task: str = "own",
) -> Cell:
    documents, queries = len(langs), len(relevant)
    ids = [str(row) for row in range(documents)]
    rows = [np.array(each, dtype=np.intp) for each in relevant]
    out = None if excluded is None else [np.array(each, dtype=np.intp) for each in excluded]
    names = [f"q{i}" for i in range(queries)]
    pool = Pool("p", ids, langs, ids)
    document_lang = "*" if len(set(langs)) > 1 else langs[0]
    return Cell(task, "pooled", langs[0], document_lang, names, names, pool, rows, out)


def unit_rows(n: int, dim: int, seed: int) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_ranks_in_several_relevant_documents_are_ranked_best_first() -> None:
    scores = np.array([[0.9, 0.1, 0.8, 0.7, 0.2]], dtype=np.float32)
    found = ranks_in(scores, Rows.of([np.array([1, 3], dtype=np.intp)]))
    assert found.tolist() == [3, 5]


def test_ranks_in_tied_wrong_document_stands_before_the_right_one() -> None:
    for rows in ([0], [0, 2]):
        scores = np.array([[0.5, 0.5, 0.4]], dtype=np.float32)
        found = ranks_in(scores, Rows.of([np.array(rows, dtype=np.intp)]))
        assert found.tolist() == [2, 3][: len(rows)]


def test_ranks_in_tied_right_documents_do_not_count_against_each_other() -> None:
    scores = np.array([[0.5, 0.5, 0.4]], dtype=np.float32)
    assert ranks_in(scores, Rows.of([np.array([0, 1], dtype=np.intp)])).tolist() == [1, 2]


@pytest.mark.parametrize("rows", [[0], [0, 1]])
def test_ranks_in_score_that_is_not_a_number_ranks_last(rows: list[int]) -> None:
    scores = np.array([[np.nan, np.nan, 0.1, 0.2]], dtype=np.float32)
    found = ranks_in(scores, Rows.of([np.array(rows, dtype=np.intp)]))
    assert found.tolist() == ([4] if len(rows) == 1 else [3, 4])


def test_ranks_in_wrong_document_that_is_not_a_number_counts_against() -> None:
    scores = np.array([[0.5, np.nan, 0.6]], dtype=np.float32)
    assert ranks_in(scores, Rows.of([np.array([0, 2], dtype=np.intp)])).tolist() == [2, 3]


def test_metrics_of_two_relevant_documents_follow_their_definitions() -> None:
    relevant = Rows.of([np.array([0, 1], dtype=np.intp), np.array([4], dtype=np.intp)])
    found = metrics_of(np.array([2, 11, 1], dtype=np.int32), relevant)
    assert found["accuracy@1"].tolist() == [0.0, 1.0]
    assert found["recall@10"].tolist() == [0.5, 1.0]
    assert found["mrr"].tolist() == [0.5, 1.0]
    assert found["map"].tolist() == pytest.approx([(1 / 2 + 2 / 11) / 2, 1.0])
    ideal = 1 + 1 / math.log2(3)
    assert found["ndcg@10"].tolist() == pytest.approx([1 / math.log2(3) / ideal, 1.0])


def test_rank_cell_one_document_each_agrees_with_the_metrics_of_the_app() -> None:
    queries, documents = unit_rows(60, 8, 0), unit_rows(90, 8, 1)
    documents[70] = documents[3]  # A repeat of a right document
    cell = cell_of([[i] for i in range(60)], ["eng_Latn"] * 90)
    found = rank_cell(queries, documents, cell)
    assert found.ranks.tolist() == ranks_of(queries, documents).tolist()
    assert found.cell == "own/pooled/eng_Latn>eng_Latn"
    assert found.extras == {}


def test_rank_cell_blocks_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, documents = unit_rows(25, 8, 2), unit_rows(40, 8, 3)
    generator = np.random.default_rng(4)
    relevant = [sorted(generator.choice(39, size=3, replace=False)) for _ in range(25)]
    langs = ["eng_Latn", "swh_Latn"] * 20
    cell = cell_of(relevant, langs, [[39]] * 25)
    whole = rank_cell(queries, documents, cell)
    monkeypatch.setattr(ranks_module, "_BLOCK_BYTES", 8 * 40 * 7)
    parts = rank_cell(queries, documents, cell)
    assert parts.ranks.tolist() == whole.ranks.tolist()
    assert parts.extras == whole.extras
    for name, values in whole.values.items():
        assert parts.values[name].tolist() == values.tolist()


def test_rank_cell_excluded_document_does_not_compete() -> None:
    queries = np.array([[1.0, 0.0]], dtype=np.float32)
    documents = np.array([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]], dtype=np.float32)
    langs = ["swh_Latn", "eng_Latn", "eng_Latn"]
    assert rank_cell(queries, documents, cell_of([[1]], langs)).ranks.tolist() == [2]
    found = rank_cell(queries, documents, cell_of([[1]], langs, [[0]]))
    assert found.ranks.tolist() == [1]
    assert found.extras["own_pool_share"] == 0.0
    assert found.extras["hits:eng_Latn"] == 1.0


def test_rank_cell_many_languages_reports_rank_distance_and_shares() -> None:
    # Twenty documents, the eleven best in Swahili: the answers stand at ranks 1 and 12.
    langs = ["swh_Latn"] * 11 + ["eng_Latn"] * 9
    angles = np.linspace(0.1, 1.4, 20)
    documents = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    queries = np.array([[1.0, 0.0]], dtype=np.float32)
    found = rank_cell(queries, documents, cell_of([[0, 11]], langs))
    assert found.extras["rank_distance"] == 11
    assert found.extras["hits:swh_Latn"] == found.extras["own_share"] == 1.0
    assert found.extras["english_share"] == 0.0
    assert found.extras["english_pool_share"] == pytest.approx(9 / 20)
    assert found.extras["language_bias"] == pytest.approx(9 / 20)


def test_rank_cell_random_vectors_have_the_rank_distance_of_chance() -> None:
    # Of 11 right documents among 13,014, XQuAD-R's pool: 13,015 * 10 / 12 = 10,846
    documents, queries = unit_rows(13_014, 4, 0), unit_rows(400, 4, 1)
    generator = np.random.default_rng(2)
    relevant = [generator.choice(13_014, size=11, replace=False).tolist() for _ in range(400)]
    found = rank_cell(queries, documents, cell_of(relevant, ["eng_Latn", "swh_Latn"] * 6507))
    assert found.extras["rank_distance"] == pytest.approx(13_015 * 10 / 12, rel=0.02)
    assert found.extras["language_bias"] < 0.02


def test_rank_cell_perfect_ranking_has_the_least_rank_distance() -> None:
    documents = np.zeros((30, 2), dtype=np.float32)
    documents[:11, 0] = documents[11:, 1] = 1.0
    cell = cell_of([list(range(11))], ["eng_Latn", "swh_Latn"] * 15)
    found = rank_cell(np.array([[1.0, 0.0]], dtype=np.float32), documents, cell)
    assert found.extras["rank_distance"] == 10
    assert found.values["map"].tolist() == [1.0]


def test_rank_cell_task_of_the_training_corpora_says_so() -> None:
    cell = cell_of([[0]], ["eng_Latn"], task="ntrex128")
    vectors = np.ones((1, 1), dtype=np.float32)
    assert rank_cell(vectors, vectors, cell).extras == {"in_training_corpora": 1.0}


def test_rank_cell_vectors_of_another_cell_are_refused() -> None:
    cell = cell_of([[0]], ["eng_Latn"])
    vectors = np.ones((2, 1), dtype=np.float32)
    with pytest.raises(InvalidInputError, match="got 2 query and 2 document vectors; expected 1"):
        rank_cell(vectors, vectors, cell)


def test_cell_query_without_relevant_document_is_refused() -> None:
    with pytest.raises(ValueError, match="query q1 has no relevant document"):
        cell_of([[0], []], ["eng_Latn"])


def test_pool_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="2 texts, 1 langs and 2 doc_ids"):
        Pool("p", ["a", "b"], ["eng_Latn"], ["1", "2"])


def test_one_to_one_rows_are_single_and_in_order() -> None:
    assert [rows.tolist() for rows in one_to_one(3)] == [[0], [1], [2]]


class Counting:
    """An encoder that remembers what it was asked."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.seen += texts
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)


def test_vectors_texts_that_come_again_are_encoded_once() -> None:
    encode = Counting()
    vectors = Vectors(encode, encode)
    first = vectors.queries(["a", "bb", "a"])
    assert first.tolist() == [[1, 1], [2, 1], [1, 1]]
    pool = Pool("p", ["bb", "ccc"], ["x"] * 2, ["0", "1"])
    assert vectors.documents(pool).tolist() == [[2, 1], [3, 1]]
    assert encode.seen == ["a", "bb", "ccc"]
    assert vectors.encoded == 3


def test_vectors_sides_that_differ_do_not_share() -> None:
    query, document = Counting(), Counting()
    vectors = Vectors(query, document)
    vectors.queries(["a"])
    vectors.documents(Pool("p", ["a"], ["x"], ["0"]))
    assert (query.seen, document.seen) == (["a"], ["a"])


def test_vectors_not_kept_are_encoded_again() -> None:
    encode = Counting()
    vectors = Vectors(encode, encode)
    vectors.queries(["a"])
    assert vectors.queries(["a", "bb"], keep=False).tolist() == [[1, 1], [2, 1]]
    vectors.queries(["bb"])
    assert encode.seen == ["a", "bb", "bb"]


def test_vectors_beyond_the_limit_drop_the_block_not_asked_for_longest() -> None:
    calls = Counting()

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        calls(texts)
        return np.ones((len(texts), 1 << 17), dtype=np.float32)  # half a MiB each

    vectors = Vectors(encode, encode, limit_mb=1)
    vectors.queries(["a"])
    vectors.queries(["b"])
    vectors.queries(["a"])
    vectors.queries(["c"])  # drops b
    vectors.queries(["a"])
    vectors.queries(["b"])
    assert calls.seen == ["a", "b", "c", "b"]


def test_vectors_encoder_with_rows_missing_is_refused() -> None:
    vectors = Vectors(lambda texts: np.ones((1, 2), dtype=np.float32), Counting())
    with pytest.raises(InvalidInputError, match=r"shape \(1, 2\) for 2 texts"):
        vectors.queries(["a", "b"])


def test_vectors_pool_asked_for_again_is_the_same_array() -> None:
    vectors = Vectors(Counting(), Counting())
    pools = [Pool(f"p{n}", [str(n), "same"], ["x"] * 2, ["0", "1"]) for n in range(6)]
    first = vectors.documents(pools[0])
    assert vectors.documents(pools[0]) is first
    for pool in pools[1:]:
        vectors.documents(pool)
    again = vectors.documents(pools[0])  # no longer kept whole, but put together alike
    assert again is not first
    assert again.tolist() == first.tolist()
