"""Reciprocal rank fusion, by hand."""

import pytest

from app.retrieval.documents import Document
from app.retrieval.fusion import RRF_K, fuse
from app.retrieval.store import Hit


def hits(*doc_ids: str, begin: int = 1) -> list[Hit]:
    """A ranking whose scores are 1 less 0.1 for each rank."""
    return [
        Hit(rank, 1 - rank / 10, Document(doc_id, "text"), (rank, rank + 1))
        for rank, doc_id in enumerate(doc_ids, begin)
    ]


def test_fuse_scores_are_the_formula_by_hand() -> None:
    fused = fuse({"dense": hits("a", "b", "c"), "lexical": hits("c", "a")})
    assert RRF_K == 60
    assert [found.hit.document.doc_id for found in fused] == ["a", "c", "b"]
    assert [found.hit.score for found in fused] == pytest.approx(
        [1 / 61 + 1 / 62, 1 / 63 + 1 / 61, 1 / 62]
    )
    assert [found.hit.rank for found in fused] == [1, 2, 3]
    assert fused[0].scores == pytest.approx({"dense": 0.9, "lexical": 0.8})
    assert fused[2].scores == pytest.approx({"dense": 0.8})


def test_fuse_equal_scores_are_ordered_by_doc_id_whatever_the_order_of_rankings() -> None:
    one, other = hits("b", "c"), hits("a", "d")
    for rankings in ({"x": one, "y": other}, {"x": other, "y": one}):
        assert [found.hit.document.doc_id for found in fuse(rankings)] == ["a", "b", "c", "d"]


def test_fuse_keeps_the_passage_of_the_ranking_that_has_the_document_highest() -> None:
    fused = fuse({"dense": hits("a", "b"), "lexical": hits("b", "a")})
    spans = {found.hit.document.doc_id: found.hit.span for found in fused}
    assert spans == {"a": (1, 2), "b": (1, 2)}


def test_fuse_of_one_ranking_keeps_its_order_and_of_none_is_empty() -> None:
    fused = fuse({"dense": hits("c", "a", "b"), "lexical": []})
    assert [found.hit.document.doc_id for found in fused] == ["c", "a", "b"]
    assert fuse({}) == fuse({"dense": []}) == []
