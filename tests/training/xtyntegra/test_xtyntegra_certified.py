"""Certified shares: exact geometry by hand, parity with the probe's, and no counterexample."""

from dataclasses import replace
from math import cos, radians, sin

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from app.robustness.bounds import bernstein
from app.robustness.inside import Inside
from app.robustness.margin import margin_radius
from app.robustness.pool import pool_of
from app.robustness.resources import Access
from app.robustness.smoothing import Noise
from training.xtyntegra.certified import (
    MARGIN,
    SMOOTHED,
    certified_entries,
    margin_radii,
    smoothed_radii,
    unbroken_entries,
    violations,
)
from training.xtyntegra.task import Cell, Pool

from .test_xtyntegra_inside import Flat, Reads, at_angle


def cell_of(documents: int, relevant: list[list[int]]) -> Cell:
    names = [str(row) for row in range(documents)]
    pool = Pool("p", names, ["eng_Latn"] * documents, names)
    rows = [np.array(each, dtype=np.intp) for each in relevant]
    queries = [f"q{place}" for place in range(len(relevant))]
    return Cell("own", "to-english", "swh_Latn", "eng_Latn", queries, queries, pool, rows)


def angles(*degrees: float) -> NDArray[np.float32]:
    return np.array([at_angle(one) for one in degrees], dtype=np.float32)


def unit_rows(n: int, dim: int, seed: int) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_margin_radii_are_chords_to_the_nearest_boundary() -> None:
    # Documents at 0 and 60 degrees: the boundary is at 30.
    found = margin_radii(angles(20, 40, 0), angles(0, 60), cell_of(2, [[0], [0], [0]]))
    assert found == pytest.approx([2 * sin(radians(5)), 0.0, 2 * sin(radians(15))], abs=1e-5)


def test_margin_radii_with_several_right_documents_take_the_best_one() -> None:
    # 0 is lost to 60 at 30 degrees; 180, the other right one, is behind from the beginning.
    documents = angles(0, 60, 180)
    found = margin_radii(angles(20, 20), documents, cell_of(3, [[0, 2], [0, 1]]))
    assert found[0] == pytest.approx(2 * sin(radians(5)), abs=1e-5)
    # Only 180 is wrong: 60 is lost to it at 120 and at -60, 0 at 90; the farther one counts.
    assert found[1] == pytest.approx(2 * sin(radians(40)), abs=1e-5)


def test_margin_radii_without_rivals_or_with_equal_ones() -> None:
    lonely = replace(cell_of(2, [[0]]), excluded=[np.array([1])])
    assert margin_radii(angles(20), angles(0, 60), lonely) == pytest.approx([2.0])
    assert margin_radii(angles(20), angles(0, 0), cell_of(2, [[0]])) == pytest.approx([0.0])


@pytest.mark.parametrize("right", [1, 3])
def test_margin_radii_are_those_of_the_probe(right: int) -> None:
    documents, queries = unit_rows(40, 8, 0), unit_rows(25, 8, 1)
    best = np.argsort(-(queries @ documents.T), axis=1)[:, :right]
    best[::3] = best[::3] * 0 + np.arange(right)  # some are wrong
    asked = cell_of(40, best.tolist())
    pool = pool_of([str(row) for row in range(40)], documents)
    judged = [
        margin_radius(query, pool, frozenset(map(str, rows)), 1).radius
        for query, rows in zip(queries, best.tolist(), strict=True)
    ]
    found = margin_radii(queries, documents, asked)
    assert found == pytest.approx(judged, abs=1e-9)
    assert 0 < (found == 0).sum() < 25


