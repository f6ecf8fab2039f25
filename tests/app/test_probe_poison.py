"""The attack from the corpus side as a stage of the probe."""

import pytest

from app.errors import InvalidInputError
from app.robustness.request import PoisonChoice

from .test_probe_stages import World


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def rates(shares):
    return {one.depth: one.share.value for one in shares}


def test_poison_comes_up_for_queries_it_was_not_made_with(world):
    before = list(world.store.scan("c", None, 1000).documents)
    report = world.run(poison=PoisonChoice(documents=3, edits=6, calls=200))
    (found,) = report.poisoning
    assert (found.kind, found.complete, report.status) == ("poison", True, "complete")
    assert len(found.documents) == 3
    assert found.known == 8
    assert {one.share.n for one in found.shares} == {8}
    of, most = rates(found.shares), rates(found.bound)
    assert of[20] > 0
    assert most[20] >= of[20]
    assert sorted(of.values()) == list(of.values())  # deeper is never less
    assert found.calls <= 3 * 200
    assert report.spent.inside >= found.calls
    assert list(world.store.scan("c", None, 1000).documents) == before
    again = world.run(poison=PoisonChoice(documents=3, edits=6, calls=200))
    assert again.poisoning == report.poisoning
    assert again.digest == report.digest


def test_poison_with_a_larger_budget_is_nearer(world):
    near = [
        world.run(poison=PoisonChoice(edits=edits, calls=300)).poisoning[0].documents[0].nearness
        for edits in (1, 3, 6)
    ]
    assert near == sorted(near)
    assert near[0] < near[-1]


def test_promotion_brings_a_document_up(world):
    report = world.run(poison=PoisonChoice(promote="d7", edits=6, calls=300))
    (found,) = report.poisoning
    assert (found.kind, len(found.documents), found.bound) == ("promotion", 1, ())
    (text,) = [one.text for one in world.store.get("c", ["d7"])]
    assert found.documents[0].text != text
    assert rates(found.shares)[100] >= rates(found.before)[100]
    assert rates(found.shares)[20] > rates(found.before)[20]


def test_poison_without_time_is_incomplete(world):
    report = world.run(poison=PoisonChoice(), seconds=0.01)
    assert report.status == "partial"
    assert [one.complete for one in report.poisoning] == [False]


@pytest.mark.parametrize(
    ("poison", "message"),
    [
        (PoisonChoice(documents=0), "poison.documents is 0"),
        (PoisonChoice(edits=0), "poison.edits is 0"),
        (PoisonChoice(calls=1), "poison.calls is 1"),
        (PoisonChoice(promote="nobody"), "poison.promote"),
    ],
)
def test_poison_that_cannot_be_done_says_what_to_change(world, poison, message):
    with pytest.raises(InvalidInputError, match=message):
        world.run(poison=poison)
