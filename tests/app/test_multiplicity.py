import numpy as np
import pytest
from scipy import stats

from app.errors import InvalidInputError
from app.robustness.macro import over_languages, over_seeds
from app.robustness.multiplicity import adjust_p_values


@pytest.mark.parametrize("cells", [1, 2, 5, 400])
def test_adjust_p_values_equals_scipy(cells):
    p_values = np.random.default_rng(cells).random(cells) ** 3
    np.testing.assert_allclose(
        adjust_p_values(p_values), stats.false_discovery_control(p_values), rtol=1e-12
    )


def test_adjust_p_values_with_ties_and_ends_equals_scipy():
    p_values = [0.04, 0.0, 1.0, 0.04, 0.04, 0.5]
    np.testing.assert_allclose(adjust_p_values(p_values), stats.false_discovery_control(p_values))


def test_adjust_p_values_by_hand():
    # 3 * 0.01; 3 * 0.03 / 2 is above 3 * 0.035 / 3 = 0.035, which it therefore takes.
    np.testing.assert_allclose(adjust_p_values([0.035, 0.03, 0.01]), [0.035, 0.035, 0.03])


def test_adjust_p_values_of_nothing_is_nothing():
    assert adjust_p_values([]).shape == (0,)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_adjust_p_values_out_of_range_are_refused(wrong):
    with pytest.raises(InvalidInputError, match="from 0 to 1"):
        adjust_p_values([0.5, wrong])


def test_over_languages_counts_each_alike_and_names_the_worst():
    found = over_languages({"a": (1, 100), "b": (9, 10), "c": (0, 0), "d": (50, 100)})
    assert found is not None
    assert found.macro == pytest.approx((0.01 + 0.9 + 0.5) / 3)
    assert (found.worst, found.worst_rate, found.languages, found.few) == ("b", 0.9, 3, ("b",))
    exact = stats.binomtest(9, 10).proportion_ci(1 - 0.05 / 3, method="exact")
    assert found.worst_interval == pytest.approx((exact.low, exact.high))


def test_over_languages_of_equals_takes_the_larger_then_the_first():
    found = over_languages({"b": (1, 2), "c": (2, 4), "a": (2, 4)})
    assert found is not None
    assert found.worst == "a"
    assert over_languages({"a": (0, 0)}) is None


def test_over_seeds_gives_mean_and_spread():
    found = over_seeds([0.1, 0.2, 0.6])
    assert (found.mean, found.low, found.high, found.seeds) == (pytest.approx(0.3), 0.1, 0.6, 3)
    assert found.deviation == pytest.approx(np.std([0.1, 0.2, 0.6], ddof=1))
    assert not found.enough
    assert over_seeds([0.5] * 10).enough
    assert over_seeds([0.5]).deviation is None
    with pytest.raises(InvalidInputError, match="one finite rate"):
        over_seeds([])