def test_margin_radii_hold_for_every_vector_nearer_than_that() -> None:
    documents, queries = unit_rows(30, 4, 2), unit_rows(12, 4, 3)
    best = (queries @ documents.T).argmax(axis=1)
    radii = margin_radii(queries, documents, cell_of(30, [[row] for row in best.tolist()]))
    rng = np.random.default_rng(4)
    nearest_loss = np.full(12, np.inf)
    for _ in range(2000):
        moved = queries + rng.normal(size=queries.shape) * rng.uniform(0.0, 0.6)
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        lost = (moved @ documents.T).argmax(axis=1) != best
        shift = np.linalg.norm(moved - queries, axis=1)
        nearest_loss = np.where(lost, np.minimum(nearest_loss, shift), nearest_loss)
    assert np.isfinite(nearest_loss).sum() >= 8
    assert (nearest_loss >= radii).all()
    assert violations(radii, nearest_loss) == 0
    assert violations(radii, radii * 0.5) == (radii > 1e-4).sum()


def test_certified_entries_count_all_queries() -> None:
    found = certified_entries(
        cell_of(2, [[0]] * 4), MARGIN, np.array([0.0, 0.05, 0.1, 0.3]), (0.1, 0.05)
    )
    assert [(one["radius"], one["share"]["value"]) for one in found] == [(0.05, 0.75), (0.1, 0.5)]
    assert found[0]["share"]["n"] == 4
    assert {key: found[0][key] for key in ("task", "query_lang", "document_lang", "kind")} == {
        "task": "own",
        "query_lang": "swh_Latn",
        "document_lang": "eng_Latn",
        "kind": "output-margin",
    }


def test_unbroken_entries_count_right_queries_that_no_small_shift_broke() -> None:
    right = np.array([True, True, True, False])
    shifts = np.array([0.05, 0.2, np.inf, np.inf])
    found = unbroken_entries(cell_of(2, [[0]] * 4), right, shifts, (0.1, 0.3))
    assert [one["share"]["value"] for one in found] == [0.5, 0.25]
    assert (
        found[0]["unit"]
        == certified_entries(cell_of(2, [[0]]), MARGIN, np.array([1.0]), (0.1,))[0]["unit"]
    )


class Deaf(Flat):
    """Gives the same vector whatever the embeddings are."""

    def encode(self, token_embeddings, mask):
        return np.repeat(angles(20), len(token_embeddings), axis=0)


def test_smoothed_radii_of_an_encoder_without_noise_follow_from_the_bound_alone() -> None:
    access = Access(Inside(Deaf(), range(360)), Reads())  # pyright: ignore[reportArgumentType]
    asked = replace(cell_of(2, [[0], [1]]), queries=["20", "20"])
    documents, noise = angles(0, 60), Noise(0.5, 1000)
    found = smoothed_radii(access, documents, asked, noise, alpha=0.01)
    # All samples are equal: gamma is cos 20 less cos 40 over the chord of 60 degrees, which is 1.
    gamma = cos(radians(20)) - cos(radians(40))
    low = bernstein(np.array([gamma]), np.array([0.0]), 1000, 0.01)[0]
    sigma = 0.5 / np.sqrt(2)  # of one entry, with mean norm 1 and 2 dimensions
    assert found == pytest.approx([sigma * norm.ppf((1 + low) / 2), 0.0], rel=1e-4)


def test_smoothed_radii_leave_out_what_does_not_compete_and_what_cannot_move() -> None:
    access = Access(Inside(Deaf(), range(360)), Reads())  # pyright: ignore[reportArgumentType]
    asked = replace(
        cell_of(3, [[0], [0]]), queries=["20", "20!"], excluded=[np.array([1]), np.array([1])]
    )
    found = smoothed_radii(access, angles(0, 21, 90), asked, Noise(0.5, 1000))
    assert found[0] > 0.0  # although the document at 21 degrees is nearer
    assert found[1] == 0.0


def test_certified_entries_of_smoothing_are_in_mean_token_norms() -> None:
    (found,) = certified_entries(cell_of(2, [[0]]), SMOOTHED, np.array([0.2]), (0.1,))
    assert found["unit"] == "mean token norms"
    assert found["share"]["value"] == 1.0
