"""The stages after the search: white box, certificates, and what stands beside them."""

import numpy as np
import pytest

from app.errors import InvalidInputError
from app.robustness.certificates import SCOPES
from app.robustness.empirical import word_distance
from app.robustness.inside import Inside
from app.robustness.probe import Budget, ProbeQuery, ProbeRequest, run_probe
from app.robustness.request import CertifyChoice, GoalChoice, WhiteBoxChoice
from app.robustness.resources import Access, Resources
from app.robustness.smoothing import Lens
from app.robustness.substitution import row_of

from .probing import DictStore, probe
from .reference_store import Document, ReferenceStore
from .words import WORDS, Words, sentences

ATTACKS = ("word_deletion", "word_order")
INNER = WhiteBoxChoice(("pgd", "noise", "hotflip", "trigger"), (0.4, 0.8), steps=5)
PROVEN = CertifyChoice(
    ("gaussian_embedding", "word_deletion", "word_substitution"), (0.1, 0.5), 300, 0.05
)


class World:
    """A collection of sentences, encoded by a small white box."""

    def __init__(self):
        self.box = Words()
        self.inside = Inside(self.box, range(2, len(WORDS)))
        self.store = ReferenceStore()
        self.store.create("c", 8, "m")
        texts = sentences(150, seed=2)
        documents = [Document(f"d{n}", text) for n, text in enumerate(texts)]
        self.store.upsert("c", documents, self.encode(texts))
        self.queries = tuple(
            ProbeQuery(f"q{n}", text, "eng_Latn") for n, text in enumerate(sentences(16, seed=1))
        )
        self.resources = Resources(
            token_neighbors=lambda stop: lambda word: [w for w in WORDS[2:] if w[1] == word[1]],
            white_box=lambda: Access(self.inside, self.box),
        )

    def encode(self, texts):
        rows = [row_of(one) for one in self.box.read(texts)]
        return Lens(self.inside).texts(rows).astype(np.float32)

    def run(self, **chosen):
        budget = Budget(2, 32, chosen.pop("seconds", 100.0), chosen.pop("total", None))
        resources = chosen.pop("resources", self.resources)
        request = ProbeRequest("c", self.queries, ATTACKS, budget, **chosen)
        return run_probe(request, self.encode, self.store, resources=resources)

    def rank(self, text, relevant):
        (hits,) = self.store.search("c", self.encode([text]), 150)
        return next(hit.rank for hit in hits if hit.document.doc_id in relevant)


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def report(world):
    return world.run(white_box=INNER, certify=PROVEN)


def test_white_box_attacks_are_reported_by_radius(report):
    assert [(one.attack, one.epsilon) for one in report.white_box] == [
        ("pgd", 0.4),
        ("pgd", 0.8),
        ("noise", 0.4),
        ("noise", 0.8),
        ("hotflip", None),
        ("trigger", None),
    ]
    assert report.status == "complete"
    assert report.spent.inside > 0
    for one in report.white_box:
        counted = [r for r in one.results if r.outcome in ("success", "held")]
        assert one.success.n == len(counted)
        assert one.success.successes == sum(r.success for r in counted)


def test_white_box_stronger_attacks_succeed_more(report):
    small, large, noise, _, flip, _ = [one.success.successes for one in report.white_box]
    assert noise < small <= large
    assert flip >= large / 2


def test_white_box_texts_have_the_rank_of_a_search(world, report):
    relevant = {result.query_id: result.relevant for result in report.results}
    texts = [r for one in report.white_box for r in one.results if r.adversarial_text is not None]
    assert len(texts) > len(world.queries)
    for result in texts:
        rank = world.rank(result.adversarial_text, relevant[result.query_id])
        assert rank == result.worst_rank
        assert result.success == (rank > report.top_k)


def test_trigger_is_measured_on_other_queries_than_it_was_found_with(world, report):
    trigger = report.white_box[-1]
    assert trigger.trigger
    assert {r.query_id for r in trigger.results} == {q.query_id for q in world.queries[1::2]}
    for result in trigger.results:
        query = next(q for q in world.queries if q.query_id == result.query_id)
        assert result.adversarial_text == f"{trigger.trigger} {query.text}"


def test_certificates_say_what_they_cover_in_which_unit(report):
    found = [(one.method, one.parameter, one.unit) for one in report.certificates]
    assert found == [
        ("output_margin", None, "distance of unit vectors"),
        ("gaussian_embedding", 0.1, "mean token norms"),
        ("gaussian_embedding", 0.5, "mean token norms"),
        ("word_deletion", 0.6, "words"),
        ("word_substitution", None, "words"),
    ]
    for one in report.certificates:
        assert one.covers == SCOPES[one.method].covers
        assert one.does_not_cover == SCOPES[one.method].does_not_cover
        assert one.n == 16
        assert one.certified == sum(not q.abstained for q in one.queries)
    assert report.certificates[0].certified == 16


