"""Probes that run out of time, are cancelled, or cannot be done as asked."""

import time

import numpy as np
import pytest

from app.errors import InferenceError, InvalidInputError, NotFoundError
from app.robustness.attacks import list_attacks
from app.robustness.probe import (
    ProbeQuery,
    ProbeRequest,
    run_probe,
)
from app.robustness.ranking import SEARCH_DEPTH
from app.text.perturbations.registry import FAMILIES

from .probing import DIM, DOCUMENTS, QUERIES, DictStore, assert_results_hold, fake_encode, probe


@pytest.fixture(scope="module")
def store():
    return DictStore()


def test_run_probe_out_of_time_reports_what_was_reached(store):
    def slow(texts):
        time.sleep(0.002 * len(texts))
        return fake_encode(texts)

    began = time.monotonic()
    names = ("typo", "spacing", "word_order")
    found = probe(store, encode=slow, attacks=names, seconds=0.6, tries=4000, edits=3)
    assert time.monotonic() - began < 2.0
    assert found.status == "partial"
    assert "seconds" in (found.reason or "")
    assert len(found.results) == len(QUERIES) * len(names)
    assert any(r.queries and not r.complete for r in found.results)
    assert found.summary.overall.incomplete > 0
    assert any("Time ran out" in sentence for sentence in found.limits)
    assert_results_hold(found, store, QUERIES)


def test_run_probe_out_of_time_at_once_reports_every_query_as_not_reached(store):
    found = probe(store, seconds=1e-9)
    assert {r.outcome for r in found.results} == {"not_reached"}
    assert found.summary.overall.not_reached == len(QUERIES)
    assert found.summary.clean.n == 0


def test_run_probe_cancelled_stops_soon_and_is_partial(store):
    calls = []

    def slow(texts):
        calls.append(len(texts))
        time.sleep(0.001 * len(texts))
        return fake_encode(texts)

    found = probe(store, encode=slow, tries=4000, cancelled=lambda: len(calls) > 40)
    assert len(calls) <= 42
    assert found.status == "partial"
    assert "cancel" in (found.reason or "")
    assert not all(result.complete for result in found.results)


def test_run_probe_slow_encoder_is_asked_for_cancellation_every_50_ms(store):
    asked = []

    def slow(texts):
        time.sleep(0.003 * len(texts))
        return fake_encode(texts)

    def cancelled():
        asked.append(time.monotonic())
        return False

    probe(store, QUERIES[:3], encode=slow, cancelled=cancelled, attacks=("typo",))
    gaps = np.diff(asked)
    assert np.median(gaps) < 0.05


def test_run_probe_nonsense_of_the_encoder_is_an_error(store):
    def broken(texts):
        return np.full((len(texts), DIM), np.nan, dtype=np.float32)

    with pytest.raises(InferenceError, match="finite"):
        probe(store, encode=broken)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"switch_to": ("english",)}, "lang 'english' is malformed"),
        ({"queries": (ProbeQuery("q", "a", "en"),)}, "lang 'en' is malformed"),
        ({"attacks": ("typos",)}, "'typos' is unknown"),
        ({"attacks": ()}, "attacks is empty"),
        ({"attacks": ("typo", "typo")}, "more than once in attacks"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_k": SEARCH_DEPTH + 1}, "top_k"),
        ({"edits": 0}, r"budget\.edits is 0"),
        ({"edits": 17}, r"budget\.edits"),
        ({"tries": 0}, r"budget\.queries is 0"),
        ({"seconds": 0.0}, r"budget\.seconds"),
        ({"seconds": float("nan")}, r"budget\.seconds"),
        ({"queries": ()}, "queries is 0"),
        ({"queries": (ProbeQuery("q", " "),)}, r"queries\[0\]\.text has nothing"),
        ({"queries": (ProbeQuery("q", "a"), ProbeQuery("r", ""))}, r"queries\[1\]\.text is empty"),
        ({"queries": (ProbeQuery("q", "a\ud800"),)}, "lone surrogate"),
        ({"queries": (ProbeQuery("q", "a"), ProbeQuery("q", "b"))}, "'q' occurs more than once"),
        ({"queries": (ProbeQuery("q", "a", None, ("eng-0", "nope")),)}, "no document 'nope'"),
    ],
)
def test_run_probe_request_that_cannot_be_done_is_refused(store, changes, message):
    with pytest.raises(InvalidInputError, match=message):
        probe(store, **changes)


def test_run_probe_unknown_collection_is_not_found(store):
    with pytest.raises(NotFoundError):
        run_probe(ProbeRequest("nope", QUERIES), fake_encode, store)


def test_run_probe_empty_collection_is_refused():
    empty = DictStore(DOCUMENTS[:1])
    empty.documents = []
    with pytest.raises(InvalidInputError, match="no documents"):
        probe(empty)


def test_list_attacks_tells_what_each_does_and_where():
    attacks = list_attacks()
    assert [attack.name for attack in attacks] == list(FAMILIES)
    assert {attack.name: attack.needs for attack in attacks if attack.needs} == {
        "native_script": ("lang",),
        "synonym": ("lang", "dictionary"),
        "code_switch": ("lang", "dictionary"),
        "token_neighbor": ("token_neighbors",),
    }
    for attack in attacks:
        assert attack.description.endswith(".")
        assert attack.scripts
        assert attack.cost >= 1
