import contextlib

import numpy as np
import pytest

from app.errors import InvalidInputError, NotFoundError
from app.robustness.ball import Ball
from app.robustness.bounds import Confidence
from app.robustness.descent import Descent
from app.robustness.goal import Demotion
from app.robustness.hotflip import Flips
from app.robustness.inside import HaltedError, Inside
from app.robustness.smoothing import Lens, Noise, smoothed_vectors
from app.robustness.substitution import row_of
from app.robustness.trigger import Search
from app.robustness.white_box import Case, WhiteBoxProbe
from app.text.perturbations.edits import apply_edits

from .reference_store import Document, ReferenceStore
from .words import WORDS, Words, sentences

TOP_K = 10


class World:
    def __init__(self, noise: Noise | None = None) -> None:
        self.box = Words()
        self.lens = Lens(Inside(self.box, range(2, len(WORDS))), noise)
        self.store = ReferenceStore()
        texts = sentences(150, seed=2)
        self.store.create("c", 8, "m")
        plain = Lens(self.lens.inside)
        rows = [row_of(one) for one in self.box.read(texts)]
        self.store.upsert(
            "c", [Document(f"d{n}", t) for n, t in enumerate(texts)], plain.texts(rows)
        )
        self.probe = WhiteBoxProbe(self.lens, self.box, self.store, "c")
        queries = sentences(24, seed=1)
        vectors = self.lens.texts([row_of(one) for one in self.box.read(queries)])
        hits = self.store.search("c", vectors / np.linalg.norm(vectors, axis=1, keepdims=True), 1)
        self.cases = [
            Case(text, Demotion(frozenset([hit[0].document.doc_id]), TOP_K))
            for text, hit in zip(queries, hits, strict=True)
        ]

    def rank(self, text: str, case: Case) -> int:
        """Rank of the case's document in a search for a text."""
        rows = [row_of(one) for one in self.box.read([text])]
        if self.lens.noise:
            vectors = smoothed_vectors(self.lens.inside, rows, self.lens.noise).vectors
        else:
            vectors = self.lens.texts(rows)
        (hits,) = self.store.search("c", vectors, 150)
        return next(hit.rank for hit in hits if hit.document.doc_id in case.goal.relevant)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_exchange_reports_the_rank_that_a_search_for_the_text_has(world: World):
    found = world.probe.exchange(world.cases, Flips(1, 30))
    assert {one.outcome for one in found} == {"success", "held"}
    for one, case in zip(found, world.cases, strict=True):
        assert one.text is not None
        assert one.worst.rank == world.rank(one.text, case)
        assert one.clean.rank == world.rank(case.text, case) == 1
        assert (one.outcome == "success") == ((one.worst.rank or 151) > TOP_K)
        assert apply_edits(case.text, one.edits) == one.text
        assert one.size == 0.0


def test_push_beats_scatter_and_no_success_lies_within_the_margin(world: World):
    ball, few = Ball(0.8, "text"), Descent(5, 2)
    attacked = world.probe.push(world.cases, ball, few)
    control = world.probe.scatter(world.cases, ball, few)
    margins = world.probe.margins(world.cases)
    broken = [one.outcome == "success" for one in attacked]
    assert sum(broken) > sum(one.outcome == "success" for one in control)
    for one, margin in zip(attacked, margins, strict=True):
        assert one.text is None
        assert one.outcome == "held" or one.shift >= margin.radius - 1e-6
        assert one.size <= 0.8 + 1e-5
        assert (one.worst.rank or 151) >= (one.clean.rank or 151)


def test_case_that_fails_without_any_attack_is_not_eligible(world: World):
    case = Case(world.cases[0].text, Demotion(frozenset(["d1"]), 1))
    other = next(c for c in world.cases if world.rank(c.text, case) > 1)
    asked = [Case(other.text, case.goal)]
    assert world.probe.exchange(asked, Flips())[0].outcome == "not_eligible"
    assert world.probe.push(asked, Ball(0.1), Descent())[0].outcome == "not_eligible"


def test_what_was_stopped_before_anything_was_tried_was_not_reached(world: World):
    found = world.probe.exchange(world.cases, Flips(), stop=lambda: True)
    assert {one.outcome for one in found} == {"not_reached"}
    assert not any(one.complete for one in found)
    with pytest.raises(HaltedError):
        world.probe.push(world.cases, Ball(0.5), Descent(), stop=lambda: True)


@pytest.mark.parametrize("runs", [1, 3, 4, 6, 9, 14, 30])
def test_attack_stopped_between_two_runs_keeps_what_it_found(world: World, runs: int):
    """Told to stop at any run of a graph, no further one is made, and nothing found is lost."""
    ball, descent = Ball(0.02), Descent(20, 2)
    whole = world.probe.push(world.cases, ball, descent)
    left = iter([False] * runs)
    world.box.runs = 0
    with contextlib.suppress(HaltedError):
        found = world.probe.push(world.cases, ball, descent, stop=lambda: next(left, True))
        for one, most in zip(found, whole, strict=True):
            assert one.worst.margin >= most.worst.margin - 1e-6
            assert one.outcome in ("not_reached", "held", "success")
            assert one.outcome != "not_reached" or one.worst == one.clean
        assert not all(one.complete for one in found)
    assert world.box.runs <= runs


