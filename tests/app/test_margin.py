import numpy as np
import pytest

from app.errors import InvalidInputError
from app.robustness.margin import (
    WHOLE_SPHERE,
    exclusion_radius,
    margin_from_scores,
    margin_radius,
    set_radius,
)
from app.robustness.pool import Pool, collect, pool_of

from .glass import documents
from .reference_store import Document, ReferenceStore

DIM = 3


def names(count):
    return [f"d{n:02}" for n in range(count)]


def top(query, pool, k):
    """Names of the first k documents, equal scores by name."""
    scores = pool.best(pool.scores(query[None]))[0]
    order = sorted(range(len(scores)), key=lambda n: (-scores[n], pool.doc_ids[n]))
    return {pool.doc_ids[n] for n in order[:k]}


def on_the_sphere(query, chord, count, rng):
    """Unit vectors at one distance from a unit vector, all around it."""
    aside = rng.standard_normal((count, len(query)))
    aside -= (aside @ query)[:, None] * query
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    angle = 2 * np.arcsin(chord / 2)
    return np.cos(angle) * query + np.sin(angle) * aside


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("relevant", [1, 2])
def test_margin_radius_no_vector_within_it_loses_the_answer(k, relevant):
    rng = np.random.default_rng(k)
    checked = 0
    for trial in range(40):
        pool = pool_of(names(14), documents(14, trial, DIM))
        query = documents(1, 100 + trial, DIM)[0].astype(np.float64)
        wanted = frozenset(list(top(query, pool, k))[:relevant])
        radius = margin_radius(query, pool, wanted, k).radius
        for share in (0.3, 0.9, 0.999):
            for vector in on_the_sphere(query, share * radius, 200, rng):
                assert wanted & top(vector, pool, k)
        checked += radius > 0.01
    assert checked > 30


def test_margin_radius_of_one_document_and_top_1_is_tight():
    rng = np.random.default_rng(5)
    for trial in range(20):
        pool = pool_of(names(8), documents(8, trial, DIM))
        query = documents(1, 200 + trial, DIM)[0].astype(np.float64)
        (best,) = top(query, pool, 1)
        found = margin_radius(query, pool, frozenset([best]), 1)
        beyond = on_the_sphere(query, 1.02 * found.radius + 1e-4, 4000, rng)
        assert found.tight
        assert any(top(vector, pool, 1) != {best} for vector in beyond)


def test_margin_radius_by_hand():
    # Rivals at right angles: the plane between them is 45 degrees from either.
    pool = pool_of(["a", "b", "c"], np.eye(3, dtype=np.float32))
    found = margin_radius(np.array([1.0, 0.0, 0.0]), pool, frozenset("a"), 1)
    assert found.radius == pytest.approx(2 * np.sin(np.pi / 8), abs=2e-6)
    assert found.ambient == pytest.approx(np.sqrt(0.5), abs=2e-6)


def test_margin_radius_ambient_is_sound_for_vectors_of_any_length():
    rng = np.random.default_rng(6)
    for trial in range(20):
        pool = pool_of(names(9), documents(9, trial, DIM))
        query = documents(1, 300 + trial, DIM)[0].astype(np.float64)
        wanted = frozenset(top(query, pool, 1))
        ambient = margin_radius(query, pool, wanted, 2).ambient
        steps = rng.standard_normal((300, DIM))
        steps *= 0.999 * ambient / np.linalg.norm(steps, axis=1, keepdims=True)
        assert all(wanted & top(query + step, pool, 2) for step in steps)


def test_margin_radius_counts_a_rival_of_several_passages_once():
    rng = np.random.default_rng(7)
    for trial in range(30):
        vectors = documents(12, trial, DIM)
        pool = Pool(tuple(names(5)), vectors, np.array([2, 3, 1, 4, 2]))
        query = documents(1, 400 + trial, DIM)[0].astype(np.float64)
        wanted = frozenset(list(top(query, pool, 2))[:1])
        radius = margin_radius(query, pool, wanted, 2).radius
        for vector in on_the_sphere(query, 0.999 * radius, 300, rng):
            assert wanted & top(vector, pool, 2)


def test_margin_radius_with_equal_or_better_rivals_is_zero():
    vectors = documents(4, 3, DIM)
    twins = pool_of(names(4), vectors[[0, 0, 1, 2]])
    assert margin_radius(vectors[0], twins, frozenset(["d01"]), 1).radius == 0.0
    assert margin_radius(vectors[1], twins, frozenset(["d01"]), 1).radius == 0.0


def test_margin_radius_without_enough_rivals_is_the_whole_sphere():
    pool = pool_of(names(3), documents(3, 0, DIM))
    query = documents(1, 9, DIM)[0]
    assert margin_radius(query, pool, frozenset(["d00"]), 3).radius == WHOLE_SPHERE
    assert margin_from_scores(0.1, [0.5, 0.4], 3).radius == WHOLE_SPHERE


