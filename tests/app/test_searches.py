"""Searches, budgets and seeds: what they promise, whatever the encoder."""

import numpy as np
import pytest

from app.errors import InvalidInputError
from app.robustness.board import Board
from app.robustness.cells import share_of
from app.robustness.macro import LEAST_SEEDS
from app.robustness.request import Constraints, GoalChoice, SearchChoice
from app.text.perturbations.edits import apply_edits

from .probing import QUERIES, DictStore, ProbeQuery, fake_encode, probe

METHODS = ("auto", "random", "greedy", "beam", "evolution")
FAMILIES = ("typo", "spacing", "word_order")
STRONG = GoalChoice("vector_shift", threshold=0.15)


@pytest.fixture(scope="module")
def store():
    return DictStore()


def texts_of(report):
    return sorted((r.query_id, r.attack, r.seed, r.adversarial_text) for r in report.results)


@pytest.mark.parametrize("method", METHODS)
def test_search_results_do_not_depend_on_batch_order_or_company(store, method, monkeypatch):
    chosen = {"attacks": FAMILIES, "search": SearchChoice(method), "edits": 3}
    whole = texts_of(probe(store, **chosen))
    assert texts_of(probe(store, reversed(QUERIES), **chosen)) == whole
    alone = [text for query in QUERIES for text in texts_of(probe(store, [query], **chosen))]
    assert sorted(alone) == whole
    for batch in (1, 256):
        monkeypatch.setattr("app.robustness.ranking._FIRST_BATCH", batch)
        monkeypatch.setattr("app.robustness.ranking._MOST_BATCH", batch)
        monkeypatch.setattr("app.robustness.ranking._LEAST_BATCH", batch)
        assert texts_of(probe(store, **chosen)) == whole


@pytest.mark.parametrize("method", METHODS)
def test_search_keeps_its_budgets_and_edits_replay(store, method):
    chosen = {"search": SearchChoice(method), "edits": 3, "tries": 40}
    found = probe(store, attacks=FAMILIES, goal=STRONG, **chosen)
    for result in found.results:
        assert result.queries <= 40
        assert len(result.edits) <= 3
        query = next(q for q in QUERIES if q.query_id == result.query_id)
        assert apply_edits(query.text, result.edits) == result.adversarial_text
    assert any(result.success for result in found.results)


@pytest.mark.parametrize("method", METHODS)
def test_search_never_tries_a_text_twice_for_one_attack(store, method):
    tried = []

    def encode(texts):
        if len(texts) > 1:
            tried.extend(texts)
        return fake_encode(texts)

    found = probe(
        store, QUERIES[:1], encode, attacks=("typo",), search=SearchChoice(method), edits=1
    )
    assert len(tried) == len(set(tried))
    assert found.spent.tried == found.results[0].queries


@pytest.mark.parametrize("method", METHODS)
def test_search_that_stops_after_success_tries_no_more_and_succeeds_alike(store, method):
    on, off = (
        probe(store, attacks=FAMILIES, goal=STRONG, search=SearchChoice(method, 8, after))
        for after in (True, False)
    )
    for more, less in zip(on.results, off.results, strict=True):
        assert more.success == less.success
        assert less.queries <= more.queries
        assert less.calls_to_success == more.calls_to_success
    assert off.spent.tried < on.spent.tried


def test_search_greedy_tries_the_most_important_word_first(store):
    tried = []

    def encode(texts):
        tried.append(list(texts))
        return fake_encode(texts)

    query = ProbeQuery("q", "boil river water", "eng_Latn")
    probe(store, [query], encode, attacks=("typo",), search=SearchChoice("greedy", 4))
    missing = {"river water": "boil", "boil water": "river", "boil river": "water"}
    saliency = next(texts for texts in tried if set(texts) == set(missing))
    first = tried[tried.index(saliency) + 1]
    (vectors,) = (fake_encode(["boil river water"]) @ store.vectors.T,)
    own = int(vectors.argmax())

    def margin(text):
        scores = (fake_encode([text]) @ store.vectors.T)[0]
        return scores[own] - np.sort(np.delete(scores, own))[-3]

    vital = missing[min(missing, key=margin)]
    for text in first:
        assert set(missing.values()) - set(text.split()) == {vital}


def test_search_climbs_better_than_random_where_there_is_something_to_climb(store):
    def shift(method):
        found = probe(store, attacks=("typo",), search=SearchChoice(method), edits=4, tries=200)
        return sum(result.margin or 0.0 for result in found.results)

    assert shift("evolution") < shift("random")
    assert shift("beam") < shift("random")
    assert shift("auto") < shift("random")


