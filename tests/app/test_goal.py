import pytest

from app.retrieval.store import Document, Hit
from app.robustness.goal import SEARCH_DEPTH, Demotion, Standing


def hits(*scored):
    return [Hit(r, score, Document(name, name)) for r, (name, score) in enumerate(scored, 1)]


FIVE = hits(("a", 0.9), ("b", 0.8), ("c", 0.7), ("d", 0.5), ("e", 0.4))


@pytest.mark.parametrize(
    ("relevant", "top_k", "rank", "margin", "found"),
    [
        ("a", 1, 1, 0.1, 1),
        ("a", 2, 1, 0.2, 1),
        ("c", 1, 3, -0.2, 0),
        ("c", 3, 3, 0.2, 1),
        ("ac", 1, 1, 0.1, 1),
        ("ac", 2, 1, 0.4, 1),
        ("ac", 3, 1, 0.5, 2),
        ("e", 4, 5, -0.1, 0),
    ],
)
def test_demotion_stand_known_hits_give_known_standing(relevant, top_k, rank, margin, found):
    standing = Demotion(frozenset(relevant), top_k).stand(FIVE, 5)
    assert (standing.rank, standing.found) == (rank, found)
    assert standing.margin == pytest.approx(margin)


def test_demotion_stand_without_the_document_has_no_rank():
    standing = Demotion(frozenset("z"), 2).stand(FIVE, 5)
    assert standing.rank is None
    assert standing.margin == pytest.approx(0.4 - 0.8)


def test_demotion_stand_fewer_rivals_than_top_k_takes_the_last_one():
    standing = Demotion(frozenset("a"), 9).stand(FIVE, 16)
    assert standing.margin == pytest.approx(0.9 - 0.4)


@pytest.mark.parametrize(
    ("rank", "top_k", "expected"), [(1, 1, False), (2, 1, True), (10, 10, False), (None, 9, True)]
)
def test_demotion_reached_when_out_of_the_top_k(rank, top_k, expected):
    goal = Demotion(frozenset("a"), top_k)
    assert goal.reached(Standing(rank, 0.0, 0, SEARCH_DEPTH)) is expected


def test_badness_orders_by_rank_then_by_smaller_margin():
    ordered = [
        Standing(1, 0.5, 1, 16),
        Standing(1, 0.1, 1, 16),
        Standing(2, 0.3, 1, 16),
        Standing(SEARCH_DEPTH, -0.1, 0, SEARCH_DEPTH),
        Standing(None, 0.0, 0, 16),
    ]
    assert sorted(ordered, key=lambda s: s.badness) == ordered


def test_badness_last_bits_of_a_score_do_not_count():
    assert Standing(1, 0.1, 1, 16).badness == Standing(1, 0.1 + 1e-9, 1, 16).badness
