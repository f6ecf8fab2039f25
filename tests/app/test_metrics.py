import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from app.errors import InvalidInputError
from app.retrieval import metrics


def unit(rows):
    array = np.asarray(rows, dtype=np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def test_wilson_interval_worked_example_matches_hand_computation():
    # p = 0.8, n = 10, z = 1.959964: center (0.8 + z2/20) / (1 + z2/10), half width likewise
    z = 1.959963984540054
    center = (0.8 + z * z / 20) / (1 + z * z / 10)
    half = z * np.sqrt(0.8 * 0.2 / 10 + z * z / 400) / (1 + z * z / 10)
    assert metrics.wilson_interval(8, 10) == pytest.approx((center - half, center + half))


@pytest.mark.parametrize(("successes", "edge"), [(0, 0), (25, 1)])
def test_wilson_interval_at_an_extreme_stays_open_on_the_other_side(successes, edge):
    interval = metrics.wilson_interval(successes, 25)
    assert interval[edge] == pytest.approx(edge, abs=1e-12)
    assert 0.0 < interval[1 - edge] < 1.0


def test_wilson_interval_without_trials_knows_nothing():
    assert metrics.wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(0, 400), st.integers(0, 400), st.floats(0.5, 0.99))
def test_wilson_interval_any_counts_brackets_the_share(a, b, confidence):
    n, successes = a + b, a
    low, high = metrics.wilson_interval(successes, n, confidence)
    share = successes / n if n else 0.5
    assert 0.0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1.0
    if n:
        wider = metrics.wilson_interval(successes, n, 0.999)
        assert wider.low <= low + 1e-12
        assert wider.high >= high - 1e-12


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99, 0.9999])
@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (3, 7), (0, 40), (399, 400)])
def test_wilson_interval_is_that_of_scipy(successes, n, confidence):
    expected = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert metrics.wilson_interval(successes, n, confidence) == pytest.approx(
        (expected.low, expected.high), rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize("arguments", [(3, 2), (-1, 2), (1, 2, 0.0), (1, 2, 1.0)])
def test_wilson_interval_impossible_counts_are_refused(arguments):
    with pytest.raises(InvalidInputError):
        metrics.wilson_interval(*arguments)


def test_ranks_of_worked_example_gives_positions():
    documents = unit([[1, 0], [0, 1], [1, 1]])
    queries = unit([[1, 0.1], [1, 0.1], [1, 0.9]])
    # Query 0: itself first. Query 1: documents 0, 2, 1. Query 2: itself first.
    assert metrics.ranks_of(queries, documents).tolist() == [1, 3, 1]
    assert metrics.accuracy_at_1(queries, documents) == pytest.approx(2 / 3)


def test_ranks_of_relevant_rows_given_are_used():
    documents = unit([[1, 0], [0, 1], [1, 1]])
    queries = unit([[1, 0.1], [1, 0.1]])
    assert metrics.ranks_of(queries, documents, np.array([2, 0])).tolist() == [2, 1]


def test_accuracy_at_1_constant_vectors_is_zero():
    rows = unit(np.ones((20, 8)))
    assert metrics.accuracy_at_1(rows, rows) == 0.0
    assert metrics.ranks_of(rows, rows).tolist() == [20] * 20


@pytest.mark.parametrize("dim", [32, 384])
def test_ranks_of_duplicate_documents_all_tie_whatever_the_product_rounds(dim):
    rng = np.random.default_rng(0)
    rows = unit(rng.normal(size=(50, dim)))
    documents = np.concatenate([rows, rows])
    queries = unit(rows + 0.01 * rng.normal(size=rows.shape))
    assert (metrics.ranks_of(queries, documents) == 2).all()


def test_ranks_of_vectors_that_are_not_numbers_rank_last():
    queries = np.full((2, 3), np.nan, dtype=np.float32)
    assert metrics.ranks_of(queries, unit(np.eye(3))[:3]).tolist() == [3, 3]


def test_ranks_of_small_blocks_equal_one_block(monkeypatch):
    rng = np.random.default_rng(1)
    queries, documents = unit(rng.normal(size=(57, 16))), unit(rng.normal(size=(91, 16)))
    scores = queries @ documents.T
    brute = [1 + int((row > row[i]).sum()) for i, row in enumerate(scores)]
    whole = metrics.ranks_of(queries, documents)
    monkeypatch.setattr(metrics, "_BLOCK_BYTES", 91 * 8 * 5)
    assert metrics.ranks_of(queries, documents).tolist() == whole.tolist() == brute


@pytest.mark.parametrize(
    ("queries", "documents", "relevant"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), None),
        (np.ones(3), np.ones((2, 3)), None),
        (np.ones((3, 3)), np.ones((2, 3)), None),
        (np.ones((2, 3)), np.ones((2, 3)), np.array([0, 2])),
        (np.ones((2, 3)), np.ones((2, 3)), np.array([0, -1])),
        (np.ones((2, 3)), np.ones((2, 3)), np.array([0])),
    ],
)
def test_ranks_of_shapes_that_do_not_fit_are_refused(queries, documents, relevant):
    with pytest.raises(InvalidInputError):
        metrics.ranks_of(queries, documents, relevant)


def test_recall_and_mrr_worked_example_match_hand_computation():
    ranks = np.array([1, 2, 5, 0])
    assert metrics.recall_at_k(ranks, 1) == 0.25
    assert metrics.recall_at_k(ranks, 5) == 0.75
    assert metrics.mrr(ranks) == pytest.approx((1 + 1 / 2 + 1 / 5) / 4)
    assert metrics.mrr(ranks, 2) == pytest.approx((1 + 1 / 2) / 4)


@pytest.mark.parametrize("ranks", [np.array([], dtype=int), np.array([-1]), np.ones((2, 2), int)])
def test_recall_and_mrr_without_proper_ranks_are_refused(ranks):
    for measure in (lambda: metrics.recall_at_k(ranks, 1), lambda: metrics.mrr(ranks)):
        with pytest.raises(InvalidInputError):
            measure()


@pytest.mark.parametrize("measure", [metrics.recall_at_k, metrics.mrr])
def test_recall_and_mrr_cutoff_below_one_is_refused(measure):
    with pytest.raises(InvalidInputError):
        measure(np.array([1]), 0)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=50), st.integers(1, 50))
def test_recall_at_k_any_ranks_grows_with_k_and_bounds_mrr(ranks, k):
    array = np.array(ranks)
    assert metrics.recall_at_k(array, k) <= metrics.recall_at_k(array, k + 1)
    assert metrics.recall_at_k(array, 1) <= metrics.mrr(array) <= metrics.recall_at_k(array, 50)