def test_exchange_stopped_between_two_runs_keeps_what_it_found(world: World):
    left = iter([False] * 12)
    found = world.probe.exchange(world.cases, Flips(4, 400), stop=lambda: next(left, True))
    assert {one.outcome for one in found} - {"not_reached"}
    assert not all(one.complete for one in found)
    for one, case in zip(found, world.cases, strict=True):
        assert one.text is not None
        assert one.worst.rank == world.rank(one.text, case)


def test_exchange_whose_last_check_is_canceled_reports_what_it_saw(world: World):
    asked: list[str] = []

    def encode(texts):
        if len(asked) == len(world.cases):  # the queries themselves have been encoded
            raise HaltedError
        asked.extend(texts)
        return world.lens.texts([row_of(one) for one in world.box.read(texts)])

    probe = WhiteBoxProbe(world.lens, world.box, world.store, "c", encode)
    found = probe.exchange(world.cases, Flips())
    plain = world.probe.exchange(world.cases, Flips())
    assert [one.text for one in found] == [one.text for one in plain]
    assert [one.worst.rank for one in found] == [one.worst.rank for one in plain]


def test_exchange_that_has_nothing_to_exchange_is_not_applicable(world: World, monkeypatch):
    monkeypatch.setattr(Words, "sort", lambda self, token: (token % 2 == 0, token > 40, token < 0))
    monkeypatch.setattr(Words, "surface", lambda self, token, script=None: "")
    found = world.probe.exchange(world.cases[:2], Flips())
    assert [one.outcome for one in found] == ["not_applicable"] * 2


def test_trigger_is_measured_on_queries_it_was_not_made_with(world: World):
    known, others = world.cases[::2], world.cases[1::2]
    search = Search(tokens=2, rounds=2, candidates=8)
    trigger, found = world.probe.trigger(known, others, search, stop=lambda: False)
    for one, case in zip(found, others, strict=True):
        assert one.text is not None
        assert one.text == trigger.on(case.text) == apply_edits(case.text, one.edits)
        assert one.worst.rank == world.rank(one.text, case)
    assert trigger.successes > 0
    assert world.probe.trigger(known, [], search, stop=lambda: False)[1] == []


def test_texts_are_ranked_by_the_encoder_that_serves(world: World):
    def other(texts):
        return -world.lens.texts([row_of(one) for one in world.box.read(texts)])

    served = WhiteBoxProbe(world.lens, world.box, world.store, "c", other)
    found = served.exchange(world.cases, Flips(1, 10))
    assert {one.outcome for one in found} == {"not_eligible"}


def test_certify_is_of_the_search_that_is_served():
    smooth = World(Noise(0.3, 2000, seed=1))
    found = [smooth.probe.certify(case, Confidence(0.01)) for case in smooth.cases]
    radii = [one.relative for one in found]
    assert sum(radius > 0 for radius in radii) > 5
    for case, radius in zip(smooth.cases, radii, strict=True):
        assert radius == 0 or smooth.rank(case.text, case) <= TOP_K
    strong = [case for case, radius in zip(smooth.cases, radii, strict=True) if radius > 0]
    attacked = smooth.probe.push(
        strong[:2], Ball(min(r for r in radii if r), "text"), Descent(2, 1)
    )
    assert {one.outcome for one in attacked} == {"held"}
    more = smooth.probe.certify(strong[0], Confidence(0.01), 4000)
    assert more.samples == 4000
    assert more == smooth.probe.certify(strong[0], Confidence(0.01), 4000)


def test_what_cannot_be_probed_is_refused(world: World, monkeypatch):
    with pytest.raises(NotFoundError):
        WhiteBoxProbe(world.lens, world.box, world.store, "missing")
    with pytest.raises(InvalidInputError, match="not smoothed"):
        world.probe.certify(world.cases[0], Confidence())
    mixed = [world.cases[0], Case("ba", Demotion(frozenset(["d1"]), 3))]
    with pytest.raises(InvalidInputError, match=r"top_k \[3, 10\]"):
        world.probe.push(mixed, Ball(0.1), Descent())
    monkeypatch.setattr("app.robustness.white_box.collect", lambda *_: _part(world))
    with pytest.raises(InvalidInputError, match="more passages than the 150"):
        WhiteBoxProbe(world.lens, world.box, world.store, "c")
    assert world.probe.push([], Ball(0.1), Descent()) == world.probe.exchange([], Flips()) == []


def _part(world: World):
    pool = world.probe.pool
    return type(pool)(pool.doc_ids, pool.vectors, pool.sizes, complete=False)
