"""Success rates and drops of attacks, by hand-computed values."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from app.errors import InvalidInputError
from app.robustness.bootstrap import difference
from training.xtyntegra.drops import relative_drops
from training.xtyntegra.outcomes import Outcome, attack_figures, metrics_under, share
from training.xtyntegra.ranks import METRICS, Rows, metrics_of
from training.xtyntegra.resampling import Drawing

DRAWING = Drawing(resamples=400)


def values_of(ranks: list[int]) -> dict[str, np.ndarray]:
    """Metrics of queries with one relevant document each."""
    relevant = Rows.of([np.array([0]) for _ in ranks])
    return metrics_of(np.array(ranks, dtype=np.int32), relevant)


def outcome_of(clean: list[int], draws: list[list[int]], applies: list[bool]) -> Outcome:
    ids = [f"q{place}" for place in range(len(clean))]
    return Outcome(ids, values_of(clean), list(map(values_of, draws)), np.array(applies))


# Four queries: held in both draws; lost in the first; not to be attacked; wrong before.
FOUR = outcome_of([1, 1, 1, 4], [[1, 2, 1, 4], [1, 1, 1, 1]], [True, True, False, True])


def test_attack_figures_count_queries_right_before_and_wrong_in_the_worst_draw() -> None:
    found = attack_figures(FOUR, DRAWING)
    assert found["not_applicable"] == 1
    assert found["right_clean"] == 2
    exact = binomtest(1, 2).proportion_ci(method="exact")
    assert found["success_rate"] == pytest.approx(
        {"value": 0.5, "low": exact.low, "high": exact.high, "n": 2}
    )
    exact = binomtest(1, 4).proportion_ci(method="exact")
    assert found["success_share"] == pytest.approx(
        {"value": 0.25, "low": exact.low, "high": exact.high, "n": 4}
    )


def test_attack_figures_average_over_draws_and_take_the_worst() -> None:
    found = attack_figures(FOUR, DRAWING)
    clean, worst = found["clean"], found["worst"]
    assert isinstance(clean, dict)
    assert isinstance(worst, dict)
    assert clean["accuracy@1"] == 0.75
    assert clean["mrr"] == pytest.approx((1 + 1 + 1 + 1 / 4) / 4)
    assert worst["accuracy@1"] == 0.5  # q0 and q2
    assert worst["mrr"] == pytest.approx((1 + 1 / 2 + 1 + 1 / 4) / 4)
    metrics = metrics_under(FOUR, DRAWING)
    assert metrics["accuracy@1"]["value"] == pytest.approx((1 + 0.5 + 1 + 0.5) / 4)
    assert metrics["mrr"]["value"] == pytest.approx((1 + 0.75 + 1 + 0.625) / 4)


def test_attack_figures_drop_of_all_and_of_the_applicable() -> None:
    found = attack_figures(
        outcome_of([1, 1, 1, 2], [[1, 3, 1, 2]], [True, True, False, False]), DRAWING
    )
    drop, acted = found["relative_drop"], found["applicable_drop"]
    drops = found["relative_drops"]
    assert isinstance(drop, dict)
    assert isinstance(acted, dict)
    assert isinstance(drops, dict)
    assert drop["value"] == pytest.approx(1 - 2 / 3)
    assert acted["value"] == pytest.approx(1 / 2)
    assert set(drops) == set(METRICS)
    assert drops["accuracy@1"] == drop
    assert drops["mrr"]["value"] == pytest.approx(1 - (1 + 1 / 3 + 1 + 0.5) / 3.5)
    assert 0.0 <= drop["low"] <= drop["value"] <= drop["high"] <= 1.0


def test_attack_figures_without_a_query_to_act_on_are_null() -> None:
    found = attack_figures(outcome_of([1, 2], [[1, 2]], [False, False]), DRAWING)
    nothing = {"value": None, "low": None, "high": None}
    assert found["success_rate"] == {**nothing, "n": 0}
    assert found["applicable_drop"] == nothing
    assert found["relative_drop"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_attack_figures_without_a_right_query_have_no_drop() -> None:
    found = attack_figures(outcome_of([2, 3], [[1, 1]], [True, True]), DRAWING)
    assert found["relative_drop"] == {"value": None, "low": None, "high": None}
    assert found["right_clean"] == 0


def test_outcome_of_other_shapes_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="a value for each query"):
        outcome_of([1, 2], [[1]], [True, True])
    with pytest.raises(InvalidInputError, match="expected some queries"):
        outcome_of([1, 2], [], [True, True])


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (3, 19), (30, 100), (100, 100)])
def test_share_is_exact_below_twenty_and_wilsons_from_there(successes: int, n: int) -> None:
    method = "exact" if n < 20 else "wilson"
    judged = binomtest(successes, n).proportion_ci(method=method)
    found = share(successes, n, 0.95)
    assert found["low"] == pytest.approx(judged.low, abs=1e-9)
    assert found["high"] == pytest.approx(judged.high, abs=1e-9)
    assert found["n"] == n


def test_relative_drops_of_a_drop_that_all_share_has_no_spread() -> None:
    clean = np.array([[0.2, 1.0], [0.8, 1.0], [0.5, 0.0]])
    attacked = clean * [0.5, 1.0]
    found = relative_drops(["a", "b", "c"], clean, attacked, DRAWING)
    assert found.value == pytest.approx([0.5, 0.0])
    assert found.low == pytest.approx([0.5, 0.0])
    assert found.high == pytest.approx([0.5, 0.0])


def test_relative_drops_where_all_are_right_before_is_the_bootstrap_of_the_difference() -> None:
    rng = np.random.default_rng(0)
    ids = [f"s{number % 17}" for number in range(40)]  # several queries of a sentence
    attacked = rng.integers(0, 2, (40, 1)).astype(np.float64)
    found = relative_drops(ids, np.ones((40, 1)), attacked, DRAWING)
    judged = difference(attacked[:, 0], np.ones(40), ids, resamples=400)
    assert found.value[0] == pytest.approx(judged.value)
    assert found.low[0] == pytest.approx(judged.low)
    assert found.high[0] == pytest.approx(judged.high)


def test_relative_drops_leave_out_resamples_without_a_right_query() -> None:
    clean, attacked = np.array([[1.0], [0.0]]), np.array([[0.5], [0.0]])
    found = relative_drops(["a", "b"], clean, attacked, DRAWING)
    assert (found.value[0], found.low[0], found.high[0]) == (0.5, 0.5, 0.5)


def test_relative_drops_of_one_sentence_have_no_interval() -> None:
    found = relative_drops(["a", "a"], np.ones((2, 1)), np.zeros((2, 1)), DRAWING)
    assert found.value[0] == 1.0
    assert np.isnan([found.low[0], found.high[0]]).all()


def test_relative_drops_of_other_shapes_or_numbers_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="a row for each query"):
        relative_drops(["a"], np.ones((2, 1)), np.ones((2, 1)), DRAWING)
    with pytest.raises(InvalidInputError, match="not finite"):
        relative_drops(["a"], np.ones((1, 1)), np.full((1, 1), np.nan), DRAWING)


def test_attack_figures_of_queries_that_share_an_id_draw_whole_ids() -> None:
    # Two sentences, asked thirty times each: one is always lost, the other never.
    n = 60
    ids = ["a"] * 30 + ["b"] * 30
    after = values_of([2] * 30 + [1] * 30)
    outcome = Outcome(ids, values_of([1] * n), [after], np.ones(n, dtype=bool))
    found = attack_figures(outcome, DRAWING)
    assert found["success_rate"] == {"value": 0.5, "low": 0.0, "high": 1.0, "n": n}
    apart = replace(outcome, query_ids=[str(place) for place in range(n)])
    judged = binomtest(30, n).proportion_ci(method="wilson")
    assert attack_figures(apart, DRAWING)["success_share"] == pytest.approx(
        {"value": 0.5, "low": judged.low, "high": judged.high, "n": n}
    )
