import numpy as np
import pytest

from app.errors import InvalidInputError
from app.robustness.bootstrap import difference, mean_over_queries
from training.xtyntegra.resampling import Clusters, Drawing


def test_estimate_of_one_cell_is_that_of_the_robustness_bootstrap() -> None:
    dice = np.random.default_rng(1)
    ids = [f"q{row}" for row in range(150)]
    values = dice.random((150, 3))
    found = Clusters([ids]).estimate([values], Drawing(seed=4, resamples=500))
    for column in range(3):
        alone = mean_over_queries(values[:, column], ids, seed=4, resamples=500)
        assert found.value[column] == pytest.approx(alone.value, abs=1e-12)
        assert found.low[column] == pytest.approx(alone.low, abs=1e-12)
        assert found.high[column] == pytest.approx(alone.high, abs=1e-12)


def test_estimate_of_a_difference_over_languages_is_that_of_the_robustness_bootstrap() -> None:
    dice = np.random.default_rng(2)
    ids = [f"s{row}" for row in range(60)]
    first, second = dice.random((2, 3, 60))
    change = [(second[lang] - first[lang])[:, None] for lang in range(3)]
    found = Clusters([ids] * 3).estimate(change, Drawing(seed=0, resamples=400))
    alone = difference(first.ravel(), second.ravel(), ids * 3, seed=0, resamples=400)
    assert found.value[0] == pytest.approx(alone.value, abs=1e-12)
    assert (found.low[0], found.high[0]) == pytest.approx((alone.low, alone.high), abs=1e-12)
    assert found.p_value[0] == alone.p_value


def test_estimate_with_more_ids_than_are_kept_is_the_same_in_blocks() -> None:
    dice = np.random.default_rng(3)
    ids = [f"{row:05d}" for row in range(2500)]
    values = dice.random(2500)
    found = Clusters([ids]).estimate([values[:, None]], Drawing(seed=9, resamples=2000))
    alone = mean_over_queries(values, ids, seed=9, resamples=2000)
    assert (found.low[0], found.high[0]) == pytest.approx((alone.low, alone.high), abs=1e-12)


def test_estimate_weighs_each_language_the_same_whatever_its_size() -> None:
    small, large = np.ones((2, 1)), np.zeros((98, 1))
    ids = [["a", "b"], [f"z{row}" for row in range(98)]]
    assert Clusters(ids).estimate([small, large], Drawing()).value[0] == pytest.approx(0.5)


def test_estimate_is_wider_where_languages_share_what_is_hard() -> None:
    hard = np.array([0.0, 1.0] * 50)[:, None]
    shared = [f"s{row}" for row in range(100)]
    apart = [[f"{lang}{row}" for row in range(100)] for lang in range(10)]
    widths = [
        float(found.high[0] - found.low[0])
        for found in (
            Clusters([shared] * 10).estimate([hard] * 10, Drawing()),
            Clusters(apart).estimate([hard] * 10, Drawing()),
        )
    ]
    assert widths[0] > 2 * widths[1]


def test_estimate_of_one_query_has_no_interval() -> None:
    found = Clusters([["only"]]).estimate([np.ones((1, 1))], Drawing())
    assert found.value[0] == 1.0
    assert np.isnan([found.low[0], found.high[0], found.p_value[0]]).all()


def test_clusters_without_queries_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="without queries"):
        Clusters([["a"], []])


def test_estimate_of_values_that_do_not_fit_is_refused() -> None:
    clusters = Clusters([["a", "b"]])
    with pytest.raises(InvalidInputError, match="2 queries"):
        clusters.estimate([np.ones((3, 1))], Drawing())
    with pytest.raises(InvalidInputError, match="finite"):
        clusters.estimate([np.array([[np.nan], [1.0]])], Drawing())


def test_ratio_is_the_mean_over_cells_that_have_one() -> None:
    clusters = Clusters([["a", "b"], ["a", "b"], ["a", "b"]])
    parts = [np.array([1.0, 0.0]), np.array([1.0, 1.0]), np.zeros(2)]
    wholes = [np.array([1.0, 1.0]), np.array([1.0, 1.0]), np.zeros(2)]
    found = clusters.ratio(parts, wholes, Drawing(resamples=400))
    assert found.value[0] == pytest.approx((0.5 + 1.0) / 2)
    # a and a: (1 + 1) / 2; b and b: (0 + 1) / 2
    assert (found.low[0], found.high[0]) == (0.5, 1.0)


def test_ratio_of_one_cell_with_whole_queries_is_their_mean() -> None:
    dice = np.random.default_rng(5)
    values, ids = dice.random(80), [f"q{row}" for row in range(80)]
    clusters = Clusters([ids])
    found = clusters.ratio([values], [np.ones(80)], Drawing())
    plain = clusters.estimate([values[:, None]], Drawing())
    assert found.value[0] == pytest.approx(plain.value[0])
    assert found.low[0] == pytest.approx(plain.low[0])
    assert found.high[0] == pytest.approx(plain.high[0])


def test_ratio_without_any_whole_does_not_exist() -> None:
    found = Clusters([["a", "b"]]).ratio([np.zeros(2)], [np.zeros(2)], Drawing())
    assert np.isnan([found.value[0], found.low[0], found.high[0]]).all()