@pytest.mark.parametrize("total", [3, 30, 100, 400])
def test_run_probe_total_queries_bind(store, total):
    encoded = []

    def encode(texts):
        encoded.append(len(texts))
        return fake_encode(texts)

    found = probe(store, encode=encode, attacks=FAMILIES, total=total)
    assert sum(encoded) == found.spent.queries <= total
    assert found.status == "partial"
    assert "total_queries" in (found.reason or "")
    assert any("texts did" in sentence for sentence in found.limits)
    again = probe(store, reversed(QUERIES), attacks=FAMILIES, total=total)
    assert texts_of(again) == texts_of(found)


def test_run_probe_total_queries_that_suffice_change_nothing(store):
    free, bound = (probe(store, attacks=FAMILIES, total=total) for total in (None, 100_000))
    assert bound.status == "complete"
    assert bound.results == free.results


def test_run_probe_seeds_are_run_each_and_summed_up(store):
    attacks = ("typo", "word_deletion")
    found = probe(store, attacks=attacks, seeds=LEAST_SEEDS, seed=5, tries=8)
    assert len(found.results) == len(QUERIES) * len(attacks) * LEAST_SEEDS
    assert [r.seed for r in found.results[:LEAST_SEEDS]] == list(range(5, 5 + LEAST_SEEDS))
    one = probe(store, attacks=attacks, seed=7, tries=8)
    assert [r for r in found.results if r.seed == 7] == list(one.results)
    spread = found.findings.seeds
    assert spread
    assert spread.overall.enough
    assert spread.overall.seeds == LEAST_SEEDS
    rates = []
    for seed in range(5, 5 + LEAST_SEEDS):
        rows = [r for r in found.results if r.seed == seed]
        broken = {r.query_id for r in rows if r.success}
        rates.append(len(broken) / len(QUERIES))
    assert spread.overall.mean == pytest.approx(np.mean(rates))
    assert spread.overall.deviation == pytest.approx(np.std(rates, ddof=1))
    assert (found.summary.attack_success_rate.value or 0) >= max(rates)


def test_run_probe_random_search_over_seeds_differs_and_repeats(store):
    chosen = {"attacks": ("typo",), "search": SearchChoice("random"), "seeds": LEAST_SEEDS}
    first, again = (probe(store, **chosen) for _ in range(2))
    assert first.results == again.results
    assert first.digest == again.digest
    for query in QUERIES:
        texts = {r.adversarial_text for r in first.results if r.query_id == query.query_id}
        assert len(texts) > 1


def test_run_probe_digest_tells_requests_and_results_apart(store):
    one = probe(store, attacks=("typo",))
    other = probe(store, attacks=("typo",), seed=1)
    assert one.digest.config != other.digest.config
    assert one.digest.results != other.digest.results
    assert len(one.digest.results) == 64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": SearchChoice("luck")}, "search.method"),  # pyright: ignore[reportArgumentType]
        ({"search": SearchChoice("beam", 1)}, "search.width is 1"),
        ({"seeds": 0}, "seeds is 0"),
        ({"seeds": 33}, "seeds is 33"),
        ({"total": 0}, "total_queries is 0"),
        ({"constraints": Constraints(word_share=0.0)}, "word_share is 0.0"),
        ({"constraints": Constraints(min_similarity=2.0)}, "min_similarity is 2.0"),
        (
            {"constraints": Constraints(protect=("names",))},  # pyright: ignore[reportArgumentType]
            "constraints.protect",
        ),
    ],
)
def test_run_probe_that_cannot_be_done_says_what_to_change(store, changes, message):
    with pytest.raises(InvalidInputError, match=message):
        probe(store, **changes)


def test_run_probe_holds_a_collection_only_where_that_is_less_work(monkeypatch):
    boards = []
    real = Board.__init__

    def counted(self, pool):
        boards.append(len(pool.doc_ids))
        real(self, pool)

    monkeypatch.setattr(Board, "__init__", counted)
    probe(DictStore(), QUERIES[:1], attacks=("typo",), tries=1)
    assert not boards
    probe(DictStore(), QUERIES[:1], attacks=("typo",), tries=64)
    assert boards == [30]


def test_share_of_nothing_has_no_value():
    assert share_of(0, 0).value is None
    assert share_of(3, 4).low == pytest.approx(0.1941, abs=1e-3)  # R: binom.test(3, 4)
