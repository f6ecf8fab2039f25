import numpy as np
import pytest

from app.errors import InvalidInputError
from app.robustness.bounds import (
    Confidence,
    bernstein,
    distance_to_mean,
    hoeffding,
    preference,
    set_preference,
)
from app.robustness.pool import Pool, pool_of

from .glass import DIM, documents

ALPHA = 0.1
TRIALS = 400


def scattered(rng, n, spread):
    """Unit vectors around the first axis; their distribution is symmetric about it."""
    raw = np.eye(DIM)[0] + spread * rng.standard_normal((n, DIM))
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


def expectation(spread):
    return scattered(np.random.default_rng(99), 400_000, spread).mean(axis=0)


def most_failures(alpha, trials):
    return alpha * trials + 3 * np.sqrt(trials * alpha * (1 - alpha))


@pytest.mark.parametrize("spread", [0.1, 1.0])
@pytest.mark.parametrize("method", ["hoeffding", "bernstein", "uniform"])
def test_preference_is_wrong_as_seldom_as_promised(method, spread):
    rng = np.random.default_rng(4)
    truth = expectation(spread)
    near = documents(30, 2)
    near[0] = np.eye(DIM)[0]
    pool = pool_of([f"d{n}" for n in range(30)], near)
    gaps = (near[0] - near[1:]) @ truth / np.linalg.norm(near[0] - near[1:], axis=1)
    kth = np.sort(gaps)[2]
    wrong, found = 0, []
    for _ in range(TRIALS):
        samples = scattered(rng, 100, spread)
        found.append(preference(samples, pool, frozenset(["d0"]), 3, Confidence(ALPHA, method)))
        wrong += found[-1] > kth
    assert wrong <= most_failures(ALPHA, TRIALS)
    assert np.mean(found) > kth - 0.7


def test_preference_at_top_1_is_not_idle():
    """With one rival and much data the bound comes near the truth."""
    truth = expectation(0.3)
    pool = pool_of(["a", "b"], np.eye(DIM, dtype=np.float32)[:2])
    samples = scattered(np.random.default_rng(0), 50_000, 0.3)
    right = (truth[0] - truth[1]) / np.sqrt(2)
    for method in ("hoeffding", "bernstein", "uniform"):
        found = preference(samples, pool, frozenset("a"), 1, Confidence(0.001, method))
        assert right - 0.03 < found < right


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_hoeffding_and_bernstein_hold_for_the_worst_distributions(share):
    """Values of -1 and 1, as far from the mean as there are."""
    rng = np.random.default_rng(1)
    values = np.where(rng.random((4000, 60)) < share, 1.0, -1.0)
    means, variances = values.mean(axis=1), values.var(axis=1, ddof=1)
    truth = 2 * share - 1
    for lows in (hoeffding(means, 60, ALPHA), bernstein(means, variances, 60, ALPHA)):
        assert (lows > truth).sum() <= most_failures(ALPHA, 4000)


@pytest.mark.parametrize("spread", [0.05, 0.5, 5.0])
def test_distance_to_mean_covers_and_shrinks(spread):
    rng = np.random.default_rng(3)
    truth = expectation(spread)
    wrong = 0
    for _ in range(TRIALS):
        mean = scattered(rng, 80, spread).mean(axis=0)
        bound = distance_to_mean(float(np.linalg.norm(mean)), 80, ALPHA)
        wrong += np.linalg.norm(mean - truth) > bound
    assert wrong <= most_failures(ALPHA, TRIALS)
    assert distance_to_mean(0.95, 2000, 0.01) < distance_to_mean(0.95, 200, 0.01)
    assert distance_to_mean(0.95, 500, 0.01) < distance_to_mean(0.2, 500, 0.01)


