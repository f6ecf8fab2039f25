import copy
import itertools

import numpy as np
import pytest

from app.errors import InvalidInputError
from app.retrieval.documents import Document
from app.robustness.hotflip import Flips
from app.robustness.inside import Inside
from app.robustness.poisoning import (
    poison_documents,
    poisoned_shares,
    promote_document,
    query_groups,
    ranks_with,
)
from app.robustness.smoothing import Lens
from app.robustness.substitution import row_of

from .glass import documents
from .reference_store import ReferenceStore
from .words import WORDS, Words, sentences


class World:
    """Queries of three subjects, and documents about nothing in particular."""

    def __init__(self) -> None:
        box = Words()
        self.speller = box
        self.lens = Lens(Inside(box, range(2, len(WORDS))))
        self.queries = self.vectors(sentences(60, seed=1))
        self.store = ReferenceStore()
        self.store.create("c", self.queries.shape[1], "m")
        texts = sentences(150, seed=2)
        self.documents = [Document(f"d{n}", text) for n, text in enumerate(texts)]
        self.store.upsert("c", self.documents, self.vectors(texts))

    def vectors(self, texts):
        return self.lens.texts([row_of(one) for one in self.speller.read(texts)])


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_query_groups_are_found_whatever_the_seed():
    rng = np.random.default_rng(0)
    middles = np.eye(8)[:3]
    rows = np.repeat(middles, 20, axis=0) + 0.1 * rng.standard_normal((60, 8))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for seed in range(5):
        centers, member = query_groups(rows, 3, seed)
        assert len({tuple(member[start : start + 20]) for start in (0, 20, 40)}) == 3
        for group in range(3):
            np.testing.assert_allclose(
                centers[group], rows[member == group].mean(axis=0), atol=1e-6
            )
    assert query_groups(rows, 1)[1].max() == 0


def test_query_groups_of_equal_queries_are_made_all_the_same():
    rows = np.repeat(documents(2, 0), 3, axis=0)
    centers, member = query_groups(rows, 4)
    assert centers.shape == (4, rows.shape[1])
    assert np.isfinite(centers).all()
    assert (member < 4).all()
    with pytest.raises(InvalidInputError, match="at least one query each"):
        query_groups(rows, 7)


def test_poison_comes_up_for_queries_it_was_not_made_with(world: World):
    before = copy.deepcopy(world.store.made["c"].entries)
    known, others = world.queries[:40], world.queries[40:]
    starts = [document.text for document in world.documents[3:6]]
    flips = Flips(edits=8, calls=600, candidates=20, places=8)

    poisons = poison_documents(world.lens, world.speller, known, starts, flips)

    made = [(one.document, one.vector) for one in poisons]
    plain = [
        (Document(f"plain{n}", text), world.vectors([text])[0]) for n, text in enumerate(starts)
    ]
    led = poisoned_shares(world.store, "c", made, others, (1, 10, 20))
    control = poisoned_shares(world.store, "c", plain, others, (1, 10, 20))
    assert [one.depth for one in led] == [1, 10, 20]
    assert sum(one.hit for one in led) > sum(one.hit for one in control)
    assert all(a.hit <= b.hit for a, b in itertools.pairwise(led))
    for one in poisons:
        (read,) = world.speller.read([one.document.text])
        np.testing.assert_allclose(world.vectors([read.text])[0], one.vector, atol=1e-5)
        assert 0.95 * one.bound < one.nearness <= one.bound + 1e-6
        assert one.calls <= 600
    assert world.store.made["c"].entries.keys() == before.keys()


def test_hub_vectors_are_the_upper_bound_of_what_texts_reach(world: World):
    known = world.queries[:40]
    centers, member = query_groups(known, 2)
    flips = Flips(edits=8, calls=300, candidates=20, places=8)
    starts = [document.text for document in world.documents[:2]]
    poisons = poison_documents(world.lens, world.speller, known, starts, flips)
    for number, one in enumerate(poisons):
        hub = centers[number] / np.linalg.norm(centers[number])
        best = float((known[member == number] @ hub).mean())
        assert one.bound == pytest.approx(best, abs=1e-5)
        assert one.nearness <= best + 1e-6


def test_poisoned_shares_count_queries_by_hand():
    store = ReferenceStore()
    store.create("c", 2, "m")
    store.upsert("c", [Document("a", "a"), Document("b", "b")], np.eye(2, dtype=np.float32))
    diagonal = np.array([0.6, 0.8])
    queries = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    found = poisoned_shares(store, "c", [(Document("p", "p"), diagonal)], queries, (2, 1, 3))
    assert [(one.depth, one.hit, one.queries) for one in found] == [(1, 1, 3), (2, 3, 3), (3, 3, 3)]
    with pytest.raises(InvalidInputError, match="expected other names"):
        poisoned_shares(store, "c", [(Document("a", "p"), diagonal)], queries)


def test_promote_document_raises_it_on_the_overlay_alone(world: World):
    document = world.documents[7]
    queries = world.queries[:5]
    flips = Flips(edits=6, calls=400, candidates=20, places=6)

    changed, result = promote_document(world.lens, world.speller, document, queries, flips)

    assert (changed.doc_id, changed.text) == ("d7", result.text)
    own = world.vectors([document.text])[0]
    before = ranks_with(world.store, "c", document, own, queries, 200)
    after = ranks_with(world.store, "c", changed, result.vector, queries, 200)
    live = [
        [hit.document.doc_id for hit in hits].index("d7") + 1
        for hits in world.store.search("c", queries, 200)
    ]
    assert before == live
    assert sum(rank or 201 for rank in after) < sum(rank or 201 for rank in before)
    assert world.store.get("c", ["d7"]) == [document]


def test_ranks_beyond_the_depth_are_not_known(world: World):
    far = -world.queries[:1].mean(axis=0)
    assert ranks_with(world.store, "c", Document("far", "x"), far, world.queries[:1], 5) == [None]
