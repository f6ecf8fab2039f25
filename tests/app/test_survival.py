import math

import numpy as np
import pytest
from scipy import stats

from app.errors import InvalidInputError
from app.robustness.survival import calls_to_success

# Remission of leukemia under 6-MP (Freireich et al. 1963), the textbooks' example; True: an event.
WEEKS = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
EVENTS = [True, True, True, False, True, False, True, False, False, True, True]
EVENTS += [False, False, False, True, True, False, False, False, False, False]
SURVIVAL = {6: 0.8571, 7: 0.8067, 10: 0.7529, 13: 0.6902, 16: 0.6275, 22: 0.5378, 23: 0.4482}
GREENWOOD = {6: 0.0764, 7: 0.0869, 10: 0.0963, 13: 0.1068, 16: 0.1141, 22: 0.1282, 23: 0.1346}


def test_curve_of_the_textbook_example():
    curve = calls_to_success(WEEKS, EVENTS)

    assert [step.calls for step in curve.steps] == list(SURVIVAL)
    for step in curve.steps:
        assert 1.0 - step.share == pytest.approx(SURVIVAL[step.calls], abs=5e-5)
    assert (curve.attacks, curve.censored, curve.median) == (21, 12, 23)


def test_band_is_greenwoods_on_the_log_log_scale():
    z = stats.norm.ppf(0.975)
    for step in calls_to_success(WEEKS, EVENTS).steps:
        survival = SURVIVAL[step.calls]
        half = z * GREENWOOD[step.calls] / survival / -math.log(survival)
        low, high = 1.0 - survival ** math.exp(-half), 1.0 - survival ** math.exp(half)
        assert (step.low, step.high) == pytest.approx((low, high), abs=2e-3)


def test_curve_equals_scipy():
    rng = np.random.default_rng(3)
    calls, events = rng.integers(1, 30, 200), rng.random(200) < 0.6
    data = stats.CensoredData(uncensored=calls[events], right=calls[~events])
    expected = stats.ecdf(data).cdf
    curve = calls_to_success(calls.tolist(), events.tolist())
    for step in curve.steps:
        assert step.share == pytest.approx(float(expected.evaluate(step.calls)), abs=1e-12)
    log_log = stats.ecdf(data).sf.confidence_interval(method="log-log")
    for step in curve.steps[:-1]:
        assert step.low == pytest.approx(1 - float(log_log.high.evaluate(step.calls)), abs=1e-9)
        assert step.high == pytest.approx(1 - float(log_log.low.evaluate(step.calls)), abs=1e-9)


def test_curve_without_censoring_is_the_share_of_successes():
    curve = calls_to_success([1, 2, 2, 8], [True] * 4)
    assert [curve.share_by(calls) for calls in (0, 1, 2, 7, 8)] == [0.0, 0.25, 0.75, 0.75, 1.0]
    assert curve.median == 2
    assert curve.steps[-1].low == curve.steps[-2].low
    assert curve.steps[-1].high == 1.0


def test_censored_attacks_leave_the_risk_set_after_their_count():
    # At 5 two are at risk (one censored there still is), at 9 one: 1 - (1/2) * 0.
    curve = calls_to_success([5, 5, 9], [True, False, True])
    assert [(step.at_risk, step.share) for step in curve.steps] == [
        (3, pytest.approx(1 / 3)),
        (1, 1.0),
    ]


def test_median_that_is_never_reached_is_not_known():
    curve = calls_to_success([3] + [64] * 9, [True] + [False] * 9)
    assert (curve.median, curve.median_low, curve.median_high) == (None, 3, None)


def test_curve_of_nothing_has_no_steps():
    curve = calls_to_success([], [])
    assert (curve.steps, curve.attacks, curve.median, curve.share_by(10)) == ((), 0, None, 0.0)


def test_counts_without_outcomes_are_refused():
    with pytest.raises(InvalidInputError, match="one outcome for each"):
        calls_to_success([1, 2], [True])
    with pytest.raises(InvalidInputError, match="none negative"):
        calls_to_success([-1], [True])
