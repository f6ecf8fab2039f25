import numpy as np

from training.meanings import Meanings

# 0 is translated by 1 and 2, and 3 by 2 and 4; 5 stands in no pair.
MEANINGS = Meanings(np.array([0, 0, 3, 3]), np.array([1, 2, 2, 4]), 6)
SAME = {(0, 1), (0, 2), (1, 2), (2, 3), (2, 4), (3, 4)}
EXPECTED = np.array(
    [[a == b or (min(a, b), max(a, b)) in SAME for b in range(6)] for a in range(6)]
)


def test_pivots_lists_those_of_each_text() -> None:
    places, pivots = MEANINGS.pivots(np.array([2, 5, 0, 4]))
    assert list(zip(places.tolist(), pivots.tolist(), strict=True)) == [
        (0, 0),
        (0, 3),
        (2, 0),
        (3, 3),
    ]


def test_same_is_to_share_a_pivot() -> None:
    left, right = (side.ravel() for side in np.meshgrid(np.arange(6), np.arange(6), indexing="ij"))
    assert np.array_equal(MEANINGS.same(left, right), EXPECTED.ravel())


def test_same_pairs_are_those_of_the_full_comparison() -> None:
    left, right = np.array([2, 5, 0, 2, 1]), np.array([4, 1, 5, 3])
    rows, columns = MEANINGS.same_pairs(left, right)
    found = np.zeros((5, 4), bool)
    found[rows, columns] = True
    assert np.array_equal(found, EXPECTED[left][:, right])


def test_same_of_nothing_is_nothing() -> None:
    none = np.zeros(0, np.int64)
    assert MEANINGS.same(none, none).shape == (0,)
    assert [len(part) for part in MEANINGS.same_pairs(none, none)] == [0, 0]
