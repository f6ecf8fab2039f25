import copy

import numpy as np
import pytest

from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.retrieval.filters import Filter, In, languages
from app.retrieval.store import VectorStore
from app.robustness.overlay import Overlay

from .glass import documents
from .reference_store import Document, ReferenceStore

DIM = 6
LIVE = [Document(f"d{n:02}", f"text {n}", ["eng_Latn", "swh_Latn"][n % 2]) for n in range(30)]
OVER = [
    Document("d03", "rewritten", "swh_Latn"),
    Document("new", "added", "eng_Latn"),
    Document("a-new", "added too"),
]
VECTORS = documents(30, 1, DIM)
LAID = documents(3, 2, DIM)
QUERIES = documents(8, 3, DIM)


@pytest.fixture
def store() -> ReferenceStore:
    made = ReferenceStore()
    made.create("c", DIM, "m")
    made.upsert("c", LIVE, VECTORS)
    made.create("other", DIM, "m")
    made.upsert("other", LIVE[:2], VECTORS[:2])
    return made


def merged() -> ReferenceStore:
    """The collection as it would be with the documents written to it."""
    made = ReferenceStore()
    made.create("c", DIM, "m")
    made.upsert("c", LIVE, VECTORS)
    made.upsert("c", OVER, LAID)
    return made


@pytest.mark.parametrize("where", [None, languages("swh_Latn"), In("doc_id", ("d03", "new"))])
@pytest.mark.parametrize(("top_k", "offset"), [(5, 0), (7, 3), (100, 0), (2, 31), (3, 40)])
def test_overlay_searches_as_if_the_documents_were_written(
    store: ReferenceStore, where: Filter | None, top_k: int, offset: int
) -> None:
    found = Overlay(store, "c", OVER, LAID).search("c", QUERIES, top_k, where, offset=offset)
    expected = merged().search("c", QUERIES, top_k, where, offset=offset)
    for hits, right in zip(found, expected, strict=True):
        assert [(h.rank, h.document) for h in hits] == [(h.rank, h.document) for h in right]
        np.testing.assert_allclose([h.score for h in hits], [h.score for h in right], atol=1e-6)


def test_overlay_beyond_one_calls_limit_searches_on(store: ReferenceStore) -> None:
    many = [Document(f"m{n:04}", "x") for n in range(2500)]
    vectors = documents(2500, 5, DIM)
    store.upsert("c", many, vectors)
    whole = merged()
    whole.upsert("c", many, vectors)
    over = Overlay(store, "c", OVER, LAID)
    found = over.search("c", QUERIES[:2], 1000, offset=1500)
    expected = whole.search("c", QUERIES[:2], 1000, offset=1500)
    for hits, right in zip(found, expected, strict=True):
        assert [(h.rank, h.document.doc_id) for h in hits] == [
            (h.rank, h.document.doc_id) for h in right
        ]


def test_overlay_describes_gets_and_counts_as_if_written(store: ReferenceStore) -> None:
    over, whole = Overlay(store, "c", OVER, LAID), merged()
    assert over.describe("c") == whole.describe("c")
    names = ["new", "d03", "d04", "missing"]
    assert over.get("c", names) == whole.get("c", names)
    for where in (None, languages("swh_Latn"), In("doc_id", ("d03", "a-new"))):
        assert over.count("c", where) == whole.count("c", where)
    assert [one.count for one in over.collections()] == [32, 2]


def test_overlay_never_changes_the_live_store(store: ReferenceStore) -> None:
    before = copy.deepcopy(store.made)
    over: VectorStore = Overlay(store, "c", OVER, LAID)
    over.search("c", QUERIES, 10)
    changes = [
        lambda: over.upsert("c", LIVE[:1], VECTORS[:1]),
        lambda: over.delete("c", ["d00"]),
        lambda: over.delete_where("c", languages("eng_Latn")),
        lambda: over.drop("other"),
        lambda: over.create("x", DIM, "m"),
        lambda: over.replace("c", "other"),
        lambda: over.flush("c"),
    ]
    for change in changes:
        with pytest.raises(ConflictError, match="through an overlay"):
            change()
    over.close()
    assert not store.closed
    assert store.made.keys() == before.keys()
    for name, made in store.made.items():
        assert made.entries.keys() == before[name].entries.keys()
        for doc_id, entry in made.entries.items():
            assert entry.document == before[name].entries[doc_id].document
            np.testing.assert_array_equal(entry.vectors, before[name].entries[doc_id].vectors)


def test_overlay_leaves_other_collections_alone(store: ReferenceStore) -> None:
    over = Overlay(store, "c", OVER, LAID)
    assert over.search("other", QUERIES, 5) == store.search("other", QUERIES, 5)
    assert over.describe("other") == store.describe("other")
    assert over.match("other", ["text"], 2) == store.match("other", ["text"], 2)
    with pytest.raises(InvalidInputError, match="expected a dense search"):
        over.match("c", ["text"], 2)


def test_overlay_keeps_the_best_passage_of_live_documents(store: ReferenceStore) -> None:
    store.upsert("c", [Document("long", "ab")], QUERIES[:2], [[(0, 1), (1, 2)]])
    hit = Overlay(store, "c", OVER, LAID).search("c", QUERIES[1:2], 1)[0][0]
    assert (hit.document.doc_id, hit.span) == ("long", (1, 2))


def test_overlay_that_does_not_fit_is_refused(store: ReferenceStore) -> None:
    with pytest.raises(NotFoundError):
        Overlay(store, "missing", OVER, LAID)
    with pytest.raises(InvalidInputError, match=r"expected \(3, 6\)"):
        Overlay(store, "c", OVER, LAID[:, :4])
    with pytest.raises(InvalidInputError, match="twice"):
        Overlay(store, "c", [OVER[0], OVER[0]], LAID[:2])
    with pytest.raises(InvalidInputError, match="top_k 0"):
        Overlay(store, "c", OVER, LAID).search("c", QUERIES, 0)
