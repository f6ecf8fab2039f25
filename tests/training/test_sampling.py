import numpy as np
import pytest

from training.sampling import bucket_weights, draw_weighted


def test_bucket_weights_share_each_corpus_by_power_of_size() -> None:
    found = bucket_weights(
        np.array([0, 0, 1]), np.array([100, 400, 7]), np.array([3.0, 2.0]), exponent=0.5
    )
    assert found == pytest.approx([1.0, 2.0, 2.0])


def test_draw_weighted_follows_the_weights() -> None:
    drawn = draw_weighted(np.random.default_rng(0), np.cumsum([1.0, 0.0, 3.0]), 4000)
    shares = np.bincount(drawn, minlength=3) / 4000
    assert shares[1] == 0
    assert shares == pytest.approx([0.25, 0.0, 0.75], abs=0.03)