def test_certified_radius_is_never_above_the_empirical_one(report):
    pairs = [
        (query.radius, query.empirical)
        for one in report.certificates[:2]
        for query in one.queries
        if query.empirical is not None and query.radius is not None
    ]
    assert len(pairs) > 10
    assert all(radius <= empirical + 1e-6 for radius, empirical in pairs)


def test_output_margin_is_there_without_being_asked_for_and_costs_no_text(world):
    plain = world.run()
    assert [one.method for one in plain.certificates] == ["output_margin"]
    assert plain.white_box == ()
    assert plain.spent.inside == 0
    checks = sum(bool(result.edits) for result in plain.results)
    assert plain.spent.queries <= len(world.queries) + plain.spent.tried + checks


def test_output_margin_from_scores_alone_is_smaller_than_from_vectors(world, monkeypatch):
    exact = world.run().certificates[0]
    monkeypatch.setattr("app.robustness.probe.MOST_HELD", 0)
    scores = world.run().certificates[0]
    pairs = list(zip(scores.queries, exact.queries, strict=True))
    assert all(less.radius <= more.radius + 1e-6 for less, more in pairs)
    assert scores.certified > 0


@pytest.mark.parametrize(
    ("goal", "methods"),
    [
        (GoalChoice("promotion", "d3"), ["output_margin"]),
        (GoalChoice("recall_drop"), ["output_margin"]),
        (GoalChoice("disagreement"), []),
    ],
    ids=lambda value: getattr(value, "type", ""),
)
def test_output_margin_fits_the_goal_or_the_report_says_there_is_none(world, goal, methods):
    found = world.run(goal=goal)
    assert [one.method for one in found.certificates] == methods
    assert any("No certificate" in one for one in found.limits) == (not methods)
    for one in found.certificates:
        for query in one.queries:
            assert query.empirical is None or query.radius <= query.empirical + 1e-6


@pytest.mark.parametrize("total", [60, 400])
def test_total_queries_bind_the_stages_too(world, total):
    found = world.run(white_box=INNER, certify=PROVEN, total=total)
    assert found.status == "partial"
    assert "total_queries" in (found.reason or "")
    # A step of all texts is not interrupted.
    assert found.spent.queries + found.spent.inside <= total + 33 * len(world.queries)
    assert not all(one.complete for one in found.white_box)


def test_stages_stop_with_the_time(world):
    found = world.run(white_box=INNER, certify=PROVEN, seconds=0.05)
    assert found.status == "partial"
    assert "0.05 seconds" in (found.reason or "")


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"white_box": INNER, "goal": GoalChoice("promotion", "d1")}, "white_box with goal"),
        ({"certify": PROVEN, "goal": GoalChoice("disagreement")}, "certify with goal"),
        ({"white_box": WhiteBoxChoice(())}, "white_box.attacks is empty"),
        ({"white_box": WhiteBoxChoice(epsilon=())}, "white_box.epsilon"),
        ({"white_box": WhiteBoxChoice(epsilon=(0.0,))}, "white_box.epsilon"),
        ({"white_box": WhiteBoxChoice(steps=0)}, "white_box.steps is 0"),
        ({"certify": CertifyChoice(())}, "certify.methods is empty"),
        ({"certify": CertifyChoice(samples=1)}, "certify.samples is 1"),
        ({"certify": CertifyChoice(alpha=0.0)}, "certify.alpha is 0"),
        ({"certify": CertifyChoice(sigma=(0.1, 0.1))}, "more than once"),
    ],
)
def test_stages_that_cannot_be_done_say_what_to_change(world, chosen, message):
    with pytest.raises(InvalidInputError, match=message):
        world.run(**chosen)


@pytest.mark.parametrize("chosen", [{"white_box": INNER}, {"certify": CertifyChoice()}])
def test_encoder_without_a_white_box_is_refused_before_anything_is_searched(chosen):
    store = DictStore()
    with pytest.raises(InvalidInputError, match="has no white box"):
        probe(store, **chosen)
    assert not store.depths


def test_word_substitution_without_neighbors_says_so():
    found = probe(
        DictStore(), attacks=("typo",), certify=CertifyChoice(("word_substitution",), samples=20)
    )
    assert found.certificates[-1].n == 0
    assert any("neighbors of words are not known" in sentence for sentence in found.limits)


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [("a b c", "a b c", 0), ("a b c", "a c", 1), ("a b", "b a", 2), ("ab c", "a b c", 2)],
)
def test_word_distance_counts_words_inserted_deleted_or_replaced(first, second, distance):
    assert word_distance(first, second) == distance
