import math

import numpy as np
import pytest

from export.comparison import (
    LEAST_TEXTS,
    NEIGHBORS,
    batch_of,
    cosine_gap,
    neighbors_lost,
    relative_error,
)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return unit(np.random.default_rng(0).standard_normal((LEAST_TEXTS, 16)))


def test_cosine_gap_hand_computed() -> None:
    right = np.array([[1.0, 0], [0, 2.0]])

    assert cosine_gap(right, right) == 0
    assert cosine_gap(np.array([[1.0, 1], [0, 1]]), right) == pytest.approx(1 - 0.5**0.5)
    assert cosine_gap(-right, right) == pytest.approx(2)
    assert math.isnan(cosine_gap(0 * right, right))
    assert math.isnan(cosine_gap(np.array([[1.0, 0], [np.nan, 1]]), right))


def test_relative_error_hand_computed() -> None:
    expected = np.array([[[3.0, 4.0]], [[0.0, 10.0]]])

    assert relative_error(expected, expected) == 0
    assert relative_error(expected + np.array([[[0, 1.0]], [[0, 0]]]), expected) == pytest.approx(
        1 / 5
    )
    assert relative_error(-expected, expected) == pytest.approx(2)
    assert math.isnan(relative_error(np.full_like(expected, np.nan), expected))


def test_relative_error_of_next_to_nothing_is_held_to_the_others() -> None:
    expected = np.array([[10.0], [1e-9]])

    assert relative_error(np.array([[10.0], [2e-9]]), expected) == pytest.approx(1e-8)
    assert relative_error(np.array([[10.0], [0.1]]), expected) == pytest.approx(1.0)


def test_neighbors_lost_same_vectors_lose_none_and_ties_count(vectors: np.ndarray) -> None:
    lost = neighbors_lost(vectors, vectors)
    assert lost is not None
    assert lost.max() == 0

    alike = np.ones((LEAST_TEXTS, 3)) / 3**0.5
    again = neighbors_lost(alike[np.random.default_rng(1).permutation(len(alike))], alike)
    assert again is not None
    assert again.max() == 0


def test_neighbors_lost_counts_what_another_order_would(vectors: np.ndarray) -> None:
    near = unit(vectors + 0.2 * np.random.default_rng(2).standard_normal(vectors.shape))

    lost = neighbors_lost(near, vectors)

    def nearest(rows: np.ndarray, index: int) -> set[int]:
        order = [int(one) for one in np.argsort(-(rows @ rows[index])) if one != index]
        return set(order[:NEIGHBORS])

    expected = [
        1 - len(nearest(near, index) & nearest(vectors, index)) / NEIGHBORS
        for index in range(len(vectors))
    ]
    assert lost is not None
    np.testing.assert_allclose(lost, expected)
    assert 0 < lost.mean() < 1


def test_neighbors_lost_few_texts_are_not_measured(vectors: np.ndarray) -> None:
    assert neighbors_lost(vectors[:-1], vectors[:-1]) is None


def test_batch_of_pads_to_the_longest() -> None:
    ids, mask = batch_of([[5, 6], [7]], pad_id=9)

    assert ids.tolist() == [[5, 6], [7, 9]]
    assert mask.tolist() == [[1, 1], [1, 0]]