def test_margin_from_scores_is_never_above_the_one_with_vectors():
    for trial in range(200):
        pool = pool_of(names(10), documents(10, trial, DIM))
        query = documents(1, 500 + trial, DIM)[0]
        scores = sorted(pool.scores(query[None])[0].tolist(), reverse=True)
        wanted = frozenset(top(query, pool, 1))
        for k in (1, 3):
            lower = margin_from_scores(scores[0], scores[1:], k)
            found = margin_radius(query, pool, wanted, k)
            assert lower.radius <= found.radius + 1e-6
            assert lower.ambient <= found.ambient + 1e-6


def test_margin_from_scores_is_reached_on_a_great_circle():
    angles = np.radians([20.0, -50.0])
    pool = pool_of(["a", "b"], np.stack([np.cos(angles), np.sin(angles), [0, 0]], axis=1))
    query = np.array([1.0, 0.0, 0.0])
    found = margin_from_scores(float(np.cos(angles[0])), [float(np.cos(angles[1]))], 1)
    assert found.radius == pytest.approx(
        margin_radius(query, pool, frozenset("a"), 1).radius, abs=1e-5
    )
    assert found.radius == pytest.approx(2 * np.sin(np.radians(15 / 2)), abs=1e-5)


@pytest.mark.parametrize("k", [1, 3])
def test_exclusion_radius_no_vector_within_it_lets_the_target_in(k):
    rng = np.random.default_rng(8)
    checked = 0
    for trial in range(40):
        vectors = documents(12, trial, DIM)
        pool = Pool(tuple(names(9)), vectors, np.array([1, 2, 1, 1, 2, 1, 1, 1, 2]))
        query = documents(1, 600 + trial, DIM)[0].astype(np.float64)
        radius = exclusion_radius(query, pool, "d00", k).radius
        if "d00" in top(query, pool, k):
            assert radius == 0.0
            continue
        for vector in on_the_sphere(query, 0.999 * radius, 300, rng):
            assert "d00" not in top(vector, pool, k)
        checked += radius > 0.01
    assert checked > 20


def test_exclusion_radius_of_two_documents_is_tight():
    pool = pool_of(["a", "b"], np.eye(2, dtype=np.float32))
    found = exclusion_radius(np.array([1.0, 0.0]), pool, "b", 1)
    assert found.tight
    assert found.radius == pytest.approx(2 * np.sin(np.pi / 8), abs=1e-5)


@pytest.mark.parametrize("k", [1, 3])
def test_set_radius_no_vector_within_it_changes_the_first_hits_and_one_beyond_does(k):
    rng = np.random.default_rng(9)
    for trial in range(25):
        pool = pool_of(names(10), documents(10, trial, DIM))
        query = documents(1, 700 + trial, DIM)[0].astype(np.float64)
        found = set_radius(query, pool, k)
        for vector in on_the_sphere(query, 0.999 * found.radius, 300, rng):
            assert top(vector, pool, k) == top(query, pool, k)
        beyond = on_the_sphere(query, 1.05 * found.radius + 1e-3, 3000, rng)
        assert any(top(vector, pool, k) != top(query, pool, k) for vector in beyond)
    whole = pool_of(names(10), documents(10, 0, DIM))
    assert set_radius(documents(1, 9, DIM)[0], whole, 10).radius == WHOLE_SPHERE


def test_what_does_not_fit_is_refused():
    pool = pool_of(names(3), documents(3, 0, DIM))
    query = documents(1, 9, DIM)[0]
    with pytest.raises(InvalidInputError, match="'x' is not among the 3"):
        margin_radius(query, pool, frozenset("x"), 1)
    with pytest.raises(InvalidInputError, match="top_k from 1"):
        margin_radius(query, pool, frozenset(["d00"]), 0)
    with pytest.raises(InvalidInputError, match="at least one row for each"):
        Pool(("a",), documents(3, 0, DIM), np.array([1]))


def test_collect_reads_the_whole_collection_or_says_that_it_did_not():
    store = ReferenceStore()
    store.create("c", DIM, "m")
    vectors = documents(2500, 0, DIM)
    some = [Document(f"d{n:04}", f"text {n}") for n in range(2400)]
    long = Document("long", "x" * 100)
    store.upsert("c", some, vectors[:2400])
    store.upsert("c", [long], vectors[2400:], [[(n, n + 1) for n in range(100)]])

    pool = collect(store, "c")
    assert pool.complete
    assert dict(zip(pool.doc_ids, pool.sizes.tolist(), strict=True))["long"] == 100
    query = documents(1, 1, DIM)
    hits = store.search("c", query, 5)[0]
    scores = pool.best(pool.scores(query))[0]
    assert [hit.document.doc_id for hit in hits] == [
        pool.doc_ids[n] for n in np.argsort(-scores)[:5]
    ]
    assert not collect(store, "c", most=1000).complete
    store.create("empty", DIM, "m")
    with pytest.raises(InvalidInputError, match="has no documents"):
        collect(store, "empty")
