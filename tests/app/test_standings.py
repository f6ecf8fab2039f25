"""Standings by the live store and by the vectors in memory."""

import numpy as np
import pytest

from app.retrieval.documents import Document
from app.robustness.goal import Demotion
from app.robustness.pool import collect
from app.robustness.standings import Standings

from .reference_store import ReferenceStore

DIM, COUNT = 8, 90


class World:
    def __init__(self):
        random = np.random.default_rng(3)
        rows = random.normal(size=(COUNT, DIM)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        self.store = ReferenceStore()
        self.store.create("c", DIM, "m")
        self.store.upsert("c", [Document(f"d{n:02}", "x") for n in range(COUNT)], rows)
        self.standings = Standings(self.store, "c", collect(self.store, "c"))
        queries = random.normal(size=(11, DIM)).astype(np.float32)
        self.vectors = list(queries / np.linalg.norm(queries, axis=1, keepdims=True))
        # Documents at all depths, some queries with two
        self.goals = [
            Demotion(frozenset({f"d{7 * n % COUNT:02}", f"d{11 * n % COUNT:02}"}), 5)
            for n in range(len(queries))
        ]

    def by_hand(self):
        found = []
        for vector, goal in zip(self.vectors, self.goals, strict=True):
            (hits,) = self.store.search("c", vector[None], COUNT)
            ranks = [hit.rank for hit in hits if hit.document.doc_id in goal.relevant]
            found.append((min(ranks), sum(rank <= 5 for rank in ranks)))
        return found


@pytest.fixture(scope="module")
def world():
    return World()


def told(standings):
    return [(one.rank, one.found) for one in standings]


def test_standings_are_those_of_a_deep_search(world):
    found = world.standings.of(world.vectors, world.goals, lambda: False)
    assert told(found) == world.by_hand()
    assert {one.rank > 20 for one in found} == {True, False}


@pytest.mark.parametrize("looks", [0, 1, 2])
def test_standings_once_told_to_stop_are_the_same_without_a_search(world, looks, monkeypatch):
    searched = []
    search = world.store.search
    counted = lambda *asked, **how: searched.append(len(asked[1])) or search(*asked, **how)  # noqa: E731
    monkeypatch.setattr(world.store, "search", counted)
    left = iter([False] * looks)
    found = world.standings.of(world.vectors, world.goals, lambda: next(left, True))
    assert bool(searched) == bool(looks)
    whole = world.standings.remembered(world.vectors, world.goals, COUNT)
    assert told(found) == told(whole) == world.by_hand()
    np.testing.assert_allclose(
        [one.margin for one in found], [one.margin for one in whole], atol=1e-6
    )


def test_standings_search_a_few_at_a_time_and_deeper_only_where_needed(world, monkeypatch):
    asked = []
    search = world.store.search

    def counted(name, vectors, top_k, **how):
        asked.append((len(vectors), top_k))
        return search(name, vectors, top_k, **how)

    monkeypatch.setattr(world.store, "search", counted)
    world.standings.of(world.vectors, world.goals, lambda: False)
    assert max(rows for rows, _ in asked) == 4
    assert min(depth for _, depth in asked) == 7
    assert sum(rows for rows, depth in asked if depth == COUNT) < len(world.vectors)


def test_standings_beyond_the_depth_have_no_rank(world):
    found = world.standings.remembered(world.vectors, world.goals, 6)
    for one, (rank, _) in zip(found, world.by_hand(), strict=True):
        assert one.rank == (rank if rank <= 6 else None)
    assert any(one.rank is None for one in found)


def test_standings_of_nothing_are_none(world):
    assert world.standings.of([], [], lambda: False) == []
