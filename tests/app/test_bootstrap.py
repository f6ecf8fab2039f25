import numpy as np
import pytest
from scipy import stats

from app.errors import InvalidInputError
from app.robustness.bootstrap import difference, mean_over_queries

RNG = np.random.default_rng(11)
VALUES = RNG.normal(0.3, 1.0, 60)
NAMES = [f"q{n:02}" for n in range(60)]


def test_mean_over_queries_is_near_scipys_percentile_interval():
    expected = stats.bootstrap(
        (VALUES,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    found = mean_over_queries(VALUES, NAMES, resamples=20_000)
    assert found.value == pytest.approx(VALUES.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.01)


def test_mean_does_not_depend_on_the_order():
    order = RNG.permutation(60)
    found = mean_over_queries(VALUES[order], [NAMES[n] for n in order], seed=5)
    assert found == mean_over_queries(VALUES, NAMES, seed=5)
    assert found != mean_over_queries(VALUES, NAMES, seed=6)


def test_copies_of_a_query_do_not_narrow_the_interval():
    once = mean_over_queries(VALUES, NAMES)
    tenfold = mean_over_queries(np.repeat(VALUES, 10), [name for name in NAMES for _ in range(10)])
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))
    assert (once.queries, once.n, tenfold.queries, tenfold.n) == (60, 60, 60, 600)


def test_interval_covers_the_mean_of_unequal_clusters():
    rng = np.random.default_rng(2)
    covered = 0
    for seed in range(200):
        effects = rng.normal(0.5, 1.0, 150)
        sizes = rng.integers(1, 6, 150)
        queries = np.repeat(np.arange(150), sizes)
        values = np.repeat(effects, sizes) + rng.normal(0, 0.2, sizes.sum())
        found = mean_over_queries(values, queries.tolist(), seed=seed, resamples=400)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.5 <= found.high
    assert covered >= 0.95 * 200 - 3 * np.sqrt(200 * 0.95 * 0.05)


def test_difference_pairs_cancel_what_both_share():
    hard = RNG.normal(0, 10, 60)
    found = difference(hard, hard - 0.2 + RNG.normal(0, 0.01, 60), NAMES)
    assert found.value == pytest.approx(-0.2, abs=0.01)
    assert found.high is not None
    assert found.high < 0
    assert found.p_value == pytest.approx(2 / 2001)


def test_difference_of_equals_is_nothing():
    found = difference(VALUES, VALUES, NAMES)
    assert (found.value, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_one_query_has_no_interval_and_none_has_no_value():
    assert mean_over_queries([1.0, 3.0], ["q", "q"]).low is None
    assert mean_over_queries([1.0, 3.0], ["q", "q"]).value == 2.0
    assert mean_over_queries([], []).value is None


def test_values_that_do_not_fit_are_refused():
    with pytest.raises(InvalidInputError, match="one finite number for each"):
        mean_over_queries([1.0, float("nan")], ["a", "b"])
    with pytest.raises(InvalidInputError, match="one finite number for each"):
        mean_over_queries([1.0], ["a", "b"])
    with pytest.raises(InvalidInputError, match="expected pairs"):
        difference([1.0], [1.0, 2.0], ["a"])
    with pytest.raises(InvalidInputError, match="resamples"):
        mean_over_queries([1.0], ["a"], resamples=10)
