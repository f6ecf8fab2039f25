"""Documents, vectors and comparisons that the parts of the contract suite share."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from app.retrieval.documents import Document
from app.retrieval.filters import Filter
from app.retrieval.store import Hit, VectorStore

from .reference_store import ReferenceStore

DIM = 8
LANGS = ("eng_Latn", "swh_Latn", None)
BAD_NAMES = [
    "", ".", "..", "../x", "a/b", "/etc", "a\\b", "A", "ä", "a b", "-a", "_a", "a\n", "a\0",
    "x" * 65, "%2e%2e", "a.b", "․․", "ａ", "store.lock",
]  # fmt: skip


def unit(rows) -> NDArray[np.float32]:
    """Scale rows to length 1."""
    array = np.asarray(rows, dtype=np.float64)
    return (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)


def vectors_of(n: int, seed: int = 0) -> NDArray[np.float32]:
    """Draw random unit rows."""
    return unit(np.random.default_rng(seed).normal(size=(n, DIM)))


def corpus(n: int, seed: int = 0) -> tuple[list[Document], NDArray[np.float32]]:
    """Make up documents of one passage each."""
    documents = [
        Document(f"d{i}", f"text {i}", LANGS[i % 3], {"n": i, "even": i % 2 == 0}) for i in range(n)
    ]
    return documents, vectors_of(n, seed)


def fill(store: VectorStore) -> VectorStore:
    """Create ``demo`` of 60 documents."""
    store.create("demo", DIM, "model@1")
    store.upsert("demo", *corpus(60))
    return store


def expected_ids(
    documents: Sequence[Document],
    vectors: NDArray[np.float32],
    query: NDArray[np.float32],
    top_k: int,
    langs: Sequence[str] = (),
) -> list[str]:
    """Brute force: falling score, then rising doc_id."""
    scored = [
        (-float(vector @ query), document.doc_id)
        for document, vector in zip(documents, vectors, strict=True)
        if not langs or document.lang in langs
    ]
    return [doc_id for _, doc_id in sorted(scored)[:top_k]]


def agree(
    found: Sequence[Hit], expected: Sequence[Hit], every: Sequence[Hit], *, exactly: bool
) -> None:
    """Assert that hits are those of the judge.

    Two documents whose scores differ by less than an engine's rounding may change places.

    Args:
        found: An engine's hits.
        expected: The judge's.
        every: The judge's hits without any cut.
        exactly: Documents whose scores are equal may not change places.
    """
    tolerance = 1e-6 if exactly else 1e-5
    judged: Mapping[str, Hit] = {hit.document.doc_id: hit for hit in every}
    assert [hit.rank for hit in found] == [hit.rank for hit in expected]
    assert len({hit.document.doc_id for hit in found}) == len(found)
    for one, other in zip(found, expected, strict=True):
        same = judged[one.document.doc_id]
        assert one.document == same.document
        assert abs(one.score - other.score) < tolerance, (one, other)
        assert abs(one.score - same.score) < tolerance, (one, same)
        if exactly:
            assert one.span == same.span
            assert one.document == other.document or same.score != other.score, (one, other)


def agree_on_search(
    store: VectorStore,
    judge: ReferenceStore,
    vectors: NDArray[np.float32],
    top_k: int,
    where: Filter | None = None,
    *,
    offset: int = 0,
    exact: bool = False,
) -> None:
    """Assert that an engine finds in ``demo`` what the judge finds."""
    found = store.search("demo", vectors, top_k, where, offset=offset, exact=exact)
    every = judge.search("demo", vectors, 1000, where)
    for hits, right in zip(found, every, strict=True):
        agree(hits, right[offset : offset + top_k], right, exactly=True)


def agree_on_match(
    store: VectorStore,
    judge: ReferenceStore,
    queries: Sequence[str],
    top_k: int,
    where: Filter | None = None,
    *,
    offset: int = 0,
) -> None:
    """Assert that an engine finds in ``demo`` the words that the judge finds, scored as he does.

    Sums of other words may round to other scores, so documents that tie may change places.
    """
    found = store.match("demo", queries, top_k, where, offset=offset)
    every = judge.match("demo", queries, 1000, where)
    for hits, right in zip(found, every, strict=True):
        agree(hits, right[offset : offset + top_k], right, exactly=False)
