import numpy as np
import pytest
from scipy import special, stats

from app.errors import InvalidInputError
from app.retrieval.metrics import wilson_interval
from app.robustness.binomial import (
    at_least,
    beta_share,
    clopper_pearson,
    mcnemar,
    share_at_least,
    share_interval,
)


@pytest.mark.parametrize("n", [1, 2, 7, 19, 50, 1000, 100_000])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_clopper_pearson_equals_scipy(n, share, confidence):
    successes = round(n * share)
    expected = stats.binomtest(successes, n).proportion_ci(confidence, method="exact")
    found = clopper_pearson(successes, n, confidence)
    assert found == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-13)


def test_clopper_pearson_by_hand():
    # Of 10 tries none: 1 - (alpha / 2) ** (1 / 10).
    assert clopper_pearson(0, 10) == pytest.approx((0.0, 1 - 0.025**0.1), abs=1e-14)
    assert clopper_pearson(1, 1) == pytest.approx((0.025, 1.0), abs=1e-14)
    assert clopper_pearson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("share", [0.03, 0.2, 0.5, 0.9])
def test_clopper_pearson_covers_as_promised_for_every_outcome(share):
    n = 15
    outcomes = stats.binom.pmf(np.arange(n + 1), n, share)
    covered = [low <= share <= high for low, high in (clopper_pearson(k, n) for k in range(n + 1))]
    assert outcomes[covered].sum() >= 0.95


def test_share_interval_is_exact_below_twenty_and_wilson_from_there():
    assert share_interval(18, 19) == clopper_pearson(18, 19)
    assert share_interval(18, 20) == wilson_interval(18, 20)


def test_share_at_least_fails_as_seldom_as_promised():
    n, share, alpha = 40, 0.8, 0.05
    wrong = [share_at_least(k, n, alpha) > share for k in range(n + 1)]
    assert 0.0 < stats.binom.pmf(np.arange(n + 1), n, share)[wrong].sum() <= alpha


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (3, 5), (5, 5), (700, 1000)])
def test_at_least_is_the_upper_tail(successes, n):
    for share in (0.0, 0.1, 0.6, 1.0):
        expected = stats.binom.sf(successes - 1, n, share)
        assert at_least(successes, n, share) == pytest.approx(expected, rel=1e-10, abs=1e-300)


def test_mcnemar_is_the_two_sided_sign_test():
    for first, second in ((0, 0), (3, 3), (1, 9), (12, 4), (0, 6)):
        n = first + second
        expected = stats.binomtest(first, n, 0.5).pvalue if n else 1.0
        assert mcnemar(first, second) == pytest.approx(expected, rel=1e-10)


def test_beta_share_equals_scipy_over_its_range():
    rng = np.random.default_rng(0)
    for a, b, x in zip(
        10 ** rng.uniform(-1, 5, 300), 10 ** rng.uniform(-1, 5, 300), rng.uniform(size=300),
        strict=True,
    ):  # fmt: skip
        assert beta_share(x, a, b) == pytest.approx(special.betainc(a, b, x), rel=1e-8, abs=1e-280)


@pytest.mark.parametrize("counts", [(-1, 3), (4, 3)])
def test_counts_that_cannot_be_are_refused(counts):
    for call in (clopper_pearson, lambda k, n: at_least(k, n, 0.5)):
        with pytest.raises(InvalidInputError, match="0 <= successes <= n"):
            call(*counts)


def test_probabilities_out_of_range_are_refused():
    with pytest.raises(InvalidInputError, match="confidence is 1"):
        clopper_pearson(1, 2, 1.0)
    with pytest.raises(InvalidInputError, match="alpha is 0"):
        share_at_least(1, 2, 0.0)
    with pytest.raises(InvalidInputError, match=r"share is 1\.5"):
        at_least(1, 2, 1.5)