def test_preference_beyond_the_pool_is_below_that_of_the_whole():
    samples = scattered(np.random.default_rng(5), 3000, 0.2)
    every = documents(60, 8)
    every[0] = np.eye(DIM)[0]
    mean = samples.mean(axis=0)
    order = np.argsort(-(every @ mean))
    every = every[order]
    assert order[0] == 0
    sure = Confidence(0.01, "uniform")
    names = [f"d{n}" for n in range(60)]
    whole = preference(samples, pool_of(names, every), frozenset(["d0"]), 1, sure)
    unseen = float(every[5] @ mean)
    part = Pool(tuple(names[:5]), every[:5], np.ones(5, dtype=np.int64), complete=False)
    cut = preference(samples, part, frozenset(["d0"]), 1, sure, unseen=unseen)
    assert 0.0 < cut <= whole


def test_preference_counts_a_document_of_several_passages_once():
    samples = np.tile(np.eye(DIM)[0], (400, 1))
    vectors = np.stack([np.eye(DIM)[0], *documents(6, 1)]).astype(np.float32)
    pool = Pool(("a", "b", "c"), vectors, np.array([1, 4, 2]))
    gaps = (vectors[0] - vectors[1:]) @ samples[0]
    gaps /= np.linalg.norm(vectors[0] - vectors[1:], axis=1)
    expected = max(gaps[:4].min(), gaps[4:].min())
    found = preference(samples, pool, frozenset("a"), 2, Confidence(0.01, "hoeffding"))
    assert found == pytest.approx(expected - np.sqrt(2 * np.log(6 / 0.01) / 400))


def test_preference_over_blocks_is_that_of_one(monkeypatch):
    samples = scattered(np.random.default_rng(6), 50, 0.3)
    pool = Pool(tuple(f"d{n}" for n in range(20)), documents(40, 3), np.array([1, 3] * 10))
    whole = preference(samples, pool, frozenset(["d3"]), 2, Confidence())
    monkeypatch.setattr("app.robustness.bounds._BLOCK", 6)
    assert preference(samples, pool, frozenset(["d3"]), 2, Confidence()) == whole


def test_set_preference_is_the_least_over_all_pairs_across_its_border():
    samples = scattered(np.random.default_rng(7), 200, 0.2)
    vectors = documents(12, 4)
    pool = pool_of([f"d{n}" for n in range(12)], vectors)
    inside = [0, 4, 5]
    found = set_preference(
        samples, pool, frozenset(f"d{n}" for n in inside), Confidence(0.03, "hoeffding")
    )
    means = [
        (vectors[a] - vectors[b]) @ samples.mean(axis=0) / np.linalg.norm(vectors[a] - vectors[b])
        for a in inside for b in range(12) if b not in inside
    ]  # fmt: skip
    # Three members against nine others: 27 comparisons share alpha.
    expected = min(means) - np.sqrt(2 * np.log(27 / 0.03) / 200)
    assert found == pytest.approx(expected, abs=1e-6)
    assert set_preference(samples, pool, frozenset(), Confidence()) == 1.0


def test_preference_of_equal_documents_is_none():
    samples = np.tile(np.eye(DIM)[0], (400, 1))
    pool = pool_of(["a", "b"], np.eye(DIM, dtype=np.float32)[[0, 0]])
    assert preference(samples, pool, frozenset("a"), 1, Confidence()) == -1.0
    assert preference(samples, pool, frozenset("a"), 2, Confidence()) == 1.0


def test_what_cannot_be_bounded_is_refused():
    pool = pool_of(["a", "b"], np.eye(DIM, dtype=np.float32)[:2])
    part = Pool(pool.doc_ids, pool.vectors, pool.sizes, complete=False)
    samples = np.tile(np.eye(DIM)[0], (10, 1))
    with pytest.raises(InvalidInputError, match="draw more samples"):
        preference(samples[:1], pool, frozenset("a"), 1, Confidence())
    with pytest.raises(InvalidInputError, match="does not hold the whole collection"):
        preference(samples, part, frozenset("a"), 1, Confidence())
    with pytest.raises(InvalidInputError, match="the bound uniform"):
        preference(samples, part, frozenset("a"), 1, Confidence(), unseen=0.1)
    with pytest.raises(InvalidInputError, match="alpha between"):
        Confidence(1.0)
