import numpy as np
import pytest

from training.buckets import Buckets, bucket_weights

SIZES = np.array([5, 1, 7, 3])
WEIGHTS = np.array([1.0, 3.0, 2.0, 2.0])
GROUPS = np.array([4, 4, 6, 9])


def test_bucket_weights_share_each_corpus_by_power_of_size() -> None:
    found = bucket_weights(
        np.array([0, 0, 1]), np.array([100, 400, 7]), np.array([3.0, 2.0]), exponent=0.5
    )
    assert found == pytest.approx([1.0, 2.0, 2.0])


def test_buckets_stand_one_after_another() -> None:
    assert Buckets(SIZES, WEIGHTS, GROUPS).starts.tolist() == [0, 5, 6, 13]


def test_locate_hand_computed() -> None:
    # The weights end at 1/8, 4/8, 6/8 and 8/8.
    points = np.array([[0.0, 0.124], [0.125, 0.499], [0.5, 0.749], [0.75, 0.999]])
    found = Buckets(SIZES, WEIGHTS, GROUPS).locate(points)
    assert found.tolist() == [[0, 0], [1, 1], [2, 2], [3, 3]]


def test_locate_is_a_search_among_the_running_sum_of_weights() -> None:
    rng = np.random.default_rng(0)
    weights = rng.random(700) ** 6  # some far narrower than a cell
    cumulative = np.cumsum(weights)
    edges = cumulative / cumulative[-1]
    near = np.nextafter(edges[:-1], 0.0)
    points = np.concatenate([rng.random(50_000), edges[:-1], near, [0.0, np.nextafter(1.0, 0.0)]])
    buckets = Buckets(np.ones(700, np.int64), weights, np.arange(700))
    wanted = np.searchsorted(edges, points, side="right")
    assert (buckets.locate(points) == wanted).all()


def test_draw_of_any_group_follows_the_weights() -> None:
    points = np.random.default_rng(0).random((1, 20_000))
    found = Buckets(SIZES, WEIGHTS, GROUPS).draw(points, np.array([-1]))
    shares = np.bincount(found[0], minlength=4) / 20_000
    assert shares == pytest.approx(WEIGHTS / 8, abs=0.01)


def test_draw_in_the_group_of_a_bucket_keeps_to_it() -> None:
    points = np.random.default_rng(0).random((4, 20_000))
    points[:, :2] = [0.0, np.nextafter(1.0, 0.0)]
    found = Buckets(SIZES, WEIGHTS, GROUPS).draw(points, np.arange(4))
    for row in (0, 1):
        assert np.bincount(found[row]) / 20_000 == pytest.approx([0.25, 0.75], abs=0.01)
    assert set(found[2].tolist()) == {2}
    assert set(found[3].tolist()) == {3}
