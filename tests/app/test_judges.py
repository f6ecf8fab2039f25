"""Texts that a floor for the language or a second encoder refuses."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.errors import InvalidInputError, NotReadyError
from app.robustness.judges import Language, Similarity, judge_for, language_for
from app.robustness.request import Constraints, SearchChoice, SecondEncoder
from app.robustness.resources import Resources
from app.robustness.space import Candidate, Space
from app.text.languages import identifier

from .probing import QUERIES, DictStore, ProbeQuery, fake_encode, probe

FLOOR = Constraints(min_language=0.5)


def one(text: str, lang: str | None) -> Any:
    """An attack, as far as a judge looks at it."""
    return SimpleNamespace(space=Space(text, [], 2, lang=lang))


@pytest.fixture(scope="module")
def store():
    return DictStore()


def likely(text, lang):
    known = identifier()
    return known.probabilities([text])[0, known.languages.index(lang)]


def test_run_probe_language_floor_holds_for_every_text_found(store):
    attacks = ("typo", "confusable", "word_deletion", "code_switch")
    free = probe(store, tries=64, edits=3, attacks=attacks)
    assert any(likely(r.adversarial_text, r.lang) < 0.5 for r in free.results if r.edits)
    for method in ("auto", "beam"):
        search = SearchChoice(method)
        held = probe(store, tries=64, edits=3, attacks=attacks, constraints=FLOOR, search=search)
        found = [result for result in held.results if result.edits]
        assert len(found) > 5
        for result in found:
            assert likely(result.adversarial_text, result.lang) >= 0.5
        assert sum(result.rejected for result in held.results) > 10


def test_run_probe_language_floor_leaves_no_romanization(store):
    query = ProbeQuery("q", "नदी का पानी उबालें", "hin_Deva")
    (result,) = probe(store, [query], attacks=("romanization",), constraints=FLOOR).results
    assert result.outcome == "not_applicable"
    assert "min_language" in (result.reason or "")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (ProbeQuery("q", "boil river water", "swh_Latn"), "itself is swh_Latn with a probability"),
        (ProbeQuery("q", "boil river water", "lug_Latn"), "and not lug_Latn"),
        (ProbeQuery("q", "12 34", None), "below constraints.min_language"),
    ],
)
def test_run_probe_language_floor_that_the_query_does_not_reach_says_so(store, query, reason):
    (result,) = probe(store, [query], attacks=("typo",), constraints=FLOOR).results
    assert result.outcome in ("not_applicable", "not_eligible")
    if result.outcome == "not_applicable":
        assert reason in (result.reason or "")
        assert result.queries == 0
    _, why = language_for(query.text, query.lang, 0.5)
    assert reason in (why or "")


def test_language_for_a_query_without_lang_takes_what_it_most_likely_is():
    assert language_for("chemsha maji ya mto kabla ya kunywa", None, 0.5) == ("swh_Latn", None)


def test_language_judges_by_the_language_of_each_query_and_leaves_what_only_teaches():
    text = "chemsha maji ya mto kabla ya kunywa"
    swahili, english = one(text, "swh_Latn"), one(text, "eng_Latn")
    pairs = [
        (swahili, Candidate((), text, 1)),
        (english, Candidate((), text, 1)),
        (english, Candidate((), text, 0)),
        (one(text, None), Candidate((), text, 1)),
    ]
    assert Language(0.5, lambda: False).refused(pairs) == {1}
    assert Language(0.5, lambda: True).refused(pairs) == set()


def test_judges_of_both_kinds_refuse_what_either_does(store):
    limits = Constraints(min_similarity=0.9, min_language=0.5)
    judge = judge_for(limits, fake_encode, lambda: False)
    swahili = one("chemsha maji ya mto kabla ya kunywa", "swh_Latn")
    texts = ["chemsha maji ya mto kabla ya kunywa sana", "boil the river water first", "maji"]
    assert judge is not None
    refused = judge.refused([(swahili, Candidate((), text, 1)) for text in texts])
    near = fake_encode([swahili.space.normalized, *texts])
    far = {n for n, row in enumerate(near[1:]) if row @ near[0] < 0.9}
    other = {n for n, text in enumerate(texts) if likely(text, "swh_Latn") < 0.5}
    assert refused == far | other
    assert 0 not in other
    assert 1 in other


def test_similarity_told_to_stop_while_the_other_service_works_refuses_nothing():
    stopped = []

    def gone(texts):
        stopped.append(len(texts))
        raise NotReadyError("stopped")

    pairs = [(one("boil water", None), Candidate((), f"boil water {n}", 1)) for n in range(3)]
    assert Similarity(gone, 0.5, lambda: bool(stopped)).refused(pairs) == set()
    assert stopped == [4]
    with pytest.raises(NotReadyError):
        Similarity(gone, 0.5).refused(pairs)


def test_similarity_asks_for_each_text_once_and_a_few_at_a_time():
    asked = []

    def encode(texts):
        asked.append(list(texts))
        return np.ones((len(texts), 1), dtype=np.float32)

    pairs = [(one("boil water", None), Candidate((), f"text {n % 100}", 1)) for n in range(300)]
    judge = Similarity(encode, 0.5)
    assert judge.refused(pairs) == set()
    assert sorted(map(len, asked)) == [37, 64]
    judge.refused(pairs[:1])
    assert asked[-1] == ["text 0"]


@pytest.mark.parametrize(
    ("limits", "match"),
    [
        (Constraints(min_language=0.0), "min_language"),
        (Constraints(min_language=1.5), "min_language"),
        (Constraints(min_language=float("nan")), "min_language"),
        (Constraints(similarity_by=SecondEncoder("http://h", "m")), "without min_similarity"),
    ],
)
def test_run_probe_constraints_that_make_no_sense_are_refused(store, limits, match):
    with pytest.raises(InvalidInputError, match=match):
        probe(store, constraints=limits, resources=Resources(second=fake_encode))


def test_run_probe_language_floor_is_in_the_digest_of_what_was_asked(store):
    query = list(QUERIES[:1])
    common = {"attacks": ("typo",)}
    plain, floored = probe(store, query, **common), probe(store, query, constraints=FLOOR, **common)
    assert plain.digest.config != floored.digest.config
